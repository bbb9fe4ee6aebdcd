"""Waiting for room where a limit of concurrent runs is full.

Eight threads of one program with two slots between them used to be 184 refusals out of 200. Whoever
is refused by such a limit stands in a line of its work order, in this process. The first in line
asks again when a run of this client ends, or after the service's `Retry-After`, which tells about
room that others gave back. New asks go to the end of the line, so that nobody starves.
"""

import random
import threading
import time
from collections import deque

from .errors import Refused
from .steps import Stand, Steps, Waiter

CONCURRENCY = "concurrency"
# What a short wait cures. A limit of money is none of them: it is for people to raise.
CURED_BY_WAITING = frozenset({CONCURRENCY, "feature_rate", "user_quota", "address_rate"})
LONGEST_LOOK_SECONDS = 30.0
USUAL_SECONDS = 5.0

Line = tuple[str, str]  # a work order, and a model: tiers of models have limits of their own


def is_cured_by_waiting(refusal: Refused) -> bool:
    return refusal.status == 429 and refusal.denial in CURED_BY_WAITING


class Room:
    """The lines of one client."""

    def __init__(
        self,
        *,
        rng: random.Random,
    ) -> None:
        self._rng = rng
        self.renew_after_fork()

    def renew_after_fork(self) -> None:
        self._lock = threading.RLock()  # a signal may come while it is held
        self._lines: dict[Line, deque[Waiter]] = {}
        self._ended: dict[str, int] = {}

    def ended(self, order: str) -> int:
        """How many runs of the work order have ended here; compare two of these."""
        with self._lock:
            return self._ended.get(order, 0)

    def run_ended(self, order: str) -> None:
        """A run of the work order has ended: the first in line may ask."""
        with self._lock:
            self._ended[order] = self._ended.get(order, 0) + 1
            firsts = [line[0] for (name, _), line in self._lines.items() if name == order]
        for first in firsts:
            first.wake()

    def _wake_first(self, line: Line) -> None:
        with self._lock:
            waiters = self._lines.get(line)
            first = waiters[0] if waiters else None
        if first is not None:
            first.wake()

    def wake_all(self) -> None:
        with self._lock:
            waiters = [waiter for line in self._lines.values() for waiter in line]
        for waiter in waiters:
            waiter.wake()

    def is_empty(self, line: Line) -> bool:
        with self._lock:
            return not self._lines.get(line)

    def join(self, line: Line) -> "Place":
        """Stand at the end of the line."""
        place = Place(self, line)
        with self._lock:
            self._lines.setdefault(line, deque()).append(place.waiter)
        return place

    def replace(self, place: "Place") -> None:
        """A fresh waiter in the same place: the old one was woken."""
        fresh = Waiter()
        with self._lock:
            line = self._lines[place.line]
            line[line.index(place.waiter)] = fresh
        place.waiter = fresh

    def is_first(self, place: "Place") -> bool:
        with self._lock:
            line = self._lines.get(place.line)
            return line is not None and line[0] is place.waiter

    def remove(self, place: "Place", *, next_asks: bool) -> None:
        """Leave the line. `next_asks`: whoever is first now asks at once, because there may be room
        that this one did not take."""
        with self._lock:
            line = self._lines.get(place.line, deque())
            was_first = bool(line) and line[0] is place.waiter
            if place.waiter in line:
                line.remove(place.waiter)
            if not line:
                self._lines.pop(place.line, None)
        if was_first and next_asks:
            self._wake_first(place.line)

    def jitter(self, seconds: float) -> float:
        return seconds + self._rng.uniform(0.0, min(1.0, seconds / 4))


class Place:
    """A place in a line. `looks` counts how often its holder asked in vain; `was_woken` is whether
    its last turn came by a run that ended."""

    def __init__(self, room: Room, line: Line) -> None:
        self.room = room
        self.line = line
        self.waiter = Waiter()
        self.looks = 0
        self.was_woken = False

    def wait(self, *, until: float, retry_after: float | None) -> Steps[bool]:
        """Wait for one's turn to ask; False where `until` (monotonic) came first."""
        pause = self.room.jitter(retry_after if retry_after is not None else USUAL_SECONDS)
        pause = min(pause * 2.0 ** min(self.looks, 8), max(pause, LONGEST_LOOK_SECONDS))
        self.looks += 1
        while (left := until - time.monotonic()) > 0:
            self.was_woken = yield Stand(self.waiter, min(pause, left))
            if self.was_woken:
                self.room.replace(self)
                return True
            if self.room.is_first(self):
                return time.monotonic() < until
        return False
