"""Which processes answer a request, and whether it may be worth waiting for its body."""

import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.urls import Resolver404, resolve
from django.urls.converters import UUIDConverter
from rest_framework.views import APIView

from budgets.api.views import SpendingView
from config.middleware import (
    API_PREFIXES,
    PAGE_PREFIXES,
    ProbesMiddleware,
    is_for_programs,
    ways_in,
)
from workorders.api.auth import ServiceTokenAuthentication

A_RUN = re.compile(UUIDConverter.regex)
SOME_RUN = str(UUID(int=0))
LONGEST = 500  # characters of a path that is remembered
SMALL_BODY = 65_536  # bytes; more is taken from callers only that have a token or a session
BATCH_BODY = 17 * 1024 * 1024  # more than any view takes, so that it says so in its own words
LARGEST_BODY = 64 * 1024 * 1024


class Lane(Enum):
    """DECISIONS: starts, finishes, extensions, direct spend, the kill switch, and probes. They
    never wait for pages, logins, reads, exports and telemetry: all of that is OTHER."""

    DECISIONS = "decisions"
    OTHER = "other"


class Needs(Enum):
    """What a request must bring to be anybody's."""

    NOTHING = "nothing"
    TOKEN = "token"  # noqa: S105
    TOKEN_OR_SESSION = "token or session"  # noqa: S105


class Place(NamedTuple):
    """`for_programs`: also answered on the port that is for programs alone. `name`: of a route that
    the door may know."""

    lane: Lane
    needs: Needs
    for_programs: bool = True
    name: str = ""


PAGES = Place(Lane.OTHER, Needs.NOTHING, for_programs=False)
ELSEWHERE = Place(Lane.OTHER, Needs.NOTHING)


def place(path: str) -> Place:
    """Where a path is answered. All runs are in the same place."""
    path = A_RUN.sub(SOME_RUN, path)
    return remembered(path) if len(path) <= LONGEST else look_up(path)


def look_up(path: str) -> Place:
    if path == "/metrics":  # reads as much as a page
        return ELSEWHERE
    if path in ProbesMiddleware.PATHS:
        return Place(Lane.DECISIONS, Needs.NOTHING)
    if path.startswith((*PAGE_PREFIXES, "/static/")):
        return PAGES
    try:
        match = resolve(path)
    except Resolver404:
        return ELSEWHERE if path.startswith(API_PREFIXES) else PAGES
    view, name = match.func, match.url_name or ""
    kind = getattr(view, "view_class", None)
    if kind is None or not issubclass(kind, APIView):
        return PAGES
    lane = Lane.DECISIONS if getattr(kind, "decides", False) else Lane.OTHER
    if issubclass(kind, SpendingView):
        return Place(lane, Needs.TOKEN, name=name)
    ways = ways_in(view)
    if not ways:
        return Place(lane, Needs.NOTHING, for_programs=is_for_programs(view))
    if is_for_programs(view):
        return Place(lane, Needs.TOKEN)
    by_token = any(issubclass(way, ServiceTokenAuthentication) for way in ways)
    return Place(lane, Needs.TOKEN_OR_SESSION, for_programs=by_token)


remembered = lru_cache(maxsize=4096)(look_up)


def is_plausible(needs: Needs, token: bool, environ: Mapping[str, Any]) -> bool:
    """Whether the caller may turn out to be somebody. `token`: there is what could be one."""
    if needs is Needs.NOTHING or token:
        return True
    return needs is Needs.TOKEN_OR_SESSION and has_session(environ)


def has_session(environ: Mapping[str, Any]) -> bool:
    return f"{settings.SESSION_COOKIE_NAME}=" in environ.get("HTTP_COOKIE", "")


def most_body(token: bool, environ: Mapping[str, Any]) -> int:
    """How many bytes of a body are taken from this caller: people send files, programs batches."""
    if token:
        return BATCH_BODY
    return LARGEST_BODY if has_session(environ) else SMALL_BODY
