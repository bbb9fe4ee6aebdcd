"""SIGTERM in the middle of a run: the program unwinds, so that its runs settle.

Without a handler the process ends at once, its runs stay open until their leases end, and two
restarted pods lock a work order. So where a run is open, SIGTERM raises SystemExit(143) in the main
thread, as a shell counts it; elsewhere it ends the process as ever. A program with a handler of its
own keeps it: web servers and orchestrators have one, and end their work by themselves.

Python runs a handler when its main thread next runs. One that was just about to wait for a lock
without a time limit, as `ThreadPoolExecutor.map` does, would not run before something woke it: a
thread of ours sees the signal too, and sends it to the main thread again.
"""

import atexit
import os
import signal
import threading
import time
import weakref
from functools import partial
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


# How long the main thread has to handle a signal before it is woken. In seconds.
NUDGE_SECONDS = 0.1


class Terminations:
    """The handler of this process, for all clients in it."""

    def __init__(self) -> None:
        self._handled = self._nudged = False
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
            self._watch()

    def _watch(self) -> None:
        """Unless somebody else is woken by signals already, such as an event loop."""
        if not hasattr(os, "register_at_fork"):  # Windows, whose processes are ended without a word
            return
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        if (before := signal.set_wakeup_fd(writing, warn_on_full_buffer=False)) != -1:
            signal.set_wakeup_fd(before)
            os.close(reading)
            os.close(writing)
            return
        # A child shares the pipe: what it is sent is not for this process.
        os.register_at_fork(after_in_child=partial(_let_go_of, writing))
        threading.Thread(
            target=self._nudge, args=(reading,), name="tollgate-signals", daemon=True
        ).start()

    def _nudge(self, reading: int) -> None:
        while number := os.read(reading, 1):
            if number[0] == signal.SIGTERM:
                time.sleep(NUDGE_SECONDS)
                if not self._handled and signal.getsignal(signal.SIGTERM) == self._handle:
                    self._nudged = True
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self._nudged = self._handled and self._nudged, False
        self._handled = True
        if again:  # it was on its way when the signal was handled
            return
        clients = [client for each in list(self._clients) if (client := each()) is not None]
        stopped = [client.terminate() for client in clients]  # every one of them
        if any(stopped):
            atexit.register(_linger, clients)
            raise SystemExit(TERMINATED)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


def _let_go_of(writing: int) -> None:
    """In a child, which is born of the thread that forked as its main one."""
    try:
        if (others := signal.set_wakeup_fd(-1)) != writing:
            signal.set_wakeup_fd(others)
    except ValueError:  # not in the main interpreter
        return


def _linger(clients: "list[Terminated]") -> None:
    """Let other threads settle. (To Python 3.11 and 3.12, a thread that somebody was joining when
    the signal came has ended: the interpreter would not wait for it.)"""
    until = time.monotonic() + CANCELLED_WAIT_SECONDS
    while any(client.is_busy for client in clients) and time.monotonic() < until:
        time.sleep(0.02)


terminations = Terminations()
