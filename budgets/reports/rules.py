"""What a day's use of a work order calls for. Pure: rows in, report out."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

FULL = Decimal(1)
NEAR = Decimal("0.8")  # above: consider raising
IDLE = Decimal("0.1")  # below: review the need
ROOM = Decimal("1.5")  # of what was used: the cap that a request begins with
CENT = Decimal("0.01")
ONE = Decimal(1)


class Action(StrEnum):
    """The filters of the page have these names."""

    BLOCKED = "blocked"
    RAISE = "near"
    REVIEW = "idle"


SAID = {
    Action.BLOCKED: "At 100 %: somebody is blocked",
    Action.RAISE: "Over 80 %: consider raising",
    Action.REVIEW: "Under 10 %: review the need",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One work order on one day. The caps are those in force at the end of the day (now, for
    today), grants included; `usd` is settled and reserved."""

    work_order: str
    title: str
    status: str
    runs_cap: int
    usd_cap: Decimal
    runs: int
    usd: Decimal

    @property
    def runs_share(self) -> Decimal:
        return Decimal(self.runs) / self.runs_cap

    @property
    def usd_share(self) -> Decimal:
        return self.usd / self.usd_cap

    @property
    def share(self) -> Decimal:
        """Of the cap that is nearer: whichever is reached first blocks."""
        return max(self.runs_share, self.usd_share)

    @property
    def action(self) -> Action | None:
        if self.share >= FULL:
            return Action.BLOCKED
        if self.share > NEAR:
            return Action.RAISE
        return Action.REVIEW if self.share < IDLE else None

    @property
    def proposal(self) -> dict[str, Decimal]:
        """The caps that a request begins with, by measure: of those that were nearly used up."""
        found = {}
        if self.runs_share > NEAR:
            found["runs_per_day"] = roomier(Decimal(self.runs_cap), Decimal(self.runs), ONE)
        if self.usd_share > NEAR:
            found["usd_per_day"] = roomier(self.usd_cap, self.usd, CENT)
        return found


def roomier(cap: Decimal, used: Decimal, step: Decimal) -> Decimal:
    """One and a half times what was used (of the cap, where use is above it by an overrun), to two
    figures upwards, and at least a step above the cap. Where a request begins; people change it."""
    wanted = min(used, cap) * ROOM
    figures = Decimal(1).scaleb(wanted.adjusted() - 1) if wanted else step
    grain = max(figures, step)
    rounded = (wanted / grain).to_integral_value(ROUND_CEILING) * grain
    return max(rounded, cap + step).quantize(step)


@dataclass(frozen=True, slots=True)
class Totals:
    work_orders: int
    blocked: int
    near: int
    idle: int
    runs: int
    usd: Decimal

    def of(self, action: Action) -> int:
        return {
            Action.BLOCKED: self.blocked,
            Action.RAISE: self.near,
            Action.REVIEW: self.idle,
        }[action]


@dataclass(frozen=True, slots=True)
class Report:
    """Some rows of a day, the most used first, and the totals of all of them."""

    day: date
    rows: tuple[Row, ...]
    totals: Totals

    def items(self, action: Action) -> list[Row]:
        return [row for row in self.rows if row.action == action]


def report(day: date, rows: Iterable[Row]) -> Report:
    """The whole report of a day. `selector.read` gives a page of the same, added up in SQL."""
    found = sorted(rows, key=lambda row: (-row.share, row.work_order))
    kinds = [row.action for row in found]
    return Report(
        day,
        tuple(found),
        Totals(
            work_orders=len(found),
            blocked=kinds.count(Action.BLOCKED),
            near=kinds.count(Action.RAISE),
            idle=kinds.count(Action.REVIEW),
            runs=sum(row.runs for row in found),
            usd=sum((row.usd for row in found), Decimal(0)),
        ),
    )
