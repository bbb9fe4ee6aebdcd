"""What the triage says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from opslog.triage.attribution import Element
from opslog.triage.causes import NONE
from opslog.triage.data import Change, Comparison
from opslog.triage.decompose import Decomposition
from opslog.triage.normal import DAY, Baseline
from opslog.triage.panel import HOUR
from opslog.triage.recompute import Recompute
from opslog.triage.tokens import Tokens
from opslog.triage.toolcalls import ToolFigures

OTHER = "other"  # of the contributions: ordinary variation, and what no hypothesis explains


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a cause adds to the cost of the window, in one feature; `other` has none."""

    cause: str
    feature: str
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Ranked:
    """One hypothesis that explains something, with its share of what all of them explain."""

    cause: str
    share: float
    feature: str = ""
    tool: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One figure set for each step of the runbook."""

    hours: tuple[tuple[datetime, float, float], ...]  # hour, cost, what it should have been
    baseline: Baseline
    decomposition: Decomposition
    recompute: Recompute
    tokens: Tokens
    attribution: Mapping[str, Sequence[Element]]
    tools: Sequence[ToolFigures]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`confirmed` False: a quiet hour, a blip, or too little history (`sentences` says which)."""

    until: datetime
    confirmed: bool
    cause: str = NONE
    feature: str | None = None  # None: no single one (traffic)
    tool: str | None = None
    confidence: float = 0.0  # 0 to 1: how far the first cause is ahead of the second
    start: datetime | None = None
    cost_usd: Decimal = Decimal(0)  # of [start, until)
    baseline_usd: Decimal = Decimal(0)  # what these hours should have cost
    contributions: tuple[Contribution, ...] = ()  # they sum to `change_usd`
    ranked: tuple[Ranked, ...] = ()  # what explains most first
    actor: Element | None = None  # a user or user agent behind most of the change: bot or abuse
    changes: tuple[Change, ...] = ()  # markers shortly before the start, the guilty feature's first
    raised: bool = False  # still up in the last hours
    sentences: tuple[str, ...] = ()
    evidence: Evidence | None = field(default=None, repr=False)

    @property
    def change_usd(self) -> Decimal:
        return self.cost_usd - self.baseline_usd

    @property
    def hours(self) -> int:
        return int((self.until - self.start) // HOUR) if self.start else 0

    @property
    def excess_usd_per_hour(self) -> Decimal:
        return self.change_usd / self.hours if self.hours else Decimal(0)

    @property
    def comparison(self) -> Comparison | None:
        """The hours whose raw events tell who it was: at most a day of the spike, and the same
        hours of the day before it, since by night others are at work."""
        if self.start is None:
            return None
        hours, before = min(self.hours, DAY) * HOUR, self.start - DAY * HOUR
        return Comparison(self.start, self.start + hours, before, before + hours, self.feature)
