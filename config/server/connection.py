"""One connection of a client: its requests are read, bounded and answered, one after another.

A request ends early, or its connection does, where

- its head is not there within the time for one, is larger than 64 KiB or has over 100 fields;
- its body is not there within that time and a second more for each 64 KiB, or is too large;
- its caller needs a token or a session and brings none that could be good: answered at once;
- its client address has too many connections open already: the oldest that has brought no good
  token makes room for the new one.

A token that is not known to be good waits for a second where others from its address were wrong
just now. `config.server.reader` has how a request is read.
"""

import asyncio
import io
import math
import threading
from json import dumps

import httptools
from django.conf import settings

from config.server import lanes
from config.server.exchange import DRAIN_SECONDS, STATUSES, Exchange
from config.server.house import House
from config.server.reader import Reader, client_of
from config.server.threads import COMMON

IDLE_SECONDS = 75  # between two requests: longer than the 60 of usual load balancers
WRITE_AHEAD = 262_144  # bytes of a stream that may wait for a client
DELAY_SECONDS = 1.0  # for a token that comes among wrong ones


class Connection(Reader):
    def __init__(self, house: House, already: bytes = b"", *, door: bool = False) -> None:
        self.already = already  # what another process has read of the first request
        self.timer: asyncio.TimerHandle | None = None
        self.good = False  # its last token was one
        self.paused = False  # the client reads slower than we write
        self.writable = threading.Event()
        super().__init__(house, door=door)

    # Life of the connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_AHEAD)
        peer, house = transport.get_extra_info("peername"), self.house
        house.look()
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

    # What goes on, and out.

    def complete(self) -> None:
        if self.caller is not None and self.house.strangers.too_many(*self.caller):
            self.delayed = True
            self.house.loop.call_later(DELAY_SECONDS, self.dispatch)
        else:
            self.dispatch()

    def dispatch(self) -> None:
        """The request, which is whole or needs no body, is decided from here or goes to a
        thread."""
        if self.gone:
            return
        self.delayed = False
        self.house.look()
        keep = self.keep and self.parser.should_keep_alive() and not self.house.closing
        protocol = f"HTTP/{self.parser.get_http_version()}"
        self.exchange = Exchange(self, self.environ["REQUEST_METHOD"], protocol, keep, self.caller)
        self.busy = self.skip = True
        door = self.house.door
        if door is None or not door.takes(self, self.exchange):
            self.to_threads(self.exchange)

    def to_threads(self, exchange: Exchange) -> None:
        """Django answers."""
        environ = {**COMMON, **self.environ}
        environ["SERVER_PROTOCOL"] = exchange.protocol
        environ["SERVER_NAME"], environ["SERVER_PORT"] = self.server
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
        exchange.environ = environ
        place = self.place
        decides = place.lane is lanes.Lane.DECISIONS and place.needs is lanes.Needs.TOKEN
        within = settings.TOLLGATE_DATABASE_TIMEOUT if decides else math.inf
        if self.house.threads.take(exchange, within=within):
            return
        if decides:
            exchange.overloaded()
        else:
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
        is_head = self.environ.get("REQUEST_METHOD") == "HEAD"
        self.busy = False
        self.transport.write(
            f"{STATUSES[status]}{self.house.date()}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n".encode()
            + (b"" if is_head else body)
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
        if not self.house.pass_on(handle, b"".join(self.later), self.door):
            self.refuse(503, "too many requests are waiting")
            return
        self.house.remove(self)
        self.gone = True
        self.transport.abort()  # of this process's half: the socket lives on in the other
