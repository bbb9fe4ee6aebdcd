"""What holds for every request: an id and a line in the log, and a content security policy; and
two short ways, of probes and of programs."""

import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.template.response import SimpleTemplateResponse
from django.urls import resolve
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.views import APIView

from config.logs import access_line
from opslog.request_context import set_request_id
from workorders.api.auth import ServiceTokenAuthentication, token_text

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestContextMiddleware:
    """Gives the request an id that log lines, events and the answer share, and logs one line.

    The line names the route, not the path, and no header or query: no secret can get into it.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter_ns()
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        # No secret. (To ask the system for it would let other threads have the interpreter.)
        request_id = given if REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
        request.request_id = request_id  # type: ignore[attr-defined]
        set_request_id(request_id)
        try:
            response = self.get_response(request)
            response.headers["X-Request-ID"] = request_id
            match = request.resolver_match
            access_line(
                method=request.method or "",
                route=f"/{match.route}" if match else "unmatched",
                status=response.status_code,
                duration_ms=(time.perf_counter_ns() - started) / 1e6,
                request_id=request_id,
            )
            return response
        finally:
            set_request_id("")


class WholeBodyMiddleware:
    """Reads the body of every request before anything can answer without it.

    Granian closes a connection whose request body was not read to its end, without saying so, and
    the client's next request on it is lost: a 401 or a 503 would break the request after it.
    A body that is too large to keep is read and thrown away, within reason.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.META.get("CONTENT_LENGTH"):
            # Too large, or cut off: what needs the body says so.
            with suppress(UnreadablePostError):
                try:
                    _ = request.body
                except RequestDataTooBig:
                    throw_away(request.META["wsgi.input"], int(request.META["CONTENT_LENGTH"]))
        return self.get_response(request)


def throw_away(body: IO[bytes], length: int) -> None:
    """Not through the request, which may be read once. Beyond 64 MiB the connection may break."""
    left = min(length, 64 * 1024 * 1024)
    while left > 0 and (part := body.read(min(left, 65_536))):
        left -= len(part)


MACHINES = "default-src 'none'; frame-ancestors 'none'"
DOCS = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Alpine, which django-unfold is made with, evaluates the expressions in its templates.
PAGES = DOCS.replace(
    "default-src 'self'; ", "default-src 'self'; script-src 'self' 'unsafe-eval'; "
)
PAGE_PREFIXES = ("/admin/", "/ops-", "/account/")


class ContentSecurityPolicyMiddleware:
    """The strictest policy that each kind of answer can live with."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        policy = MACHINES
        if response.headers.get("Content-Type", "").startswith("text/html"):
            if request.path.startswith(PAGE_PREFIXES):
                policy = PAGES
            elif request.path.startswith("/api/docs"):
                policy = DOCS
        response.headers.setdefault("Content-Security-Policy", policy)
        return response


class NoStoreMiddleware:
    """No cache keeps an answer, in a browser or on the way, unless the answer says it may.

    Where a session or a token came with the request, not even then: what it got is private.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        said = response.headers.get("Cache-Control", "")
        if "no-store" not in said and (not said or is_somebodys(request)):
            response.headers["Cache-Control"] = "no-store, private"
        return response


def is_somebodys(request: HttpRequest) -> bool:
    return bool(token_text(request)) or settings.SESSION_COOKIE_NAME in request.COOKIES


class ProgramsMiddleware:
    """Takes what programs ask for past all that is for people: sessions, logins, messages.

    A view that knows callers by their service token alone opens no session, and a form that was
    forged has no token. What every answer needs stands before this in the settings. The view is
    called as Django's handler would, but the hooks of middlewares for views do not see it
    (docs/adr/0012).
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(PAGE_PREFIXES):
            return self.get_response(request)
        match = resolve(request.path_info)
        if not is_for_programs(match.func):
            return self.get_response(request)
        request.resolver_match = match
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        if isinstance(response, SimpleTemplateResponse):
            response.render()
        return response


def is_for_programs(view: Any) -> bool:
    """Whether this view of the API knows its callers by their service token, and renders no page.

    (A page may hold a form, as that of the API's documentation does, and then needs a CSRF token.)
    """
    kind = getattr(view, "view_class", None)
    if kind is None or not issubclass(kind, APIView):
        return False
    ways = view.view_initkwargs.get("authentication_classes", kind.authentication_classes)
    return TemplateHTMLRenderer not in kind.renderer_classes and all(
        way is ServiceTokenAuthentication for way in ways
    )


class ProbesMiddleware:
    """Answers probes before anything reads the host: they ask by the address of the machine.

    Nothing in these answers depends on the host. For every other address ALLOWED_HOSTS holds.
    """

    PATHS = frozenset(("/healthz", "/readyz", "/metrics"))

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info not in self.PATHS:
            return self.get_response(request)
        match = request.resolver_match = resolve(request.path_info)
        response: HttpResponse = match.func(request)
        return response
