"""`/api/schema`, made once for each state of the code and kept as a file beside the static ones.

To make it takes a second of CPU, and everybody may ask for it. `make run` makes it before it starts
the web server, and the web server before it forks.
"""

import gzip
import hashlib
import os
import secrets
import threading
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from django.conf import settings
from django.http import HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response, patch_vary_headers
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.utils import extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from budgets.api.views import AlwaysJSON

PACKAGES = ("django", "djangorestframework", "django-filter", "drf-spectacular", "msgspec")
FRESH_SECONDS = 300
MAKING = threading.Lock()


@dataclass(frozen=True)
class Document:
    plain: bytes
    packed: bytes
    etag: str


def document() -> Document:
    """The schema of this code: read from its file, or made and written there."""
    with MAKING:  # drf-spectacular makes one at a time
        return _document()


@cache
def _document() -> Document:
    file = Path(settings.STATIC_ROOT) / f"api-schema-{code_hash()}.json"
    try:
        plain = file.read_bytes()
    except FileNotFoundError:
        plain = generate()
        keep(file, plain)
    digest = hashlib.sha256(plain).hexdigest()[:32]
    return Document(plain, gzip.compress(plain, mtime=0), f'"{digest}"')


def generate() -> bytes:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    made = generator.get_schema(public=True)  # type: ignore[no-untyped-call]
    text: bytes = OpenApiJsonRenderer().render(made)
    return text


def keep(file: Path, text: bytes) -> None:
    """Others may do the same at the same time, and a folder that cannot be written is no reason
    to answer with an error."""
    part = file.with_suffix(f".{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(exist_ok=True)
        part.write_bytes(text)
        part.replace(file)
        for old in file.parent.glob("api-schema-*.json"):
            if old != file:
                old.unlink(missing_ok=True)
    except OSError:
        part.unlink(missing_ok=True)


def code_hash() -> str:
    """Changes with our code, with the settings' file, and with what makes schemas of it."""
    digest = hashlib.sha256(settings.ROOT_URLCONF.encode())
    for name in PACKAGES:
        digest.update(f"{name} {version(name)}\n".encode())
    for app in ("budgets", "config", "opslog", "workorders"):
        for folder, folders, names in os.walk(settings.BASE_DIR / app):
            folders.sort()
            for name in sorted(names):
                if name.endswith(".py"):
                    digest.update(name.encode() + Path(folder, name).read_bytes())
    return digest.hexdigest()[:16]


@extend_schema(exclude=True)
class SchemaView(APIView):
    """Open to everybody."""

    authentication_classes = ()
    permission_classes = ()
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = AlwaysJSON

    def get(self, request: Request) -> HttpResponseBase:
        made = document()
        known = get_conditional_response(request._request, etag=made.etag)
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        response: HttpResponseBase
        if isinstance(known, HttpResponseNotModified):
            response = known
        else:
            response = HttpResponse(
                made.packed if packed else made.plain, content_type=OpenApiJsonRenderer.media_type
            )
            if packed:
                response.headers["Content-Encoding"] = "gzip"
        response.headers["ETag"] = made.etag
        response.headers["Cache-Control"] = f"public, max-age={FRESH_SECONDS}"
        patch_vary_headers(response, ("Accept-Encoding",))
        return response
