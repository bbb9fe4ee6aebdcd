"""Bars as plain numbers, ready to be drawn."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

NEAR = Decimal("0.8")  # of a limit: from here on a bar warns
TENTH = Decimal("0.1")


def per_cent(share: Decimal) -> Decimal:
    """A share in per cent with one decimal, rounded down: 100.0 is said only of what is full. What
    is told of one share in several places (page, file, message) is rounded here."""
    return (share * 100).quantize(TENTH, ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class Meter:
    """Use against a limit. `limit` None: there is none, so the bar has nothing to fill.

    `held` is the part of the use that is reserved and not settled yet; for runs it is the part
    that is still open.
    """

    settled: Decimal
    held: Decimal
    limit: Decimal | None
    unit: str = "usd"

    @property
    def used(self) -> Decimal:
        return self.settled + self.held

    @property
    def share(self) -> Decimal:
        return self.used / self.limit if self.limit else Decimal(0)

    @property
    def percent(self) -> int:
        """Rounded down: a bar says 100 % only where nothing is left."""
        return int(self.share * 100)

    @property
    def level(self) -> str:
        if self.limit is None:
            return "none"
        return "full" if self.share >= 1 else "near" if self.share >= NEAR else "room"

    @property
    def settled_width(self) -> str:
        return self._width(self.settled)

    @property
    def held_width(self) -> str:
        room = 100 - self._of_limit(self.settled)
        return f"{min(self._of_limit(self.held), room):.2f}"

    def _width(self, amount: Decimal) -> str:
        return f"{self._of_limit(amount):.2f}"

    def _of_limit(self, amount: Decimal) -> Decimal:
        return min(Decimal(100), amount / self.limit * 100) if self.limit else Decimal(0)


def runs_meter(runs: int, running: int, cap: int) -> Meter:
    """Runs of a day, and how many of these have not ended."""
    return Meter(Decimal(runs - running), Decimal(running), Decimal(cap), "runs")
