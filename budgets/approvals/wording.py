"""How a change is described, to people and in events."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from budgets.approvals.subjects import WORK_ORDER
from budgets.models import ChangeRequest, Measure

FIELD_NAMES: dict[str, str] = {
    Measure.RUNS_PER_DAY: "runsPerDay",
    Measure.USD_PER_DAY: "usdPerDay",
    Measure.MAX_CONCURRENT_RUNS: "maxConcurrentRuns",
    Measure.SHARED_LIMIT: "amount",
    Measure.FEATURE_THROTTLE: "requestsPerPeriod",
    Measure.FEATURE_COST_CAP: "costCapUsd",
    Measure.MAX_RUN_USD: "maxRunUsd",
}


def about(request: ChangeRequest) -> dict[str, Any]:
    """What the meta of every event about a request begins with."""
    if request.subject_type != WORK_ORDER:
        return {"requestId": request.pk}
    return {"woId": request.subject_id, "requestId": request.pk}


def number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def changes_of(lines: Mapping[str, tuple[Decimal, Decimal]]) -> dict[str, dict[str, int | float]]:
    return {
        FIELD_NAMES[measure]: {"old": number(old), "new": number(new)}
        for measure, (old, new) in lines.items()
    }


def describe(lines: Mapping[str, tuple[Decimal, Decimal]]) -> str:
    return ", ".join(
        f"{Measure(measure).label} {number(old)} → {number(new)}"
        for measure, (old, new) in lines.items()
    )
