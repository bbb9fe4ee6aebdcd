"""What a client does, without doing it.

The rules (when to retry, what an answer means, when a lease is renewed, how a settlement is
delivered) are generators. They yield what has to be done next and get back what came of it, so that
the synchronous and the asynchronous client follow one text. Who runs them: `sending`, with the
calls of a thread, and `async_sending`, on an event loop.
"""

import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """One HTTP request: a POST, or a GET without a body; `seconds` at most. The result is an
    Answer; Trouble is raised where another attempt may fare better, Unavailable where none will."""

    path: str
    body: Mapping[str, Any] | None = None
    key: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait. The result is True where the wait was ended early: the client was closed, or the run
    was left."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stand:
    """Wait in line until it is this waiter's turn, for `seconds` at most."""

    waiter: "Waiter"
    seconds: float


@dataclass(frozen=True, slots=True)
class Disk:
    """A call that blocks for a moment, because it reads or writes files. The result is its own."""

    call: Callable[[], Any]


Step = Send | Pause | Stand | Disk
Steps = Generator[Step, Any, T]


class Trouble(Exception):
    """No answer; sending again may bring one. `sent`: the service may have got the request."""

    def __init__(self, text: str, *, sent: bool = True) -> None:
        super().__init__(text)
        self.sent = sent


class Waiter:
    """One that waits, woken at most once, from any thread."""

    def __init__(self) -> None:
        self.woken = False
        self._lock = threading.RLock()  # a signal may come while it is held
        self._call: Callable[[], object] | None = None

    def when_woken(self, call: Callable[[], object]) -> None:
        with self._lock:
            if not self.woken:
                self._call = call
                return
        call()

    def wake(self) -> None:
        with self._lock:
            self.woken, call, self._call = True, self._call, None
        if call is not None:
            call()


def woken(waiter: Waiter, steps: Steps[T]) -> Steps[T]:
    """The steps, with pauses that waking the waiter ends early."""
    try:
        step = next(steps)
        while True:
            try:
                result = yield Stand(waiter, step.seconds) if isinstance(step, Pause) else step
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
