"""One attempt to send, in a process of its own, which is ended when its time is over.

No timeout of a library bounds an attempt: each holds for one read, and a server that drips never
reaches it. So the attempt runs in a child process, which has no use for the database and says how
far it got. What is noted of an error is its kind and a status code, never its text: that may repeat
an address with a token in it, or what the other side answered.
"""

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

ATTEMPT_SECONDS = 30.0
OF_A_READ = 40.0  # for libraries: longer, so that it is the whole attempt that ends
CONNECT_SECONDS = 10.0

What = TypeVar("What")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt. With a `reason` it was not delivered; `final`: another attempt
    cannot help; `unconfirmed`: handed over whole, without an answer; `target_down`: it is the
    server, so the other messages to it need not be tried now. `wait`: seconds that the service
    asked for."""

    reason: str = ""
    final: bool = False
    unconfirmed: bool = False
    target_down: bool = False
    wait: float | None = None


@dataclass(slots=True)
class Progress:
    """How far an attempt got, sent to the parent process as it happens."""

    pipe: "Connection[Any, Any] | None" = None
    handed_over: bool = False
    status: int | None = None
    wait: float | None = None
    timed_out: bool = False

    def note(self, **columns: Any) -> None:
        for name, value in columns.items():
            setattr(self, name, value)
        if self.pipe is not None:
            self.pipe.send(columns)


class Attempt:
    """`send(what, progress)` in a child process, with an end."""

    def __init__(self, send: Callable[[What, Progress], Outcome], what: What) -> None:
        self.until = time.monotonic() + ATTEMPT_SECONDS
        self.pipe, theirs = multiprocessing.Pipe(duplex=False)
        self._seen = Progress()
        fork = multiprocessing.get_context("fork")
        self._child = fork.Process(target=_child, args=(send, what, theirs), daemon=True)
        with warnings.catch_warnings():  # of threads beside: the child uses nothing of theirs
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child.start()
        theirs.close()

    def poll(self) -> Outcome | None:
        """What came of it; None while it is under way. After its time it is ended."""
        alive = self._child.is_alive()  # looked at first: all that a dead one sent is in the pipe
        with suppress(EOFError, OSError):
            while self.pipe.poll():
                received = self.pipe.recv()
                if isinstance(received, Outcome):
                    self._end()
                    return received
                self._seen.note(**received)
        if alive and time.monotonic() < self.until:
            return None
        self._end()
        how = "No answer in time" if alive else "The sending process ended"
        return self._without_answer(how)

    def _without_answer(self, how: str) -> Outcome:
        seen = self._seen
        if seen.status is not None and 200 <= seen.status < 300:
            return Outcome()
        if seen.handed_over:
            return Outcome(
                f"{how}, after it was handed over: it has probably arrived.",
                unconfirmed=True,
                target_down=True,
            )
        return Outcome(f"{how}.", target_down=True)

    def _end(self) -> None:
        self._child.kill()
        self._child.join()
        self._child.close()
        self.pipe.close()


def _child(
    send: Callable[[What, Progress], Outcome], what: What, pipe: "Connection[Any, Any]"
) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(int(ATTEMPT_SECONDS) + 30)  # should the parent be gone
    try:
        pipe.send(send(what, Progress(pipe)))
    except Exception as error:  # whatever it is, the parent goes on
        pipe.send(Outcome(f"{type(error).__name__}."))
    finally:
        pipe.close()
        os._exit(0)
