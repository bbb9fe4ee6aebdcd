"""One connection of a client: its requests are read, bounded and answered, one after another.

A request ends early, or its connection does, where

- its head is not there within the time for one, is larger than 64 KiB or has over 100 fields;
- its body is not there within that time and a second more for each 64 KiB, or is too large;
- its caller needs a token or a session and brings none that could be good: answered at once;
- its client address has too many connections open already: the oldest that has brought no good
  token makes room for the new one.

Names of header fields with an underscore are dropped: in a CGI environment `X_Forwarded_For` and
`X-Forwarded-For` are one name. Fields that come twice are one list, in their order, by which the
last hop of `X-Forwarded-For` stays the last. A request that was sent before the one ahead of it is
answered (pipelining) is not read; the connection ends with that answer. A token that is not known
to be good waits for a second where others from its address were wrong just now.
"""

import asyncio
import io
import tempfile
import threading
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from json import dumps
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from config.server import lanes
from config.server.exchange import DRAIN_SECONDS, STATUSES, Exchange
from config.server.house import House
from config.server.threads import COMMON
from opslog.addresses import address_of, parse_hop
from workorders.tokens import plausible, text_of

IDLE_SECONDS = 75  # between two requests: longer than the 60 of usual load balancers
MOST_HEAD = 65_536
MOST_FIELDS = 100
IN_MEMORY = 65_536  # bytes of a body; the rest is in a temporary file
MOST_HELD = 512 * 1024 * 1024  # bytes of all bodies of a process
WRITE_AHEAD = 262_144  # bytes of a stream that may wait for a client
DELAY_SECONDS = 1.0  # for a token that comes among wrong ones
TOO_LARGE = (413, "the request body is too large")


class Connection(asyncio.Protocol):
    def __init__(self, house: House, already: bytes = b"") -> None:
        self.house = house
        self.already = already  # what another process has read of the first request
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.parser: Any = None
        self.timer: asyncio.TimerHandle | None = None
        self.address = ""
        self.gone = False
        self.client = ""
        self.from_proxy = False
        self.good = False  # its last token was one
        self.busy = False  # a request is with a thread
        self.unread: list[bytes] = []  # came meanwhile
        self.later: list[bytes] = []  # this request as it was sent, while it may be passed on
        self.keep = True
        self.paused = False  # the client reads slower than we write
        self.lingering = False
        self.writable = threading.Event()
        self.size = 0
        self.begin()

    def begin(self) -> None:
        """Between two requests."""
        self.started = False  # its first byte is there
        self.whole_head = False
        self.url = b""
        self.head = 0
        self.fields = 0
        self.other_protocol = False  # was offered, and is not spoken: its body is read here
        self.framing = 0  # bytes after the head that are no body: sizes of chunks, trailers
        self.environ: dict[str, Any] = {}
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

    # Life of the connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_AHEAD)
        peer, house = transport.get_extra_info("peername"), self.house
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        own = transport.get_extra_info("sockname")
        self.server = (str(own[0]), str(own[1])) if isinstance(own, tuple) else ("localhost", "80")
        self.parser = httptools.HttpRequestParser(self)
        self.client = client_of(self.address)
        self.from_proxy = house.exempt(self.address)
        if not house.room_for(self):
            self.refuse(503, "too many connections are open from this address")
            return
        self.expect(house.request_seconds)
        if self.already:
            data, self.already = self.already, b""
            self.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.writable.set()
        self.expect(None)
        self.house.remove(self)
        self.house.held -= self.size
        self.size = 0
        self.parser = None

    def expect(self, seconds: float | None) -> None:
        """Sets the time within which what is waited for has to come; None: no matter when."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None if seconds is None else self.house.loop.call_later(seconds, self.late)

    def late(self) -> None:
        self.timer = None
        if self.paused or self.lingering or not self.started or self.answered_early:
            self.abort()
        elif not (self.busy or self.delayed):
            self.refuse(408, "the request did not arrive in time")

    def wait_for(self, what: str) -> None:
        """The time for the rest of a head, or of a body, begins when its beginning is there."""
        if self.awaited != what:
            self.awaited = what
            self.deadline = self.house.loop.time() + self.house.request_seconds
            self.expect(self.house.request_seconds)

    def shut(self) -> None:
        """The process ends: what is under way is answered, and nothing else."""
        if not self.busy and not self.started:
            self.transport.close()
        self.keep = False

    def abort(self) -> None:
        if not self.gone:
            self.gone = True
            self.transport.abort()
            self.house.remove(self)

    def pause_writing(self) -> None:
        self.paused = True
        self.expect(DRAIN_SECONDS)

    def resume_writing(self) -> None:
        self.paused = False
        if self.busy:
            self.expect(None)
        else:
            self.awaited = ""
            self.expect(IDLE_SECONDS)
        self.writable.set()

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
            self.deny(400, "this is no HTTP/1.1")
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

    def deny(self, status: int, error: str) -> None:
        """Said when the parser is through with what it has."""
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
                self.deny(400, "there is more than one Host")
                return
            text = f"{before}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        self.environ[key] = text

    def on_headers_complete(self) -> None:
        if self.skip:
            return
        if self.fields > MOST_FIELDS:
            self.deny(431, "the head of the request has too many fields")
            return
        environ = self.environ
        try:
            parsed = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            self.deny(400, "the address cannot be read")
            return
        path = parsed.path or b"/"
        if b"%" in path:
            path = unquote_to_bytes(path)
        environ["PATH_INFO"] = path.decode("latin-1")
        environ["QUERY_STRING"] = (parsed.query or b"").decode("latin-1")
        environ["REQUEST_METHOD"] = self.parser.get_method().decode()
        self.whole_head = True
        lane, needs = lanes.place(path.decode("utf-8", "replace"))
        if self.house.lane not in (None, lane):
            self.elsewhere = self.skip = True
            return
        self.later.clear()
        token = text_of(environ)
        could_be = plausible(token)
        if could_be and needs is not lanes.Needs.NOTHING:
            self.caller = (self.origin(), token)
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if not (chunked or length):
            return
        self.left = 0 if chunked else length
        if not lanes.is_plausible(needs, could_be, environ):
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
        if environ.get("HTTP_EXPECT", "").lower() == "100-continue":
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
        if self.caller is not None and self.house.strangers.too_many(*self.caller):
            self.delayed = True
            self.house.loop.call_later(DELAY_SECONDS, self.dispatch)
        else:
            self.dispatch()

    # What goes on, and out.

    def origin(self) -> str:
        """Whom the request is counted for, seen through a trusted proxy."""
        if not self.from_proxy:
            return self.client
        return client_of(address_of({**self.environ, "REMOTE_ADDR": self.address}))

    def dispatch(self) -> None:
        """Hands the request, which is whole or needs no body, to a thread."""
        if self.gone:
            return
        self.delayed = False
        environ = {**COMMON, **self.environ}
        version = self.parser.get_http_version()
        environ["SERVER_PROTOCOL"] = f"HTTP/{version}"
        environ["SERVER_NAME"], environ["SERVER_PORT"] = self.server
        environ["REMOTE_ADDR"] = self.address
        if self.answered_early:
            environ.pop("HTTP_TRANSFER_ENCODING", None)
            environ.pop("CONTENT_LENGTH", None)
            environ["wsgi.input"] = io.BytesIO()
        elif self.body is None or isinstance(self.body, bytes):
            environ["wsgi.input"] = io.BytesIO(self.body or b"")
        else:
            self.body.seek(0)
            environ["wsgi.input"] = self.body
        if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None:
            environ["CONTENT_LENGTH"] = str(self.size)
        keep = self.keep and self.parser.should_keep_alive() and not self.house.closing
        self.exchange = Exchange(self, environ, keep, self.caller)
        self.busy = self.skip = True
        if not self.house.threads.take(self.exchange):
            self.busy = False
            self.refuse(503, "too many requests are waiting")

    def write(self, data: bytes) -> None:
        if not self.gone:
            self.transport.write(data)

    def write_part(self, data: bytes) -> None:
        """A piece of a stream; whoever made it waits until there is room for another."""
        self.write(data)
        if self.gone or not self.paused:
            self.writable.set()

    def finish(self, data: bytes, keep: bool) -> None:
        """The last of an answer."""
        self.busy = False
        if self.gone:
            return
        self.transport.write(data)
        if not keep or self.house.closing or not self.keep:
            self.end()
        elif self.answered_early and not self.ended:
            pass  # its body is still to come, within the time that it was given
        else:
            self.next()

    def next(self) -> None:
        self.begin()
        self.expect(IDLE_SECONDS)
        if self.unread:
            data, self.unread = b"".join(self.unread), []
            self.transport.resume_reading()
            self.data_received(data)

    def end(self) -> None:
        """Closes when all is written, but does not wait long for a client that reads nothing.

        With more of a request to come, only our side is closed, and the rest thrown away for a
        time: else the system would answer it with a reset, and the client might not see ours.
        """
        if self.ended or not self.transport.can_write_eof():
            self.transport.close()
            self.expect(DRAIN_SECONDS)
        else:
            self.lingering = True
            self.transport.write_eof()
            self.expect(self.house.request_seconds)

    def refuse(self, status: int, error: str) -> None:
        """An answer without the application, and the end of the connection."""
        if self.gone or self.lingering or self.transport.is_closing():
            return
        body = dumps({"error": error}).encode()
        retry = "Retry-After: 1\r\n" if status == 503 else ""
        self.busy = False
        self.transport.write(
            f"{STATUSES[status]}{self.house.date()}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n".encode()
            + body
        )
        self.end()

    def leave(self) -> None:
        """Gives the connection, and what was read of this request, to the other processes."""
        self.expect(None)
        self.transport.pause_reading()  # what comes from now on is the other's
        handle = self.transport.get_extra_info("socket").fileno()
        if not self.later:  # it began behind the body of another
            self.end()
            return
        if not self.house.pass_on(handle, b"".join(self.later)):
            self.refuse(503, "too many requests are waiting")
            return
        self.house.remove(self)
        self.gone = True
        self.transport.abort()  # of this process's half: the socket lives on in the other


@lru_cache(maxsize=4096)
def client_of(address: str) -> str:
    """Whom the connections of an address are counted for: of IPv6, whoever has the /64."""
    parsed = parse_hop(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address if parsed is None else str(parsed)


NAMES: dict[bytes, str] = {}


def key_of(name: bytes) -> str:
    key = name.upper().replace(b"-", b"_").decode("latin-1")
    key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key
    if len(NAMES) < 1000:
        NAMES[name] = key
    return key
