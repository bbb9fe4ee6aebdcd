"""What the triage hands over about one spike: plain data, made from its verdict by whoever calls.

Money is `Decimal`, dollars. Everything that is kept as JSON has `as_json`; amounts are strings
there, so that nothing is rounded on the way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

CENT = Decimal("0.01")
ZERO = Decimal(0)

# The runbook's six steps, in its order.
STEPS = ("confirm", "traffic", "hidden", "tokens", "attribution", "tools")


@dataclass(frozen=True, slots=True)
class Contribution:
    """One part of the change of the cost per hour; negative where it made things cheaper."""

    name: str  # the cause; with a colon and the feature behind it where that is not the guilty one
    label: str
    usd_per_hour: Decimal


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the evidence, before and in the spike, written as people read it."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one step found. `sql` is the query behind its figures; empty: the query of that step for
    the hours of the incident (`opslog.incidents.queries`)."""

    step: str
    text: str
    figures: Sequence[Figure] = ()
    sql: str = ""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One hypothesis, with its share of what all of them explain."""

    cause: str
    share: float
    feature: str = ""
    tool: str = ""


@dataclass(frozen=True, slots=True)
class Marker:
    """Something that somebody changed shortly before, or during, the spike."""

    at: datetime
    kind: str
    what: str
    feature: str = ""


@dataclass(frozen=True, slots=True)
class Suspect:
    """Who or what the excess comes from: dimension is user, agent or work_order."""

    dimension: str
    name: str
    usd_per_hour: Decimal
    normal_usd_per_hour: Decimal = ZERO

    @property
    def excess(self) -> Decimal:
        return self.usd_per_hour - self.normal_usd_per_hour


@dataclass(frozen=True, slots=True)
class Parts:
    """What the proposals are estimated from; every part may be unknown. Per hour of the spike."""

    trigger_excess: Mapping[str, Decimal] = field(
        default_factory=dict
    )  # $ above normal, by trigger
    retry_usd: Decimal = ZERO  # what failed and repeated tool calls cost, above normal
    feature_usd: Decimal = ZERO  # all cost of the feature
    normal_feature_usd: Decimal = ZERO
    requests: float = 0  # of the feature
    users: float = 0  # different ones, of the feature, in so many hours:
    user_hours: float = 1
    previous_model: str = ""  # where another is used now
    suspects: Sequence[Suspect] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A confirmed spike. Raises ValueError where its parts do not fit together."""

    started_at: datetime
    until: datetime  # the whole hour up to which cost was looked at
    cause: str  # of the closed list; "none" where nothing explains it yet
    confidence: float  # 0 to 1
    baseline_usd_per_hour: Decimal
    cost_usd_per_hour: Decimal
    excess_usd_total: Decimal  # above the baseline, from the start to `until`
    contributions: Sequence[Contribution] = ()
    feature: str = ""
    tool: str = ""
    traffic: str = ""  # bot, abuse, campaign: of which kind more traffic is, where it shows
    sentences: Sequence[str] = ()
    ranked: Sequence[Ranked] = ()
    evidence: Sequence[Evidence] = ()
    changes: Sequence[Marker] = ()
    parts: Parts = field(default_factory=Parts)

    def __post_init__(self) -> None:
        if self.until <= self.started_at:
            raise ValueError("A spike ends after it starts.")
        if not 0 <= self.confidence <= 1:
            raise ValueError("A confidence lies from 0 to 1.")
        if self.excess_usd_per_hour <= 0:
            raise ValueError("A spike costs more than the baseline.")
        told = sum((part.usd_per_hour for part in self.contributions), ZERO)
        if self.contributions and abs(told - self.excess_usd_per_hour) > CENT:
            raise ValueError(f"The contributions sum to {told}, not to {self.excess_usd_per_hour}.")

    @property
    def excess_usd_per_hour(self) -> Decimal:
        return self.cost_usd_per_hour - self.baseline_usd_per_hour

    @property
    def explained(self) -> Decimal:
        """What the named cause contributes; all of it, where the change was not taken apart."""
        if not self.contributions:
            return self.excess_usd_per_hour
        found = (part.usd_per_hour for part in self.contributions if part.name == self.cause)
        return sum(found, ZERO)

    def details(self) -> dict[str, Any]:
        """The lists, as they are kept."""
        return {
            "sentences": list(self.sentences),
            "contributions": [
                {"name": part.name, "label": part.label, "usdPerHour": str(part.usd_per_hour)}
                for part in self.contributions
            ],
            "ranked_causes": [
                {
                    "cause": each.cause,
                    "share": round(each.share, 4),
                    "feature": each.feature,
                    "tool": each.tool,
                }
                for each in self.ranked
            ],
            "evidence": [
                {
                    "step": each.step,
                    "text": each.text,
                    "sql": each.sql,
                    "figures": [
                        {"label": one.label, "before": one.before, "after": one.after}
                        for one in each.figures
                    ],
                }
                for each in self.evidence
            ],
            "changes": [
                {
                    "at": each.at.isoformat(),
                    "kind": each.kind,
                    "what": each.what,
                    "feature": each.feature,
                }
                for each in self.changes
            ],
        }
