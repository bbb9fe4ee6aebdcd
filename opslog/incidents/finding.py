"""What the triage hands over about one spike, as an incident keeps it.

Money is `Decimal`, dollars. What is kept as JSON is written by `details`, and read by `kept`;
amounts are strings there, so that nothing is rounded on the way.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from opslog.triage.data import Change
from opslog.triage.verdict import Ranked

CENT = Decimal("0.01")
ZERO = Decimal(0)
T = TypeVar("T")


class Contribution(msgspec.Struct, frozen=True, rename="camel"):
    """One part of the change of the cost per hour; negative where cost went down."""

    name: str  # the cause; with a colon and the feature behind it where that is not the guilty one
    label: str
    usd_per_hour: Decimal


class Figure(msgspec.Struct, frozen=True):
    """One number of the evidence, before and in the spike, written as people read it."""

    label: str
    before: str
    after: str


class Evidence(msgspec.Struct, frozen=True):
    """What one step of the runbook found, and the query behind its figures."""

    step: str
    text: str
    figures: Sequence[Figure] = ()
    sql: str = ""


class Suspect(msgspec.Struct, frozen=True):
    """Who or what the excess comes from: dimension is user, agent or work_order."""

    dimension: str
    name: str
    usd_per_hour: Decimal
    normal_usd_per_hour: Decimal = ZERO

    @property
    def excess(self) -> Decimal:
        return self.usd_per_hour - self.normal_usd_per_hour


class Parts(msgspec.Struct, frozen=True):
    """What the proposals are estimated from; every part may be unknown. Per hour of the spike."""

    trigger_excess: Mapping[str, Decimal] = {}  # $ above normal, by trigger
    retry_usd: Decimal = ZERO  # what failed and repeated tool calls cost, above normal
    feature_usd: Decimal = ZERO  # all cost of the feature
    normal_feature_usd: Decimal = ZERO
    requests: float = 0  # of the feature
    users: float = 0  # different ones, of the feature, in so many hours:
    user_hours: float = 1
    previous_model: str = ""  # where another is used now
    suspects: Sequence[Suspect] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
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
    changes: Sequence[Change] = ()
    parts: Parts = Parts()

    def __post_init__(self) -> None:
        if self.until <= self.started_at:
            raise ValueError("A spike ends after it starts.")
        if not 0 <= self.confidence <= 1:
            raise ValueError("A confidence lies from 0 to 1.")
        if self.excess_usd_per_hour <= 0:
            raise ValueError("A spike costs more than the baseline.")
        total = sum((part.usd_per_hour for part in self.contributions), ZERO)
        if self.contributions and abs(total - self.excess_usd_per_hour) > CENT:
            raise ValueError(f"The contributions sum to {total}, not {self.excess_usd_per_hour}.")

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
        lists: dict[str, Any] = msgspec.to_builtins(
            {
                "sentences": self.sentences,
                "contributions": self.contributions,
                "ranked_causes": self.ranked,
                "evidence": self.evidence,
                "changes": self.changes,
            },
            builtin_types=(datetime,),
        )
        for each in lists["ranked_causes"]:
            each["share"] = round(each["share"], 4)
        for each in lists["changes"]:
            each["at"] = each["at"].isoformat()
        return lists


def kept(rows: Any, kind: type[T]) -> list[T]:
    """What `details` wrote of one list, as it was. Raises ValueError."""
    return msgspec.convert(rows, list[kind], strict=False)  # type: ignore[valid-type]
