"""A whole request and the way back for its answer: heads and bodies as HTTP/1.1 frames them."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from budgets.admission import metrics
from budgets.api import answers
from opslog.exceptions import Overloaded

if TYPE_CHECKING:
    from config.server.connection import Connection

DRAIN_SECONDS = 30  # without any progress of an answer that is under way
STATUSES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
NO_BODY = (204, 304)


class Exchange:
    """A whole request, and the way back for its answer. Used by one thread, or by the loop."""

    __slots__ = ("caller", "connection", "environ", "keep", "method", "protocol")

    def __init__(
        self,
        connection: "Connection",
        method: str,
        protocol: str,
        keep: bool,
        caller: tuple[str, str] | None,
    ) -> None:
        self.connection, self.keep = connection, keep
        self.caller = caller  # client address and token
        self.method, self.protocol = method, protocol
        self.environ: dict[str, Any] = {}  # for Django

    def was_judged(self, code: int, headers: Iterable[tuple[str, str]]) -> bool:
        """Whether somebody looked at the token: bad input and wrong methods are answered before,
        and so is what there is no time for."""
        for name, value in headers:
            if name.lower() == "tollgate-denial":
                return value != "overloaded"
        return code < 400 and self.method != "OPTIONS"

    def judged(self, code: int) -> None:
        """Somebody looked at the token, and this is the answer."""
        if self.caller is not None:
            self.connection.house.strangers.judged(*self.caller, code)
            self.connection.good = code not in (401, 403)

    def head(self, status: str, headers: list[tuple[str, str]], length: int | None) -> str:
        code = int(status[:3])
        if self.was_judged(code, headers):
            self.judged(code)
        lines = []
        known = False
        for name, value in headers:
            lower = name.lower()
            if lower == "connection":
                self.keep = self.keep and value.lower() != "close"
                continue
            known = known or lower == "content-length"
            lines.append(f"{name}: {value}\r\n")
        if code not in NO_BODY and not known:
            if length is not None:
                lines.append(f"Content-Length: {length}\r\n")
            elif self.protocol == "HTTP/1.0":
                self.keep = False
            else:
                lines.append("Transfer-Encoding: chunked\r\n")
        return self.framed(STATUSES.get(code) or f"HTTP/1.1 {status}\r\n", "".join(lines))

    def framed(self, first: str, fields: str) -> str:
        """A head of these lines, with the date and what becomes of the connection."""
        date, last = self.connection.house.date(), "\r\n"
        if not self.keep:
            last = "Connection: close\r\n\r\n"
        elif self.protocol == "HTTP/1.0":
            last = "Connection: keep-alive\r\n\r\n"
        return f"{first}{date}{fields}{last}"

    def answer(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        data = self.head(status, headers, len(body)).encode("latin-1")
        if self.method != "HEAD":
            data += body
        self.connection.house.loop.call_soon_threadsafe(self.connection.finish, data, self.keep)

    def overloaded(self) -> None:
        """Refuses a request that there is no time for. Nothing was read, and the connection stays
        open."""
        self.caller = None  # nobody has judged the token
        metrics.OVERLOADED.inc()
        reply = answers.undecided(Overloaded("too many at once"))
        fields = [("Content-Type", "application/json"), *reply.headers.items()]
        self.answer("503 Service Unavailable", fields, reply.body)

    def stream(self, status: str, headers: list[tuple[str, str]], parts: Iterable[bytes]) -> None:
        """Piece by piece, no faster than the client reads; a client that stands still is left."""
        connection, loop = self.connection, self.connection.house.loop
        given = any(name.lower() == "content-length" for name, _ in headers)
        head = self.head(status, headers, None).encode("latin-1")
        bare = given or int(status[:3]) in NO_BODY or self.protocol == "HTTP/1.0"
        loop.call_soon_threadsafe(connection.write, head)
        if self.method != "HEAD":
            for part in parts:
                if not part:
                    continue
                data = part if bare else b"%x\r\n%b\r\n" % (len(part), part)
                connection.writable.clear()
                loop.call_soon_threadsafe(connection.write_part, data)
                if not connection.writable.wait(DRAIN_SECONDS) or connection.gone:
                    loop.call_soon_threadsafe(connection.abort)
                    return
        end = b"" if bare or self.method == "HEAD" else b"0\r\n\r\n"
        loop.call_soon_threadsafe(connection.finish, end, self.keep)

    def fail(self) -> None:
        """An error of the application that Django did not answer."""
        loop = self.connection.house.loop
        loop.call_soon_threadsafe(self.connection.refuse, 500, "an error of ours; it was logged")
