"""SIGTERM in the middle of a run: the program unwinds, so that its runs settle.

Without a handler the process ends at once, its runs stay open until their leases end, and two
restarted pods lock a work order. So where a run is open, SIGTERM raises SystemExit(143) in the main
thread, as a shell counts it; elsewhere it ends the process as ever. A program with a handler of its
own keeps it: web servers and orchestrators have one, and end their work by themselves.
"""

import atexit
import os
import signal
import threading
import time
import weakref
from types import FrameType
from typing import Protocol

TERMINATED = 128 + signal.SIGTERM
# How long whoever is asked to end waits for a settlement, before the background has it.
CANCELLED_WAIT_SECONDS = 5.0


class Terminated(Protocol):
    @property
    def is_busy(self) -> bool: ...

    def terminate(self) -> bool:
        """Enter no run any more, and stop the work of open ones; whether there are any."""


class Terminations:
    """The handler of this process, for all clients in it."""

    def __init__(self) -> None:
        # Not a WeakSet: iterating over that fails where another thread adds to it meanwhile.
        self._clients: set[weakref.ref[Terminated]] = set()

    def listen(self, client: Terminated) -> None:
        """Tell the client of SIGTERM. Python installs handlers in the main thread alone: a client
        that is made in another one hears of it where one in the main thread was made, too."""
        self._clients.add(weakref.ref(client, self._clients.discard))
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        ):
            signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        clients = [client for each in list(self._clients) if (client := each()) is not None]
        stopped = [client.terminate() for client in clients]  # every one of them
        if any(stopped):
            atexit.register(_linger, clients)
            raise SystemExit(TERMINATED)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


def _linger(clients: "list[Terminated]") -> None:
    """Let other threads settle. (To Python 3.11 and 3.12, a thread that somebody was joining when
    the signal came has ended: the interpreter would not wait for it.)"""
    until = time.monotonic() + CANCELLED_WAIT_SECONDS
    while any(client.is_busy for client in clients) and time.monotonic() < until:
        time.sleep(0.02)


terminations = Terminations()
