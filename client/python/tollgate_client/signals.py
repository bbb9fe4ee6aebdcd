"""SIGTERM in the middle of a run: the program unwinds, so that its runs settle.

Without a handler the process ends at once, its runs stay open until their leases end, and two
restarted pods lock a work order. So while a run is open, SIGTERM raises SystemExit(143) in the main
thread, as a shell counts it. A program with a handler of its own keeps it: web servers and
orchestrators have one, and end their work by themselves.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType

TERMINATED = 128 + signal.SIGTERM


class Terminations:
    """The handler, installed while any run of this process is open and only in place of none."""

    def __init__(self) -> None:
        self._tell: list[Callable[[], None]] = []
        self._installed = False

    def listen(self, tell: Callable[[], None]) -> None:
        """Call `tell()` on SIGTERM. Does nothing outside of the main thread."""
        if tell not in self._tell:
            self._tell.append(tell)
        if self._installed or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._handle)
            self._installed = True

    def ignore(self, tell: Callable[[], None]) -> None:
        """No run is open any more."""
        if tell in self._tell:
            self._tell.remove(tell)
        if self._tell or not self._installed:
            return
        if threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGTERM) == self._handle:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._installed = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        for tell in list(self._tell):
            tell()
        raise SystemExit(TERMINATED)


terminations = Terminations()
