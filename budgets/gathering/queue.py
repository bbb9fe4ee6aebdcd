"""What waits to be decided: fair between those who ask."""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from budgets.admission import Decision
from budgets.batches import Ask

log = logging.getLogger("tollgate.gatherer")
Done = Callable[[Decision | Exception], None]


@dataclass(slots=True, eq=False)
class Waiting:
    """One ask, and whom to answer. Times are by the loop's clock."""

    ask: Ask
    sender: bytes
    arrived: float
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

    So a sender has more than its share of a batch only where the others have nothing left to ask.
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

    def overdue(self, now: float) -> Iterator[Waiting]:
        """Takes out those whose deadline has passed."""
        for sender, own in list(self._of.items()):
            while own and own[0].deadline <= now:
                self.size -= 1
                yield own.popleft()
            if not own:
                del self._of[sender]
