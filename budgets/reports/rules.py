"""What a day's use of a work order calls for. Pure: rows in, report out."""

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

NEAR = Decimal("0.8")  # above: consider raising
IDLE = Decimal("0.1")  # below: review the need
ROOM = Decimal("1.5")  # of what was used: the cap that a request begins with
CENT = Decimal("0.01")
ONE = Decimal(1)
MONTH_DAYS = 30
RUNS, USD = "runs_per_day", "usd_per_day"


class Action(StrEnum):
    """The filters of the page have these names."""

    BLOCKED = "blocked"
    RAISE = "near"
    REVIEW = "idle"


SAID = {
    Action.BLOCKED: "Refused at a cap: somebody was blocked",
    Action.RAISE: "Over 80 %: consider raising",
    Action.REVIEW: "Under 10 %: review the need",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One work order on one day. The caps are those in force at the end of the day (now, for
    today), grants included; `..._cap_now` are those in force when the report is read. `usd` is
    settled and reserved, `reserved_usd` the part that is not settled, `open_runs` the part of the
    runs that has not ended. `is_over`: the day is; what a running day has not used, it may yet use.
    `refused_...` is how often each cap refused a start or an extension on the day."""

    work_order: str
    title: str
    status: str
    runs_cap: int
    usd_cap: Decimal
    runs: int
    usd: Decimal
    runs_cap_now: int
    usd_cap_now: Decimal
    is_over: bool = True
    open_runs: int = 0
    reserved_usd: Decimal = Decimal(0)
    refused_runs: int = 0
    refused_usd: int = 0

    @property
    def settled_usd(self) -> Decimal:
        return self.usd - self.reserved_usd

    @property
    def refused(self) -> int:
        return self.refused_runs + self.refused_usd

    @property
    def runs_share(self) -> Decimal:
        return Decimal(self.runs) / self.runs_cap

    @property
    def usd_share(self) -> Decimal:
        return self.usd / self.usd_cap

    @property
    def share(self) -> Decimal:
        """Of the cap that is nearer."""
        return max(self.runs_share, self.usd_share)

    @property
    def action(self) -> Action | None:
        # Not by the share: a dollar cap refuses what does not fit long before it is used up, and
        # one that is used up to the cent blocks nobody who does not ask.
        if self.refused:
            return Action.BLOCKED
        if self.share > NEAR:
            return Action.RAISE
        return Action.REVIEW if self.is_over and self.share < IDLE else None

    @property
    def proposal(self) -> dict[str, Decimal]:
        """The caps that a request begins with, by measure: of those that refused, or were nearly
        used up, and only above what holds now. A cap of a past day may have been raised since."""
        now = self._caps_now()
        return {measure: cap for measure, cap in self._wanted().items() if cap > now[measure]}

    @property
    def raised_since(self) -> dict[str, Decimal]:
        """The caps of now that have the room already which the day's use speaks for."""
        now = self._caps_now()
        return {measure: now[measure] for measure in self._wanted() if measure not in self.proposal}

    @property
    def cost_impact(self) -> str:
        """What the proposal may cost at most, in a sentence for the request."""
        proposal = self.proposal
        if (usd := proposal.get(USD)) is not None:
            more = usd - self.usd_cap_now
            return f"Up to ${more:,.2f} a day more, ${more * MONTH_DAYS:,.2f} in {MONTH_DAYS} days."
        if (runs := proposal.get(RUNS)) is None:
            return ""
        more = (runs - self.runs_cap_now) * self.usd / max(self.runs, 1)
        return (
            f"About ${more.quantize(CENT, ROUND_CEILING):,.2f} a day more at the day's cost of a "
            f"run; the cap of ${self.usd_cap_now:,.2f} a day stays."
        )

    def _caps_now(self) -> dict[str, Decimal]:
        return {RUNS: Decimal(self.runs_cap_now), USD: self.usd_cap_now}

    def _wanted(self) -> dict[str, Decimal]:
        found = {}
        # What a cap refused would have used it up.
        if self.refused_runs:
            found[RUNS] = roomier(Decimal(self.runs_cap), Decimal(self.runs_cap), ONE)
        elif self.runs_share > NEAR:
            found[RUNS] = roomier(Decimal(self.runs_cap), Decimal(self.runs), ONE)
        if self.refused_usd:
            found[USD] = roomier(self.usd_cap, self.usd_cap, CENT)
        elif self.usd_share > NEAR:
            found[USD] = roomier(self.usd_cap, self.usd, CENT)
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
    """`runs` and `usd` are those of work orders; direct spend belongs to none, and stands apart."""

    work_orders: int
    blocked: int
    near: int
    idle: int
    runs: int
    usd: Decimal
    direct_calls: int = 0
    direct_usd: Decimal = Decimal(0)

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
