"""The evidence as data: what an approver sees, and what is kept with the vote. Pure.

Money is in US dollars, times are UTC. Nothing here is computed; see `selector`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from budgets.evidence.cheaper import Alternatives
from budgets.evidence.risk import Flag
from budgets.evidence.whatif import PeriodOutcome
from opslog.pricing.money import usd_text
from opslog.pricing.usage import camel


@dataclass(frozen=True, slots=True)
class Change:
    """One cap: as it is and as it is asked for; equal where it stays. `effective` has live grants
    in it."""

    measure: str
    old: Decimal
    new: Decimal
    effective: Decimal


@dataclass(frozen=True, slots=True)
class Today:
    runs: int
    usd: Decimal
    risk_band: str


@dataclass(frozen=True, slots=True)
class Day:
    """Use of one UTC day by its counters, and its refusals by reason (retries each count)."""

    day: date
    runs: int
    usd: Decimal
    refusals: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Costs:
    """Runs of the period; dollars of those that have ended, None where none has. The average and
    the largest are of all of them, the 95th percentile of the last `p95_sampled` settled ones whose
    cost is known. Percentiles are interpolated. `ended`: no longer running, however it ended."""

    runs: int
    ended: int
    errors: int
    error_rate: float | None
    average_usd: Decimal | None
    p95_usd: Decimal | None
    p95_sampled: int
    max_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Cost ÷ reserved of the last `sampled` settled runs whose cost is known: of their sums, and
    percentiles. What overran, and by how much, of all settled runs and of cancelled ones."""

    sampled: int
    ratio: float | None
    ratio_p50: float | None
    ratio_p95: float | None
    overruns: int
    overrun_usd: Decimal


@dataclass(frozen=True, slots=True)
class AgentUse:
    """`unknown_runs` were started while the agent was not registered, or not active."""

    agent: str
    runs: int
    errors: int
    unknown_runs: int
    usd: Decimal


@dataclass(frozen=True, slots=True)
class WhatIf:
    """`asked` is decided under the caps asked for, `in_force` under those of the time.

    `reproduced`: under the caps of the time the replay admits exactly what was admitted and
    refuses all else. If not, records are missing or were changed, and `asked` is to be doubted.
    """

    asked: PeriodOutcome
    in_force: PeriodOutcome
    reproduced: bool


@dataclass(frozen=True, slots=True)
class CapEvidence:
    """What must be known to decide on other caps of a work order.

    The period is `since` (a UTC day) to `at`. `rows` are address parameters of the list of runs
    for the period; those of a flag come on top. `refusals_since` is later than `since` where there
    were too many refusals to read: before it none are counted or replayed. `agents` are the
    busiest, `agents_left_out` the number of the others.
    """

    work_order_id: str
    title: str
    at: datetime
    since: datetime
    refusals_since: datetime
    changes: tuple[Change, ...]
    run_cap_class: str
    run_cap_class_before: str
    today: Today
    days: tuple[Day, ...]
    costs: Costs
    calibration: Calibration
    agents: tuple[AgentUse, ...]
    agents_left_out: int
    flags: tuple[Flag, ...]
    what_if: WhatIf
    alternatives: Alternatives
    rows: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """For the snapshot: names in camelCase, Decimals as strings, times as RFC 3339."""
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {camel(each.name): _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Decimal):
        return usd_text(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value
