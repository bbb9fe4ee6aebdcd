"""Named reads: what is used, and how well it was estimated."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db import connection

from workorders.models import WorkOrder


@dataclass(frozen=True, slots=True)
class Usage:
    """What a work order uses today. Dollars; `day` is the UTC date of the database's clock."""

    day: date
    reset_at: datetime
    runs: int
    open_runs: int
    reserved_usd: Decimal
    settled_usd: Decimal

    @property
    def used_usd(self) -> Decimal:
        return self.reserved_usd + self.settled_usd


@dataclass(frozen=True, slots=True)
class Calibration:
    """How estimates compare with costs over the last settled runs: actual ÷ reserved, and the
    overspend that overruns caused, which is the bound of what can go over a cap."""

    settled_runs: int
    ratio_p50: float | None
    ratio_p95: float | None
    overruns: int
    overrun_usd: Decimal


USAGE = """
SELECT (c.now AT TIME ZONE 'UTC')::date, date_trunc('day', c.now, 'UTC') + interval '1 day',
       coalesce(d.runs, 0), coalesce(o.open_runs, 0),
       coalesce(d.reserved_usd, 0), coalesce(d.settled_usd, 0)
FROM (SELECT tollgate.now() AS now) c
LEFT JOIN counters d
    ON d.key = tollgate.counter_key(%(scope)s, %(subject)s, 'day', date_trunc('day', c.now, 'UTC'))
LEFT JOIN counters o ON o.key = tollgate.counter_key(%(scope)s, %(subject)s, 'open', 'epoch')
"""

CALIBRATION = """
SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY ratio),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY ratio),
       count(*) FILTER (WHERE cost > reserved_usd),
       coalesce(sum(cost - reserved_usd) FILTER (WHERE cost > reserved_usd), 0)
FROM (SELECT cost, reserved_usd, (cost / nullif(reserved_usd, 0))::float8 AS ratio
      FROM work_order_runs WHERE wo_id = %s AND status IN ('success', 'error')
      ORDER BY finished_at DESC LIMIT 1000) recent
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """Today's dollars, reserved and settled: of runs, and of calls that programs made by
    themselves and reported."""

    runs: int
    runs_usd: Decimal
    calls: int
    calls_usd: Decimal

    @property
    def usd(self) -> Decimal:
        return self.runs_usd + self.calls_usd


SPENT = """
WITH today AS MATERIALIZED (SELECT date_trunc('day', tollgate.now(), 'UTC') AS begins)
SELECT coalesce(r.runs, 0), coalesce(r.usd, 0), d.calls, coalesce(d.usd, 0)
FROM today t
CROSS JOIN LATERAL (
    SELECT sum(c.runs) AS runs, sum(c.reserved_usd + c.settled_usd) AS usd FROM counters c
    WHERE c.scope = 'work_order' AND c."window" = 'day' AND c.starts_at = t.begins) r
CROSS JOIN LATERAL (
    SELECT count(*) AS calls, sum(s.cost_usd) AS usd FROM direct_spend s WHERE s.at >= t.begins) d
"""


def spent_today() -> Spent:
    with connection.cursor() as cursor:
        cursor.execute(SPENT)
        return Spent(*cursor.fetchone())


def usage_today(work_order: WorkOrder) -> Usage:
    return _usage("work_order", work_order.pk)


def usage_of_all() -> Usage:
    """The same for everything together."""
    return _usage("global", "")


def _usage(scope: str, subject: str) -> Usage:
    with connection.cursor() as cursor:
        cursor.execute(USAGE, {"scope": scope, "subject": subject})
        return Usage(*cursor.fetchone())


def calibration(wo_id: str) -> Calibration:
    """Over the last 1,000 settled runs of the work order."""
    with connection.cursor() as cursor:
        cursor.execute(CALIBRATION, [wo_id])
        return Calibration(*cursor.fetchone())
