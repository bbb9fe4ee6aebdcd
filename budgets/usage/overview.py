"""Named reads for the pages: use of many objects at once, in a bounded number of queries.

Whatever is shown of money comes from the counters; nothing here counts or sums over runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import (
    DecimalField,
    F,
    Func,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
)
from django.db.models.expressions import RawSQL
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce, Greatest
from django.utils import timezone

from budgets import approvals
from budgets.exceptions import Refused
from budgets.models import ChangeRequest, Counter, Measure, Vote
from opslog.database import query
from opslog.events import filters
from opslog.events.filters import Times
from opslog.models import OperationsEvent
from opslog.pages.charts import Meter, runs_meter
from workorders.models import WorkOrder

# Every work order with its use of a day, its caps in force, and what a run reserves that names no
# amount, in one pass.
USE_OF_ALL = """
SELECT o.id, o.status, coalesce(k.runs, 0) AS runs,
    tollgate.default_usd(s.p95_usd, s.successful_runs, r.floor_usd, r.floor_runs,
        c.runs::integer, c.usd) AS usual_usd,
    coalesce(k.reserved_usd + k.settled_usd, 0) AS usd, c.runs AS runs_cap, c.usd AS usd_cap,
    greatest(coalesce(k.runs, 0)::numeric / c.runs,
        coalesce(k.reserved_usd + k.settled_usd, 0) / c.usd) AS share
FROM work_orders o
LEFT JOIN counters k ON k.subject = o.id AND k.scope = 'work_order' AND k."window" = 'day'
    AND k.starts_at = %s
LEFT JOIN tollgate.grants_in_force((SELECT tollgate.now())) g ON g.wo_id = o.id
CROSS JOIN LATERAL (
    SELECT greatest(o.runs_per_day, g.runs) AS runs, greatest(o.usd_per_day, g.usd) AS usd
) c
CROSS JOIN cost_rules r LEFT JOIN cost_statistics s ON s.wo_id = o.id
WHERE o.status <> 'archived'
"""
BLOCKED = f"""
SELECT id, why FROM (
    SELECT id, CASE WHEN status = 'suspended' THEN 'suspended'
        WHEN runs >= runs_cap THEN 'runs/day cap reached'
        WHEN usd >= usd_cap THEN 'budget cap reached'
        WHEN usd > usd_cap - usual_usd THEN 'no room for a run of its usual cost'
        END AS why
    FROM ({USE_OF_ALL}) used
) judged WHERE why IS NOT NULL ORDER BY why, id LIMIT %s
"""  # noqa: S608  (constants put together)
AT_CAP: dict[str, str] = {
    measure.value: f"""
SELECT used.id, '' FROM ({USE_OF_ALL}) used
WHERE status = 'draft' AND {reached} ORDER BY used.id LIMIT %s
"""  # noqa: S608  (constants put together)
    for measure, reached in (
        (Measure.RUNS_PER_DAY, "runs >= runs_cap"),
        (Measure.USD_PER_DAY, "usd > usd_cap - usual_usd"),
    )
}
REFUSALS = filters.REFUSALS
COUNTED_AT_MOST = 1000
LATELY = timedelta(hours=24)
ALIKE = """
SELECT max(id), coalesce(nullif(meta->>'reason', ''), kind) AS reason,
    coalesce(nullif(meta->>'agentName', ''), actor) AS agent, sum(tollgate.times(meta))::bigint
FROM operations_events WHERE kind = ANY (%s) AND created_at >= %s
GROUP BY owner_id, reason, agent ORDER BY 1 DESC LIMIT %s
"""
MONEY = DecimalField(max_digits=20, decimal_places=9)
ZERO = Decimal(0)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # when the counters of what is open begin


def _counted(column: str, window: str, begins: datetime) -> Coalesce:
    """One column of a counter of the outer work order; 0 where there is no row yet."""
    counters = Counter.objects.filter(
        scope="work_order", subject=OuterRef("pk"), window=window, starts_at=begins
    )
    # Cast: two integers would be divided without a remainder.
    return Coalesce(Cast(Subquery(counters.values(column)[:1]), MONEY), ZERO, output_field=MONEY)


class CapInForce(Func):
    """The cap of the outer work order that is in force now."""

    template = (
        "(SELECT e.%(measure)s FROM tollgate.effective_caps(%(expressions)s, tollgate.now()) e)"
    )

    def __init__(self, measure: Measure) -> None:
        super().__init__(F("pk"), measure=measure.value, output_field=MONEY)


def with_use(work_orders: "QuerySet[WorkOrder]", begins: datetime) -> Any:
    """Each work order with its caps in force and its use of the day, as a queryset.

    One query, with a look-up per counter. (`Any`: the checker of types does not know the
    columns that an annotation adds.)
    """
    return work_orders.annotate(
        runs_today=_counted("runs", "day", begins),
        settled_today=_counted("settled_usd", "day", begins),
        reserved_today=_counted("reserved_usd", "day", begins),
        runs_cap=CapInForce(Measure.RUNS_PER_DAY),
        usd_cap=CapInForce(Measure.USD_PER_DAY),
        open_cap=CapInForce(Measure.MAX_CONCURRENT_RUNS),
        open_today=_counted("open_runs", "day", begins),
        open_now=_counted("open_runs", "open", EPOCH),
    ).annotate(
        used_usd_today=F("settled_today") + F("reserved_today"),
        share=Greatest(
            F("runs_today") / F("runs_cap"),
            (F("settled_today") + F("reserved_today")) / F("usd_cap"),
            output_field=DecimalField(max_digits=30, decimal_places=9),
        ),
    )


def usd_meter_of(work_order: Any) -> Meter:
    """Of a work order `with_use`."""
    return Meter(work_order.settled_today, work_order.reserved_today, work_order.usd_cap)


def runs_meter_of(work_order: Any) -> Meter:
    """Of a work order `with_use`."""
    return runs_meter(
        int(work_order.runs_today), int(work_order.open_today), int(work_order.runs_cap)
    )


def used_to(begins: datetime, share: Decimal | None = None) -> RawSQL:
    """The ids of the work orders that were used today, to that share of a cap or more: for a
    filter `pk__in`. All of them are read at once, where `with_use` looks up one by one."""
    reached = "runs > 0" if share is None else "share >= %s"
    given = [begins] if share is None else [begins, share]
    return RawSQL(f"SELECT id FROM ({USE_OF_ALL}) used WHERE {reached}", given)  # noqa: S608, S611


@dataclass(frozen=True, slots=True)
class Blocked:
    """A work order that admits nothing now; `until` is empty where only a person can change it."""

    work_order: WorkOrder
    why: str
    until: datetime | None


def blocked(begins: datetime, *, at_most: int) -> list[Blocked]:
    """Suspended, or without room for another run that names no amount (`tollgate.default_usd`)."""
    reset = begins + timedelta(days=1)
    return [
        Blocked(each, why, None if each.status == "suspended" else reset)
        for each, why in _leading(BLOCKED, begins, at_most)
    ]


def _leading(statement: str, begins: datetime, at_most: int) -> list[tuple[Any, str]]:
    """The first few of all work orders, `with_use`, and what the statement says beside them."""
    leading: dict[str, str] = dict(query.rows(statement, [begins, at_most]))
    found = with_use(WorkOrder.objects.filter(pk__in=leading), begins).in_bulk()
    return [(found[wo_id], why) for wo_id, why in leading.items() if wo_id in found]


def at_cap(measure: str, begins: datetime, *, at_most: int) -> list[Any]:
    """Work orders without room for another run (of its usual cost) under this one cap, with their
    use; the suspended are left out, whose refusals have another cause."""
    return [each for each, _ in _leading(AT_CAP[measure], begins, at_most)]


@dataclass(frozen=True, slots=True)
class DayOfUse:
    day: date
    runs: int
    usd: Decimal


def use_by_day(scope: str, subject: str, begins: datetime, *, days: int) -> list[DayOfUse]:
    """The last `days` days including today, oldest first. Of everything, direct spend is in the
    dollars, and its calls are among the runs."""
    starts = [begins - timedelta(days=ago) for ago in range(days - 1, -1, -1)]
    rows = Counter.objects.filter(scope=scope, subject=subject, window="day", starts_at__in=starts)
    found = {row.starts_at: row for row in rows}
    return [
        DayOfUse(at.date(), row.runs, row.settled_usd + row.reserved_usd)
        if (row := found.get(at))
        else DayOfUse(at.date(), 0, ZERO)
        for at in starts
    ]


@dataclass(frozen=True, slots=True)
class Refusals:
    """The same subject refused for the same reason `times` in 24 hours, and its last event."""

    last: OperationsEvent
    reason: str
    agent: str
    times: int


def last_refusals(*, at_most: int) -> list[Refusals]:
    """What was refused in the last 24 hours, alike refusals together, the latest first.

    Each kind is read by its own index, so that a log without refusals is not read to its end.
    """
    since = timezone.now() - LATELY
    rows = query.rows(ALIKE, [list(REFUSALS), since, at_most])
    recent = OperationsEvent.objects.filter(created_at__gte=since)
    last = {event.pk: event for event in recent.filter(pk__in=[row[0] for row in rows])}
    return [Refusals(last[pk], reason, agent, times) for pk, reason, agent, times in rows]


def refusals_since(begins: datetime, *, wo_id: str = "") -> int:
    """Counted up to 1,000; there may be more."""
    events = OperationsEvent.objects.filter(kind__in=REFUSALS, created_at__gte=begins)
    if wo_id:
        events = events.filter(owner_type="work_order", owner_id=wo_id)
    counted = events.order_by().annotate(times=Times("meta"))[:COUNTED_AT_MOST]
    return min(counted.aggregate(sum=Sum("times"))["sum"] or 0, COUNTED_AT_MOST)


def signatures(
    request: ChangeRequest,
    known: approvals.Known | None = None,
    votes: Iterable[Vote] | None = None,
) -> list[approvals.OpenSlot]:
    """The slots of a pending request; none where no rule covers what is asked for (any more)."""
    if request.status != ChangeRequest.Status.PENDING:
        return []
    try:
        return approvals.open_slots(request, known, votes)
    except Refused:
        return []


def signatures_of(
    requests: Sequence[ChangeRequest],
) -> dict[int, list[approvals.OpenSlot]]:
    """The slots of many pending requests, in a number of queries that does not grow."""
    known = approvals.Known.about(request.subject_id for request in requests)
    votes = approvals.votes_of(request.pk for request in requests)
    return {request.pk: signatures(request, known, votes) for request in requests}


def refusals_by_reason(begins: datetime, wo_ids: Iterable[str]) -> dict[str, list[tuple[str, int]]]:
    """What each of these work orders was refused since, by reason, the most frequent first."""
    rows = (
        OperationsEvent.objects.filter(
            kind__in=REFUSALS,
            owner_type="work_order",
            owner_id__in=set(wo_ids),
            created_at__gte=begins,
        )
        .order_by()
        .values_list("owner_id", Coalesce(KeyTextTransform("reason", "meta"), "kind"))
        .annotate(times=Sum(Times("meta")))
        .order_by("-times")
    )
    found: dict[str, list[tuple[str, int]]] = {}
    for owner, reason, times in rows:
        found.setdefault(owner, []).append((reason, times))
    return found
