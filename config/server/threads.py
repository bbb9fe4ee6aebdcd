"""The threads that run Django. What reaches them is a whole request."""

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from config.server.exchange import Exchange

log = logging.getLogger("tollgate.server")
MOST_WAITING = 1000  # requests; beyond, the answer is 503 at once


class Application(Protocol):
    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]: ...


class Threads:
    """A fixed number of them: each has a database connection of its own."""

    def __init__(self, application: Application, number: int) -> None:
        self.application = application
        self._queue: SimpleQueue[tuple[Exchange, float]] = SimpleQueue()
        for index in range(number):
            threading.Thread(target=self._work, name=f"request-{index}", daemon=True).start()

    def take(self, exchange: "Exchange", *, within: float = math.inf) -> bool:
        """False: too many wait already. One that is not begun within so many seconds is answered
        as overloaded."""
        if self._queue.qsize() >= MOST_WAITING:
            return False
        self._queue.put((exchange, time.monotonic() + within))
        return True

    def _work(self) -> None:
        while True:
            exchange, deadline = self._queue.get()
            try:
                if time.monotonic() < deadline:
                    self._answer(exchange)
                else:
                    exchange.overloaded()
            except Exception:
                log.exception("a request was not answered")
                exchange.fail()
            # Or an idle thread would keep the last body, and its temporary file.
            del exchange

    def _answer(self, exchange: "Exchange") -> None:
        status = ""
        headers: list[tuple[str, str]] = []

        def start_response(
            line: str, fields: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            nonlocal status, headers
            status, headers = line, fields
            return no_write

        parts = self.application(exchange.environ, start_response)
        if isinstance(parts, list):
            exchange.answer(status, headers, b"".join(parts))
            return
        try:
            exchange.stream(status, headers, parts)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()


def no_write(data: bytes) -> object:
    raise NotImplementedError("the write() of WSGI's first days")


# Of every environ. (PEP 3333; the server is one of several processes with several threads.)
COMMON: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}
