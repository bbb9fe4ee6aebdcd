"""When to ask again, and how long to wait before it. Pure: no clock, no network."""

import random
from dataclasses import dataclass, field

RETRIED_STATUSES = frozenset({502, 503, 504})
BREAKER_OPEN = "breaker_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Retries of connection errors and of 502, 503, 504; every ask carries one idempotency key,
    so that an answer which was lost is given again and nothing is reserved twice.

    `attempts` counts the first one; a wait doubles from `first_wait` to `longest_wait` with full
    jitter; a `Retry-After` up to `longest_wait` is honored, a longer one ends the retries. An
    open circuit breaker is waited for up to `breaker_wait`. `total` bounds everything. Seconds.

    A settlement is no ask: money was spent, and it is sent until it arrives. Only the waits are
    the same (`pause`), and `total` is the least time that it is sent for.
    """

    attempts: int = 6
    first_wait: float = 0.1
    longest_wait: float = 5.0
    breaker_wait: float = 60.0
    total: float = 90.0
    rng: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def wait(
        self, *, attempt: int, elapsed: float, retry_after: float | None, denial: str
    ) -> float | None:
        """Seconds until attempt + 1, or None: give up. `attempt` counts from 1."""
        breaker = denial == BREAKER_OPEN
        if attempt >= self.attempts:
            return None
        seconds = self._backoff(attempt)
        if retry_after is not None:
            if retry_after > (self.breaker_wait if breaker else self.longest_wait):
                return None
            seconds = retry_after + self.rng.uniform(0, seconds)
        return None if elapsed + seconds > self.total else seconds

    def pause(self, *, attempt: int, retry_after: float | None) -> float:
        """Seconds until attempt + 1 of what is never given up."""
        return max(self._backoff(attempt), min(retry_after or 0.0, self.longest_wait))

    def _backoff(self, attempt: int) -> float:
        backoff = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt - 1, 64))
        return self.rng.uniform(backoff / 2, backoff)
