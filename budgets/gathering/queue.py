"""What waits to be decided: fair between those who ask, and no more than is decided soon."""

import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from budgets.admission import Decision
from budgets.admission.batches import Ask
from opslog.exceptions import Overloaded

log = logging.getLogger("tollgate.gatherer")
Done = Callable[[Decision | Exception], None]

WAIT_SECONDS = 0.4  # that an ask may be expected to wait; beyond, it is refused at once
LEAST_CALLS = 4  # that an ask may wait for, however long they take: a burst is no overload
LONGEST_CALL = 1.0  # seconds without an answer after which nothing more is let in
WEIGHT = 0.2  # of a new measurement
JUMP = 3.0  # times the average: a measurement counts no more than that
LONGEST_RETRY = 30


@dataclass(slots=True, eq=False)
class Waiting:
    """One ask, and where its answer goes. Times are by the loop's clock."""

    ask: Ask
    sender: bytes
    arrived: float
    queued: float
    deadline: float
    done: Done
    tries: int = 0

    def answer(self, answer: Decision | Exception) -> None:
        """An error of whoever asked is no reason to leave the others without an answer."""
        try:
            self.done(answer)
        except Exception:
            log.exception("a decision could not be answered")


class FairQueue:
    """Senders take turns: each turn is one ask of theirs, the oldest first.

    So a sender has more than a quarter of a batch only where fewer than four have that much to ask.
    """

    def __init__(self) -> None:
        self._of: OrderedDict[bytes, deque[Waiting]] = OrderedDict()
        self.size = 0

    def add(self, waiting: Waiting) -> None:
        own = self._of.get(waiting.sender)
        if own is None:
            own = self._of[waiting.sender] = deque()
        own.append(waiting)
        self.size += 1

    def take(self, most: int) -> list[Waiting]:
        """The next ones, in order of arrival."""
        taken: list[Waiting] = []
        while self._of and len(taken) < most:
            sender, own = next(iter(self._of.items()))
            taken.append(own.popleft())
            if own:
                self._of.move_to_end(sender)
            else:
                del self._of[sender]
        self.size -= len(taken)
        taken.sort(key=lambda each: each.arrived)
        return taken

    def can_displace(self, sender: bytes) -> bool:
        """Whether somebody has more than that sender would have with one more."""
        most = max(map(len, self._of.values()), default=0)
        return most > len(self._of.get(sender, ())) + 1

    def displace(self) -> Waiting:
        """Takes out the newest of the sender with the most."""
        self.size -= 1
        return max(self._of.values(), key=len).pop()

    def overdue(self, now: float) -> Iterator[Waiting]:
        """Takes out those whose deadline has passed."""
        for sender, own in list(self._of.items()):
            while own and own[0].deadline <= now:
                self.size -= 1
                yield own.popleft()
            if not own:
                del self._of[sender]


class Line:
    """A queue, and how fast it is served; hence how many may wait, and when to ask again.

    `lanes` calls decide at a time, up to `most` asks each. Times are measured on calls that were
    half full at least: a small batch takes less, and says nothing of how long a queue takes.
    """

    def __init__(self, *, lanes: int, most: int, guess: float) -> None:
        self.queue = FairQueue()
        self.under_way = 0
        self._lanes, self._most = lanes, most
        self.seconds = guess  # of a full call
        self._progress = 0.0
        self._second = 0
        self._refused = 0

    @property
    def has_lane(self) -> bool:
        return self.under_way < self._lanes

    def ended(self, asks: int, *, seconds: float, now: float) -> None:
        """A call that took so long."""
        self.under_way -= 1
        self._progress = now
        if 2 * asks >= self._most or seconds > self.seconds:
            seconds = min(seconds, JUMP * self.seconds)
            self.seconds += (seconds - self.seconds) * WEIGHT

    def is_stuck(self, now: float) -> bool:
        """Nothing ended for as long as an ask may wait, or two calls take: what was measured does
        not hold now."""
        if not self.queue.size and self.has_lane:
            self._progress = now
        return now - self._progress > min(max(WAIT_SECONDS, 2 * self.seconds), LONGEST_CALL)

    def has_room(self, sender: bytes, now: float) -> bool:
        """For one more ask of that sender."""
        if self.is_stuck(now):
            return False
        return self.queue.size < self.room or self.queue.can_displace(sender)

    @property
    def room(self) -> int:
        """How many may wait: those of four calls for each lane at least."""
        return self._most * self._lanes * max(LEAST_CALLS, int(WAIT_SECONDS / self.seconds))

    def refuse(self, now: float) -> Overloaded:
        """For one more that cannot be decided in time. What is refused within a second comes back
        over as many seconds as it takes to decide it."""
        if int(now) != self._second:
            self._second, self._refused = int(now), 0
        self._refused += 1
        seconds = self._refused * self.seconds / (self._most * self._lanes)
        return Overloaded("too many at once", retry_after=min(LONGEST_RETRY, math.ceil(seconds)))
