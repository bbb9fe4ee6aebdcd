"""What holds for every request: an id and a line in the log, and a content security policy; and
two short ways, of probes and of programs."""

import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, FieldDoesNotExist
from django.db import DataError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import SimpleTemplateResponse
from django.urls import resolve
from django.views.defaults import bad_request
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.views import APIView

from config.logs import access_line
from opslog.api.client_address import is_trusted_proxy
from opslog.request_context import set_request_id
from workorders.api.auth import ServiceTokenAuthentication, token_text

log = logging.getLogger("tollgate.pages")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
GetResponse = Callable[[HttpRequest], HttpResponse]


class Middleware:
    """What stands around every view."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)


class RequestContextMiddleware(Middleware):
    """Gives the request an id that log lines, events and the answer share, and logs one line.

    The line names the route, not the path, and no header or query: no secret can get into it.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter_ns()
        request_id = request_id_of(request.META)
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


def request_id_of(meta: Mapping[str, Any]) -> str:
    """What the client sent as one, or a new one. `meta` is a CGI environment."""
    given: str = meta.get("HTTP_X_REQUEST_ID", "")
    # No secret. (To ask the system for it would let other threads have the interpreter.)
    return given if REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


MACHINES = "default-src 'none'; frame-ancestors 'none'"
DOCS = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Alpine, which django-unfold is made with, evaluates the expressions in its templates.
PAGES = DOCS.replace(
    "default-src 'self'; ", "default-src 'self'; script-src 'self' 'unsafe-eval'; "
)
API_PREFIXES = ("/api/", "/v1/")
PAGE_PREFIXES = ("/admin/", "/ops-", "/account/")


class WholeBodyMiddleware(Middleware):
    """Refuses a chunked body that the server in front did not take apart.

    Tollgate's own does, and says how long it was. Of another, Django would read nothing, and the
    answer would be that of an empty body.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "HTTP_TRANSFER_ENCODING" in request.META:
            return JsonResponse({"error": "the body needs a Content-Length"}, status=411)
        return self.get_response(request)


class ContentSecurityPolicyMiddleware(Middleware):
    """The strictest policy that each kind of answer can live with."""

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


class NoStoreMiddleware(Middleware):
    """No cache keeps an answer, in a browser or on the way, unless the answer says it may.

    Where a session or a token came with the request, not even then: what it got is private.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        cache_control = response.headers.get("Cache-Control", "")
        if "no-store" not in cache_control and (not cache_control or is_somebodys(request)):
            response.headers["Cache-Control"] = "no-store, private"
        return response


def is_somebodys(request: HttpRequest) -> bool:
    return bool(token_text(request)) or settings.SESSION_COOKIE_NAME in request.COOKIES


class ProgramsMiddleware(Middleware):
    """Takes what programs ask for past all that is for people: sessions, logins, messages.

    A view that knows callers by their service token alone opens no session, and a form that was
    forged has no token. What every answer needs stands before this in the settings. The view is
    called as Django's handler would, but the hooks of middlewares for views do not see it
    (docs/adr/0012).
    """

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
    return TemplateHTMLRenderer not in kind.renderer_classes and all(
        way is ServiceTokenAuthentication for way in ways_in(view)
    )


def ways_in(view: Any) -> tuple[Any, ...]:
    """How this view of the API knows its callers."""
    return tuple(
        view.view_initkwargs.get("authentication_classes", view.view_class.authentication_classes)
    )


class ForwardedProtoMiddleware(Middleware):
    """`X-Forwarded-Proto` is what the nearest trusted proxy says, and nobody else.

    Of several values the last is that proxy's own: Django would take the first.
    """

    NAME = "HTTP_X_FORWARDED_PROTO"

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if self.NAME in request.META:
            proto = self.proto_of(request.META)
            if proto is None:
                del request.META[self.NAME]
            else:
                request.META[self.NAME] = proto
        return self.get_response(request)

    @classmethod
    def proto_of(cls, meta: Mapping[str, Any]) -> str | None:
        """What a trusted proxy says; None where none does. `meta` is a CGI environment."""
        given: str | None = meta.get(cls.NAME)
        if given is None or not is_trusted_proxy(meta.get("REMOTE_ADDR", "")):
            return None
        return given.rpartition(",")[2].strip()


class QueryStringMiddleware(Middleware):
    """A query string that means nothing is the caller's mistake (400), never a page that broke.

    Pages read their parameters in many places, most of them Django's. PostgreSQL stores no NUL, so
    none of them can be looked for; and what is no number, day or name of a column of the kind that
    is compared with it is noticed as late as here. Only reads are excused: a form has validators,
    and so has the API, which names the field in its own shape of an error.
    """

    NOT_A_VALUE = (DataError, FieldDoesNotExist, OverflowError)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        query = request.META.get("QUERY_STRING", "")
        if ("%00" in query or "\x00" in query) and not request.path_info.startswith(API_PREFIXES):
            return bad_request(request, BadRequest("a NUL in the query string"))
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if (
            request.method not in ("GET", "HEAD")
            or not request.META.get("QUERY_STRING")
            or not isinstance(error, self.NOT_A_VALUE)
        ):
            return None
        log.warning("a query string that means nothing", exc_info=error)
        return bad_request(request, error)


class ProbesMiddleware(Middleware):
    """Answers probes before anything reads the host: they ask by the address of the machine.

    Nothing in these answers depends on the host. For every other address ALLOWED_HOSTS holds.
    """

    PATHS = frozenset(("/healthz", "/readyz", "/metrics"))

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info not in self.PATHS:
            return self.get_response(request)
        match = request.resolver_match = resolve(request.path_info)
        response: HttpResponse = match.func(request)
        return response
