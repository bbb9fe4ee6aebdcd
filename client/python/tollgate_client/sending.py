"""Doing the steps of `steps` with the calls of a thread, which waits for each."""

import asyncio

# Every connection looks this codec up. Were a process forked while the first one imports it, the
# child would wait for that import for ever.
import encodings.idna  # noqa: F401
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx2

from .answers import Answer
from .errors import Unavailable
from .processes import register
from .steps import Disk, Pause, Send, Stand, Step, Steps, Trouble

T = TypeVar("T")

# Services in this process, by URL (see `testing`): no socket is opened to one of these.
LOCAL: dict[str, httpx2.MockTransport] = {}
# Far above any answer of the service; a proxy may send what it likes.
LARGEST_ANSWER_BYTES = 16 * 1024 * 1024
VERSION = "0.2.0"
NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)


def headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "User-Agent": f"tollgate-client/{VERSION}"}


def timeouts(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(seconds, 3.0))


class Reading:
    """One answer as it arrives, within its limits of size and time."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._content = bytearray()

    def take(self, part: bytes) -> None:
        self._content += part
        if len(self._content) > LARGEST_ANSWER_BYTES:
            raise Trouble("the answer is too large")
        if time.monotonic() > self._ends:  # a body that drips keeps within each read's limit
            raise Trouble("the answer took too long")

    def answer(self, response: httpx2.Response) -> Answer:
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, names, bytes(self._content))


def trouble(error: Exception) -> Exception:
    """What an error of the HTTP library means to a step."""
    if isinstance(
        error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError | httpx2.InvalidURL
    ):
        return Unavailable(f"cannot be sent: {error}")
    return Trouble(f"{type(error).__name__}: {error}", sent=not isinstance(error, NOT_SENT))


class Sender:
    """The connections to one service, of this process alone."""

    def __init__(self, url: str, token: str, *, timeout: float, max_connections: int) -> None:
        self._url = url
        self._headers = headers(token)
        self._timeout = timeout
        self._limits = httpx2.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections
        )
        self._closing = threading.Event()
        self._http = self._connections()
        self._closed = False
        register(self)

    def __repr__(self) -> str:
        return f"Sender({self._url!r})"

    def _connections(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=self._url,
            headers=self._headers,
            timeout=timeouts(self._timeout),
            limits=self._limits,
            transport=LOCAL.get(self._url),
        )

    def renew_after_fork(self) -> None:
        """Sockets of the parent are left alone: an answer to it could be read here."""
        closing = self._closing.is_set()
        self._closing = threading.Event()
        if closing:
            self._closing.set()
        self._http = self._connections()

    def end_waits(self) -> None:
        """Let requests that wait for another attempt raise Unavailable at once."""
        self._closing.set()

    def close(self) -> None:
        self.end_waits()
        self._closed = True
        self._http.close()

    def pause(self, seconds: float) -> bool:
        return self._closing.wait(max(0.0, seconds))

    def run(self, steps: Steps[T], *, pause: Callable[[float], bool] | None = None) -> T:
        """The result of the steps, done in this thread. `pause` waits, and says whether the wait
        was ended early."""
        wait = pause or self.pause
        return drive(steps, lambda step: self._do(step, wait))

    def _do(self, step: Step, pause: Callable[[float], bool]) -> Any:
        match step:
            case Send():
                return self.attempt(step)
            case Pause():
                return pause(step.seconds)
            case Stand():
                turn = threading.Lock()  # not an Event: a signal handler of this thread may wake it
                turn.acquire()
                step.waiter.when_woken(turn.release)
                return turn.acquire(timeout=max(0.0, step.seconds))
            case Disk():
                return step.call()

    def attempt(self, step: Send) -> Answer:
        """One attempt. Raises Trouble where another may fare better, and Unavailable where none
        will.

        A closed client makes a connection for it: a run may be left after that, and has to be
        settled.
        """
        if not self._closed:
            return self._attempt(self._http, step)
        with self._connections() as http:
            return self._attempt(http, step)

    def _attempt(self, http: httpx2.Client, step: Send) -> Answer:
        limit = self._timeout if step.seconds is None else min(self._timeout, step.seconds)
        reading = Reading(limit)
        try:
            with http.stream(**request_of(step, limit)) as response:
                for part in response.iter_bytes():
                    reading.take(part)
                return reading.answer(response)
        except RuntimeError as error:  # closed by another thread in this very moment
            if not self._closed:
                raise
            raise Trouble("the client is closed") from error
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise trouble(error) from error


def request_of(step: Send, limit: float) -> Mapping[str, Any]:
    return {
        "method": "GET" if step.body is None else "POST",
        "url": step.path,
        "json": step.body,
        "headers": {"Idempotency-Key": step.key} if step.key else {},
        "timeout": timeouts(limit),
    }


def drive(steps: Steps[T], do: Callable[[Step], Any]) -> T:
    """The result of the steps. Whatever interrupts one ends them all, so that they clean up."""
    try:
        step = next(steps)
        while True:
            try:
                result = do(step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def refuse_event_loop() -> None:
    if in_event_loop():
        raise RuntimeError(
            "this client waits for its answers, and would stop the event loop that runs in this "
            "thread: use AsyncTollgate, or call the function that uses it with `await "
            "asyncio.to_thread(function)`"
        )
