"""How the requests of a connection are read: heads and bodies, and what bounds them.

Names of header fields with an underscore are dropped: in a CGI environment `X_Forwarded_For` and
`X-Forwarded-For` are one name. Fields that come twice are one list, in their order, by which the
last hop of `X-Forwarded-For` stays the last. A request that was sent before the one ahead of it is
answered (pipelining) is not read; the connection ends with that answer.
"""

import asyncio
import tempfile
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from config.server import lanes
from config.server.exchange import Exchange
from config.server.house import House
from opslog.api.client_address import address_of, parse_hop
from workorders.tokens import plausible, text_of

MOST_HEAD = 65_536
MOST_FIELDS = 100
VERSIONS = ("1.0", "1.1")
IN_MEMORY = 65_536  # bytes of a body; the rest is in a temporary file
MOST_HELD = 512 * 1024 * 1024  # bytes of all bodies of a process
NOT_HTTP = (400, "not a valid HTTP/1.1 request")
TOO_LARGE = (413, "the request body is too large")
NOT_HERE = (404, "not found: this port serves the API; pages are on the other port")


class Reader(asyncio.Protocol):
    """Of one connection; `config.server.connection` has what is done with a request."""

    def __init__(self, house: House, *, door: bool) -> None:
        self.house = house
        self.door = door  # it came by the port that is for programs alone
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.parser: Any = None
        self.address = ""
        self.client = ""
        self.from_proxy = False
        self.gone = False
        self.busy = False  # a request is with a thread, or being decided
        self.unread: list[bytes] = []  # came meanwhile
        self.later: list[bytes] = []  # this request as it was sent, while it may be passed on
        self.keep = True
        self.lingering = False
        self.size = 0
        self.begin()

    def begin(self) -> None:
        """Between two requests."""
        self.started = False  # its first byte is there
        self.arrived = 0.0  # when that was, by the loop's clock
        self.whole_head = False
        self.url = b""
        self.head = 0
        self.fields = 0
        self.other_protocol = False  # was offered, and is not spoken: its body is read here
        self.framing = 0  # bytes after the head that are no body: sizes of chunks, trailers
        self.environ: dict[str, Any] = {}
        self.path = ""
        self.body: Any = None
        self.house.held -= self.size
        self.size = 0
        self.deadline = 0.0
        self.left = 0  # bytes of a body of known length that are still to come
        self.allowed = 0
        self.exchange: Exchange | None = None
        self.caller: tuple[str, str] | None = None
        self.ended = False
        self.refused: tuple[int, str] | None = None
        self.skip = False  # nothing more of this request is looked at
        self.awaited = ""  # what the timer is for: the head, or the body
        self.elsewhere = False
        self.delayed = False
        self.answered_early = False
        self.later.clear()

    # What is done with it.

    def expect(self, seconds: float | None) -> None:
        raise NotImplementedError

    def wait_for(self, what: str) -> None:
        raise NotImplementedError

    def complete(self) -> None:
        """The request is whole."""
        raise NotImplementedError

    def dispatch(self) -> None:
        raise NotImplementedError

    def next(self) -> None:
        raise NotImplementedError

    def refuse(self, status: int, error: str) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    # What comes in.

    def data_received(self, data: bytes) -> None:
        if self.gone or self.lingering or self.transport.is_closing():
            return
        if self.delayed or (self.busy and (self.ended or not self.answered_early)):
            self.unread.append(data)
            self.transport.pause_reading()
            return
        if 0 < self.left < len(data):  # the body ends within, and another request begins
            body, following = data[: self.left], data[self.left :]
            self.data_received(body)
            self.data_received(following)
            return
        if self.parser_is_done():
            self.read_on(data)
            return
        if self.whole_head:
            self.framing += len(data)
        else:
            self.head += len(data)
            self.later.append(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            self.keep = False
            if self.parser_is_done():
                self.read_on(data[error.args[0] :])
                return
        except httptools.HttpParserError:
            self.deny(*NOT_HTTP)
        if self.framing > MOST_HEAD + 16 * self.size:  # the parser gathers trailers without end
            self.abort()
            return
        if (self.busy or self.delayed) and self.refused is not None:
            self.keep = False  # it came behind a request that is being answered
        elif self.refused is not None:
            self.refuse(*self.refused)
        elif self.elsewhere:
            self.leave()
        elif not self.whole_head:
            if self.head > MOST_HEAD:
                self.refuse(431, "the head of the request is too large")
            elif self.started:
                self.wait_for("head")
        elif not self.ended:
            self.wait_for("body")

    def eof_received(self) -> bool:
        self.keep = False
        return self.busy or self.delayed  # a client may close its side and still read

    def on_message_begin(self) -> None:
        if self.busy or self.delayed or self.exchange is not None:
            self.keep = False  # see above: pipelined
            return
        self.started = True
        self.arrived = self.house.loop.time()

    def deny(self, status: int, error: str) -> None:
        """The answer is sent when the parser has read what is there."""
        self.refused = self.refused or (status, error)
        self.skip = True

    def on_url(self, url: bytes) -> None:
        if not self.skip:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.skip or self.whole_head:
            return  # (a trailer of a chunked body)
        self.fields += 1
        if b"_" in name:
            return
        key = NAMES.get(name) or key_of(name)
        text = value.decode("latin-1")
        before = self.environ.get(key)
        if before is not None:
            if key == "HTTP_HOST":
                self.deny(400, "more than one Host header")
                return
            text = f"{before}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        self.environ[key] = text

    def on_headers_complete(self) -> None:
        if self.skip:
            return
        environ = self.environ
        environ["REQUEST_METHOD"] = self.parser.get_method().decode()
        if self.fields > MOST_FIELDS:
            self.deny(431, "the head of the request has too many fields")
            return
        version = self.parser.get_http_version()
        if version not in VERSIONS:  # the parser takes 0.9 and 2.0, too
            self.deny(*NOT_HTTP)
            return
        try:
            parsed = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            self.deny(400, "the URL is malformed")
            return
        if version == "1.1" and "HTTP_HOST" not in environ:
            self.deny(400, "the Host header is missing")
            return
        if parsed.host is not None:  # an absolute address names the host (RFC 9112, 3.2.2)
            environ["HTTP_HOST"] = authority(parsed.host, parsed.port)
        path = parsed.path or b"/"
        if b"%" in path:
            path = unquote_to_bytes(path)
        environ["PATH_INFO"] = path.decode("latin-1")
        environ["QUERY_STRING"] = (parsed.query or b"").decode("latin-1")
        environ["REMOTE_ADDR"] = self.address
        self.whole_head = True
        self.path = path.decode("utf-8", "replace")
        place = lanes.place(self.path)
        if self.door and not place.for_programs:
            self.deny(*NOT_HERE)
            return
        if self.house.lane not in (None, place.lane):
            self.elsewhere = self.skip = True
            return
        self.later.clear()
        token = text_of(environ)
        could_be = plausible(token)
        if could_be and place.needs is not lanes.Needs.NOTHING:
            self.caller = (self.origin(), token)
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        if chunked and environ["HTTP_TRANSFER_ENCODING"].strip().lower() != "chunked":
            self.deny(501, "Transfer-Encoding: only chunked is understood")
            return
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if not (chunked or length):
            return
        self.left = 0 if chunked else length
        if not lanes.is_plausible(place.needs, could_be, environ):
            # Whatever the body is, the answer is 401. It is thrown away as it comes.
            self.answered_early = self.skip = True
            self.keep = self.keep and not chunked and length <= lanes.SMALL_BODY
            self.dispatch()
            return
        self.allowed = lanes.most_body(could_be, environ)
        if length > self.allowed:
            self.deny(*TOO_LARGE)
            return
        if chunked or length > IN_MEMORY:
            # Closed when nobody has it any more: the view may keep it.
            self.body = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        if version == "1.1" and environ.get("HTTP_EXPECT", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self.left -= len(data)
        self.framing -= len(data)
        if self.skip:
            return
        earned = (self.size + len(data)) // IN_MEMORY - self.size // IN_MEMORY
        self.size += len(data)
        self.house.held += len(data)
        if earned and self.awaited == "body":
            self.deadline += earned
            self.expect(self.deadline - self.house.loop.time())
        if self.size > self.allowed:
            self.deny(*TOO_LARGE)
        elif self.size > IN_MEMORY and self.house.held > MOST_HELD:
            # Small bodies, those of decisions, never pay for large ones.
            self.deny(503, "too many bodies are under way")
        elif self.body is None:
            self.body = data
        elif isinstance(self.body, bytes):
            self.body += data
        else:
            self.body.write(data)

    def small_body(self) -> bytes:
        """The whole of a body that is still in memory, else nothing."""
        if isinstance(self.body, bytes):
            return self.body
        if self.body is None or self.size > IN_MEMORY:
            return b""
        self.body.seek(0)
        read: bytes = self.body.read()
        return read

    def parser_is_done(self) -> bool:
        return self.other_protocol

    def read_on(self, data: bytes) -> None:
        """The parser ends with a head that offers another protocol, as clients do that would rather
        speak HTTP/2. What they send as a body of known length is one all the same."""
        part = data[: self.left]
        if part:
            self.on_body(part)
        if self.refused is not None:
            self.refuse(*self.refused)
        elif self.left == 0:
            self.other_protocol = False
            self.on_message_complete()
        else:
            self.wait_for("body")

    def on_message_complete(self) -> None:
        if self.left > 0 and not self.answered_early and self.parser.should_upgrade():
            self.other_protocol = True
            return
        if self.answered_early and not self.ended:
            self.ended = True  # the next request may follow
            if not self.busy:
                self.next()
            return
        if self.skip or not self.whole_head:
            return
        self.ended = self.skip = True
        self.complete()

    def origin(self) -> str:
        """Whom the request is counted for, seen through a trusted proxy."""
        if not self.from_proxy:
            return self.client
        return client_of(address_of(self.environ))


@lru_cache(maxsize=4096)
def client_of(address: str) -> str:
    """Whom the connections of an address are counted for: of IPv6, whoever has the /64."""
    parsed = parse_hop(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address if parsed is None else str(parsed)


def authority(host: bytes, port: int | None) -> str:
    """As a Host header has it; an IPv6 address comes without its brackets."""
    name = host.decode("latin-1")
    name = f"[{name}]" if ":" in name else name
    return name if port is None else f"{name}:{port}"


NAMES: dict[bytes, str] = {}
LONGEST_NAME = 100  # bytes of a name that is remembered


def key_of(name: bytes) -> str:
    key = name.upper().replace(b"-", b"_").decode("latin-1")
    key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key
    if len(NAMES) < 1000 and len(name) <= LONGEST_NAME:
        NAMES[name] = key
    return key
