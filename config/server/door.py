"""The door: a well-formed start, finish, extension or direct spend, answered on the event loop.

No thread and no Django in its way: the ask goes to the gatherer of this process, which sends it to
the database with all others that are there (docs/adr/0017). What a view does with a request is
done by the same functions (`budgets.api.asks`, `budgets.api.answers`), and what DRF and the
middlewares put on an answer is taken from one that they gave. Anything that is not well-formed is
left to the views: another method, a body that does not decode, a host that is not ours, prices
that have to be read first. So they make every answer to a mistake.
"""

import io
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.urls import resolve, reverse
from django.urls.converters import UUIDConverter
from rest_framework.utils.mediatypes import media_type_matches

from budgets.admission import Decision
from budgets.admission.batches import Ask
from budgets.api import answers, asks
from budgets.api.asks import Asked
from budgets.gathering import Gatherer
from config.logs import AccessLines, AccessLog, access_text
from config.middleware import ForwardedProtoMiddleware, request_id_of
from config.server.exchange import STATUSES, Exchange
from config.server.threads import COMMON, Application
from opslog.api.errors import BadRequest
from opslog.api.requests import MAX_BODY, RawJSONParser
from opslog.exceptions import Unavailable
from opslog.price_book import prices
from opslog.request_context import set_request_id

if TYPE_CHECKING:
    from config.server.connection import Connection
    from config.server.house import House

log = logging.getLogger("tollgate.server")
SOME_RUN = UUID(int=0)
MARK = "00000000-mark"  # a request id that each request replaces by its own
LENGTH = "content-length"
LONGEST = 300  # characters of a host or a type that is remembered; the views judge longer ones


class Kind(Protocol):
    def read(self, data: Any, meta: Mapping[str, Any], run_id: Any) -> Asked: ...


# By the name of the view that answers the same.
KINDS: Mapping[str, Kind] = {
    "work-order-start": asks.Start,
    "run-finish": asks.Finish,
    "run-extend": asks.Extend,
    "llm-spend": asks.Spend,
}
OF_RUNS = ("run-finish", "run-extend")
RUN_ID = f"({UUIDConverter.regex})"


@dataclass(frozen=True, slots=True)
class Frame:
    """The headers that every answer has besides its own, with gaps for the length of the body and
    for the request's id."""

    kind: Kind
    route: str
    before_length: str
    before_id: str
    after_id: str

    def fields(self, reply: answers.Reply, request_id: str) -> str:
        own = "".join([f"{name}: {value}\r\n" for name, value in reply.headers.items()])
        return (
            f"Content-Type: application/json\r\n{own}{self.before_length}{len(reply.body)}"
            f"{self.before_id}{request_id}{self.after_id}"
        )


Frames = dict[tuple[str, bool], Frame]  # by the name of the view, and whether by HTTPS


def frames(application: Application) -> Frames:
    """Asks each view for an answer, over HTTP and over HTTPS. Where it redirects there is no frame,
    so the view answers."""
    learned: Frames = {}
    enabled, AccessLog.enabled = AccessLog.enabled, False
    try:
        for name, kind in KINDS.items():
            for secure in (False, True):
                frame = learn(application, name, kind, secure=secure)
                if frame is not None:
                    learned[name, secure] = frame
    finally:
        AccessLog.enabled = enabled
    return learned


def learn(application: Application, name: str, kind: Kind, *, secure: bool) -> Frame | None:
    path = path_of(name)
    environ = {
        **COMMON,
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "CONTENT_TYPE": RawJSONParser.media_type,
        "HTTP_HOST": some_host(),
        "HTTP_AUTHORIZATION": "Bearer tg_x",
        "HTTP_X_REQUEST_ID": MARK,
        "wsgi.url_scheme": "https" if secure else "http",
        "wsgi.input": io.BytesIO(),
    }
    status = 0
    lines: list[str] = []

    def start_response(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        nonlocal status
        status = int(line[:3])
        lines.extend(f"{name}: {value}\r\n" for name, value in headers)

    for _ in application(environ, start_response):
        pass
    if status != 400:  # it had no body
        return None
    first, *rest = lines
    length = next(n for n, line in enumerate(rest) if line.lower().startswith(LENGTH))
    marked = next(n for n, line in enumerate(rest) if MARK in line)
    if not (first.startswith("Content-Type: ") and length < marked):
        return None
    before, after = rest[marked].split(MARK)
    return Frame(
        kind,
        f"/{resolve(path).route}",
        "".join(rest[:length]) + rest[length].partition(" ")[0] + " ",
        "\r\n" + "".join(rest[length + 1 : marked]) + before,
        after + "".join(rest[marked + 1 :]),
    )


def path_of(name: str) -> str:
    return reverse(name, args=[SOME_RUN] if name in OF_RUNS else [])


def some_host() -> str:
    """One that is allowed."""
    names = [name.removeprefix(".") for name in settings.ALLOWED_HOSTS if name != "*"]
    return names[0] if names else "localhost"


def is_our_host(host: str) -> bool:
    return len(host) <= LONGEST and has_our_name(host)


@lru_cache(maxsize=1024)
def has_our_name(host: str) -> bool:
    """As Django judges it, except that an empty host is left to Django."""
    domain, _ = split_domain_port(host)
    return domain != "" and validate_host(domain, settings.ALLOWED_HOSTS)


def is_json(content_type: str) -> bool:
    return len(content_type) <= LONGEST and is_type_of_json(content_type)


@lru_cache(maxsize=256)
def is_type_of_json(content_type: str) -> bool:
    """As DRF judges it."""
    return bool(media_type_matches(RawJSONParser.media_type, content_type))


class Addresses:
    """Finds the view that a path belongs to, by the routes."""

    def __init__(self) -> None:
        self._fixed = {reverse(name): name for name in KINDS if name not in OF_RUNS}
        self._of_runs = [
            (re.compile(RUN_ID.join(map(re.escape, path_of(name).split(str(SOME_RUN))))), name)
            for name in OF_RUNS
        ]

    def find(self, path: str) -> tuple[str, UUID | None] | None:
        """The name of the view, and the run."""
        if name := self._fixed.get(path):
            return name, None
        for pattern, name in self._of_runs:
            if match := pattern.fullmatch(path):
                return name, UUID(match[1])
        return None


class Door:
    """One for each process."""

    def __init__(self, house: "House", gatherer: Gatherer, frames: Frames) -> None:
        self.house, self.gatherer, self.frames = house, gatherer, frames
        self.addresses = Addresses()
        self.lines = AccessLines(house.loop)

    def takes(self, connection: "Connection", exchange: Exchange) -> bool:
        """Whether it answers this request. If not, nothing was done."""
        try:
            return self._takes(connection, exchange)
        except BadRequest:
            return False
        except Exception:
            log.exception("a request could not be read")
            return False

    def _takes(self, connection: "Connection", exchange: Exchange) -> bool:
        environ = connection.environ
        if exchange.method != "POST" or exchange.caller is None:
            return False
        target = self.addresses.find(connection.path)
        body = connection.small_body()
        if target is None or not 0 < len(body) <= MAX_BODY:
            return False
        name, run_id = target
        secure = ForwardedProtoMiddleware.proto_of(environ) == "https"
        frame = self.frames.get((name, secure))
        if frame is None or not is_our_host(environ.get("HTTP_HOST", "")):
            return False
        if not is_json(environ.get("CONTENT_TYPE", "")):
            return False
        asked = frame.kind.read(body, environ, run_id)
        if asked.needs_prices and not prices.at_hand():
            return False
        request_id = request_id_of(environ)
        # For what is computed here only: other requests are next on this loop.
        set_request_id(request_id)
        try:
            ask = Ask(asked.operation, asked.fields())
        finally:
            set_request_id("")
        self.gatherer.submit(
            ask,
            sender=asked.caller.digest,
            arrived=connection.arrived,
            done=partial(
                self._decided, exchange, Visit(frame, asked, request_id, time.perf_counter())
            ),
        )
        return True

    def _decided(self, exchange: Exchange, visit: "Visit", result: Decision | Exception) -> None:
        connection = exchange.connection
        if isinstance(result, Decision) and result.status == 0:  # by prices that we do not have
            connection.to_threads(exchange)
            return
        set_request_id(visit.request_id)
        try:
            reply = visit.reply(result)
            if exchange.was_judged(reply.status, reply.headers.items()):
                exchange.judged(reply.status)
            fields = visit.frame.fields(reply, visit.request_id)
            head = exchange.framed(STATUSES[reply.status], fields).encode("latin-1")
            if AccessLog.enabled:
                self.lines.add(visit.line(reply.status))
        except Exception:
            log.exception("a request was not answered")
            exchange.fail()
            return
        finally:
            set_request_id("")
        connection.finish(head + reply.body, exchange.keep)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that is being decided; `began` by time.perf_counter()."""

    frame: Frame
    asked: Asked
    request_id: str
    began: float

    def reply(self, result: Decision | Exception) -> answers.Reply:
        if isinstance(result, Unavailable):
            return answers.undecided(result)
        if isinstance(result, Exception):
            raise result
        operation = self.asked.operation
        answers.measure(operation, result, time.perf_counter() - self.began)
        self.asked.count(result)
        return answers.render(result, operation=operation)

    def line(self, status: int) -> str:
        return access_text(
            method="POST",
            route=self.frame.route,
            status=status,
            duration_ms=(time.perf_counter() - self.began) * 1e3,
            request_id=self.request_id,
        )
