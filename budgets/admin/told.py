"""Values and days of use, as the pages of cap changes show them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from budgets import approvals
from budgets.approvals.subjects import OwnLimit, SharedLimit
from budgets.models import ApprovalLimit, Budget, ChangeRequest, Measure
from budgets.usage import overview
from opslog.pages.charts import Chart, chart
from opslog.telemetry import change_markers
from workorders.models import WorkOrder

DAYS_SHOWN = 30
UNITS = {
    Measure.RUNS_PER_DAY.value: "runs",
    Measure.USD_PER_DAY.value: "usd",
    Measure.MAX_CONCURRENT_RUNS.value: "runs",
    Measure.SHARED_LIMIT.value: "runs",  # unless it is one of dollars
    Measure.FEATURE_THROTTLE.value: "runs",
    Measure.FEATURE_COST_CAP.value: "usd",
    Measure.MAX_RUN_USD.value: "usd",
}


def units_of(requests: Collection[ChangeRequest]) -> dict[tuple[str, str], str]:
    """The unit of each limit that these requests are about, by its kind and id; a query a kind."""
    found: dict[tuple[str, str], str] = {}
    for kind in (SharedLimit.kind, OwnLimit.kind):
        ids = {each.subject_id for each in requests if each.subject_type == kind}
        dollars: set[str] = set()
        if ids and kind == SharedLimit.kind:
            in_usd = Budget.objects.filter(pk__in=ids, measure=Budget.Measure.USD)
            dollars = {str(pk) for pk in in_usd.values_list("pk", flat=True)}
        elif ids:
            own = ApprovalLimit.objects.filter(pk__in=ids)
            dollars = {str(limit.pk) for limit in own if limit.is_usd}
        found |= {(kind, pk): "usd" if pk in dollars else "runs" for pk in ids}
    return found


def lines_told(
    request: ChangeRequest, units: Mapping[tuple[str, str], str] | None = None
) -> list[dict[str, Any]]:
    """What a request changes, in the unit of its limit. `units`: of many at once."""
    units = units_of([request]) if units is None else units
    unit = units.get((request.subject_type, request.subject_id))
    return [
        values_told(line.measure, line.old, line.new, unit=unit) for line in request.lines.all()
    ]


def values_told(
    measure: str, old: Decimal, new: Decimal, *, unit: str | None = None
) -> dict[str, Any]:
    return {
        "label": str(Measure(measure).label),
        "unit": unit or UNITS[measure],
        "old": old,
        "new": new,
        "percent": f"{(new - old) / old * 100:+,.0f} %",
        "raises": new > old,
    }


class UseOfADay(Protocol):
    @property
    def day(self) -> date: ...
    @property
    def runs(self) -> int: ...
    @property
    def usd(self) -> Decimal: ...


def charts_of(
    days: Sequence[UseOfADay], caps: Mapping[str, tuple[Decimal, Decimal]]
) -> list[tuple[str, Chart]]:
    """Each day's use against the cap as it is and, where it differs, as it is asked for."""
    drawn = []
    markers = change_markers.for_days([day.day for day in days])
    for measure, label, values in (
        (Measure.USD_PER_DAY, "US dollars a day", [(day.day, day.usd) for day in days]),
        (Measure.RUNS_PER_DAY, "Runs a day", [(day.day, Decimal(day.runs)) for day in days]),
    ):
        old, new = caps[measure]
        limits = [("cap now", old, "now")]
        if new != old:
            limits.append(("asked for", new, "asked"))
        drawn.append((label, chart(values, limits, unit=UNITS[measure], markers=markers)))
    return drawn


def use_charts(work_order: WorkOrder, begins: datetime) -> list[tuple[str, Chart]]:
    """The last DAYS_SHOWN days of a work order against its base caps: one query."""
    days = overview.use_by_day("work_order", work_order.pk, begins, days=DAYS_SHOWN)
    caps = approvals.caps_of(work_order)
    return charts_of(days, {measure: (cap, cap) for measure, cap in caps.items()})
