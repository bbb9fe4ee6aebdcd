"""`/api/schema`, made once by each web server, before it forks: everybody may ask for it."""

import gzip
import hashlib
import threading
from dataclasses import dataclass
from functools import cache

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

FRESH_SECONDS = 300
MAKING = threading.Lock()


@dataclass(frozen=True)
class Document:
    plain: bytes
    packed: bytes
    etag: str


def document() -> Document:
    """The schema of this code."""
    with MAKING:  # drf-spectacular makes one at a time
        return _document()


@cache
def _document() -> Document:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    schema = generator.get_schema(public=True)  # type: ignore[no-untyped-call]
    plain: bytes = OpenApiJsonRenderer().render(schema)
    digest = hashlib.sha256(plain).hexdigest()[:32]
    return Document(plain, gzip.compress(plain, mtime=0), f'"{digest}"')


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
