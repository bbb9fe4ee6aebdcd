"""Wrong tokens: each costs a question to the database, so an address that sends many is slowed.

It is not refused: somebody else there may have a token that is good, and not known here yet.
"""

import time
from collections import Counter
from collections.abc import Callable

A_SECOND = 20  # for each client address, in each process
REMEMBERED = 10_000  # tokens that were good


class Strangers:
    """A token that was good here lately is never held up by what else comes from its address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._good: dict[str, None] = {}
        self._failures: Counter[str] = Counter()
        self._second = 0

    def too_many(self, client: str, token: str) -> bool:
        """Whether this one has to wait, because others from there were wrong just now."""
        if token in self._good:
            return False
        self._turn()
        return self._failures[client] >= A_SECOND

    def judged(self, client: str, token: str, status: int) -> None:
        """What a request with this token was answered. Called by threads."""
        if status == 401:
            self._good.pop(token, None)
            self._turn()
            self._failures[client] += 1
        elif status < 500 and token not in self._good:
            if len(self._good) >= REMEMBERED:
                self._good.clear()
            self._good[token] = None

    def _turn(self) -> None:
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._failures.clear()
