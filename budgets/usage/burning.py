"""Burning now: who spends most, how fast, how much of their caps is left, and what stops them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from budgets.usage import history, overview
from opslog.database import query
from opslog.pages.charts import Meter
from workorders.models import WorkOrder

ZERO = Decimal(0)
ROWS = 5
WINDOWS: Mapping[str, str] = {"1m": "1 minute", "1h": "1 hour", "today": "today"}
LOUD_USD, LOUD_TIMES = Decimal("0.05"), 2  # from here on a row is marked as unusual
# Windows of a minute and an hour reach back as their limits count: by slots of 5 and 60 seconds.
# There, money counts when it was committed; of a day, a run counts at its start, as in its caps.
COMMITTED = """
    SELECT r.started_at AS at, n.name, coalesce(r.cost, r.reserved_usd) - coalesce((
        SELECT sum(coalesce(x.settled_usd, x.reserved_usd)) FROM run_charges x
        WHERE x.run_id = r.id), 0) AS usd, 1 AS runs
    FROM c JOIN work_order_runs r ON r.started_at BETWEEN c.oldest AND c.now
        LEFT JOIN service_tokens t ON t.id = r.token_id CROSS JOIN LATERAL
        tollgate.governed_names(r.wo_id, r.model, r.agent_name, t.lineage, r.user_id, r.feature) n
    WHERE n.kind = %(kind)s
    UNION ALL
    SELECT x.at, n.name, coalesce(x.settled_usd, x.reserved_usd), 0
    FROM c JOIN run_charges x ON x.at BETWEEN c.oldest AND c.now
        JOIN work_order_runs r ON r.id = x.run_id
        LEFT JOIN service_tokens t ON t.id = r.token_id CROSS JOIN LATERAL
        tollgate.governed_names(r.wo_id, r.model, r.agent_name, t.lineage, r.user_id, r.feature) n
    WHERE n.kind = %(kind)s
    UNION ALL
    SELECT d.at, n.name, d.cost_usd, 0
    FROM c JOIN direct_spend d ON d.at BETWEEN c.oldest AND c.now
        LEFT JOIN service_tokens t ON t.id = d.token_id CROSS JOIN LATERAL
        tollgate.governed_names('', d.model, d.agent_name, t.lineage, d.user_id, d.feature) n
    WHERE n.kind = %(kind)s
"""
STARTED = """
    SELECT g.at, g.name, g.usd, g.runs
    FROM c CROSS JOIN LATERAL tollgate.governed_rows(%(kind)s, c.oldest, c.now, '1 hour') g
"""
RANKED = """
WITH c AS MATERIALIZED (
    SELECT %(now)s::timestamptz AS now, %(since)s::timestamptz AS since,
        %(oldest)s::timestamptz AS oldest, %(step)s::interval AS step
), spent AS MATERIALIZED (
    SPENT
), ranked AS (
    SELECT s.name, sum(s.usd) AS usd, sum(s.runs) AS runs
    FROM spent s, c WHERE s.at >= c.since GROUP BY s.name
)
SELECT r.name, r.usd, r.runs, count(*) OVER (), sum(r.usd) OVER (), (
    SELECT array_agg(coalesce(b.usd, 0) ORDER BY m.at)
    FROM c CROSS JOIN generate_series(date_bin(c.step, c.oldest, 'epoch'), c.now, c.step) m (at)
    LEFT JOIN (SELECT date_bin(c.step, s.at, 'epoch') AS at, sum(s.usd) AS usd
        FROM spent s, c WHERE s.name = r.name GROUP BY 1) b ON b.at = m.at)
FROM ranked r WHERE r.usd > 0 ORDER BY r.usd DESC, r.name LIMIT %(rows)s
"""
OPEN = """
SELECT n.name, count(*) FROM work_order_runs r LEFT JOIN service_tokens t ON t.id = r.token_id
CROSS JOIN LATERAL
    tollgate.governed_names(r.wo_id, r.model, r.agent_name, t.lineage, r.user_id, r.feature) n
WHERE r.status = 'running' AND n.kind = %s AND n.name = ANY (%s) GROUP BY 1
"""
# Of each name the limit in dollars, and the one in requests, of which most is used.
LIMITS = """
SELECT DISTINCT ON (n.name, b.measure) n.name, b.measure, k.settled, k.held, b.amount, b.id
FROM (SELECT tollgate.now() AS now OFFSET 0) c CROSS JOIN unnest(%(names)s::text[]) n (name)
JOIN budgets b ON b.scope = %(kind)s AND b.amount IS NOT NULL AND b.measure IN ('usd', 'requests')
    AND (b.subject = n.name OR b.subject = '*' AND NOT EXISTS (
        SELECT FROM budgets own WHERE own.scope = b.scope AND own."window" = b."window"
            AND own.measure = b.measure AND own.subject = n.name))
CROSS JOIN LATERAL (
    SELECT coalesce(sum(CASE b.measure WHEN 'usd' THEN s.settled_usd ELSE s.runs END), 0)
            AS settled,
        coalesce(sum(CASE b.measure WHEN 'usd' THEN s.reserved_usd ELSE 0 END), 0) AS held
    FROM counters s WHERE s.scope = b.scope AND s.subject = n.name AND s."window" = b."window"
        AND s.starts_at BETWEEN tollgate.counts_from(b."window", c.now) AND c.now) k
WHERE n.name <> '' ORDER BY n.name, b.measure, (k.settled + k.held) / b.amount DESC, b.id
"""


@dataclass(slots=True)
class Burner:
    """Dollars committed in the window, and what is left of its limits. Meters are those of the
    day's caps of a work order; of other kinds, of the limit of which most is used. None: no limit.
    """

    name: str
    usd: Decimal
    runs: int
    minutes: list[Decimal]  # or hours, of today
    open_runs: int = 0
    per_hour_usd: Decimal = ZERO
    runs_per_hour: int = 0
    usual_usd: Decimal | None = None
    usd_meter: Meter | None = None
    runs_meter: Meter | None = None
    work_order: Any = None  # `with_use`, where it is one

    @property
    def times_usual(self) -> Decimal | None:
        """None: nothing is usual, or nothing at all was spent then."""
        return self.usd / self.usual_usd if self.usual_usd else None

    @property
    def is_unusual(self) -> bool:
        """Twice its usual, and more than small change."""
        if self.usual_usd is None or self.usd < LOUD_USD:
            return False
        return self.usd >= LOUD_TIMES * self.usual_usd

    @property
    def drawn(self) -> list[float]:
        return [float(each) for each in self.minutes]


@dataclass(frozen=True, slots=True)
class Burning:
    rows: list[Burner]
    more: int  # that spent less
    usd: Decimal  # of all


def ranked(kind: str, window: str, now: datetime) -> Burning:
    """The largest of one kind (GROUPS) in a window (WINDOWS). `now` is the clock of decisions
    (`tollgate.now()`). The number of queries does not grow."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    minute = now.replace(second=0, microsecond=0)
    since, oldest, step = {
        "1m": (_slot(now - timedelta(minutes=1), 5), minute - history.SPANS["1h"].whole, 60),
        "1h": (minute - timedelta(hours=1), minute - timedelta(hours=1), 60),
        "today": (midnight, midnight, 3600),
    }[window]
    spent = STARTED if window == "today" else COMMITTED
    with connection.cursor() as cursor:
        cursor.execute(
            RANKED.replace("SPENT", spent),
            {
                "kind": kind,
                "now": now,
                "since": since,
                "oldest": oldest,
                "step": f"{step} seconds",
                "rows": ROWS,
            },
        )
        found = cursor.fetchall()
        rows = [Burner(name, usd, int(runs), series) for name, usd, runs, _, _, series in found]
        by_name = {row.name: row for row in rows}
        cursor.execute(OPEN, [kind, list(by_name)])
        for name, open_runs in cursor:
            by_name[name].open_runs = open_runs
    usual = history.usual(kind, by_name, since, now)
    hours = Decimal(max((now - since).total_seconds(), 1)) / 3600  # (at midnight, none)
    for row in rows:
        row.usual_usd = usual.get(row.name)
        row.per_hour_usd = row.usd / hours
        row.runs_per_hour = round(row.runs / hours)
    if kind == "work_order":
        _caps(by_name, midnight)
    else:
        _limits(kind, by_name)
    return Burning(rows, found[0][3] - len(rows) if found else 0, found[0][4] if found else ZERO)


def _slot(at: datetime, seconds: int) -> datetime:
    return at - timedelta(seconds=at.timestamp() % seconds)


def _caps(rows: Mapping[str, Burner], midnight: datetime) -> None:
    for order in overview.with_use(WorkOrder.objects.filter(pk__in=rows), midnight):
        rows[order.pk].work_order = order
        rows[order.pk].usd_meter = overview.usd_meter_of(order)
        rows[order.pk].runs_meter = overview.runs_meter_of(order)


def _limits(kind: str, rows: Mapping[str, Burner]) -> None:
    for name, measure, settled, held, amount, _ in query.rows(
        LIMITS, {"kind": kind, "names": list(rows)}
    ):
        if measure == "usd":
            rows[name].usd_meter = Meter(settled, held, amount)
        else:
            rows[name].runs_meter = Meter(settled, held, amount, "requests")
