"""Named reads: what is used, and how well it was estimated."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from opslog.database import query
from workorders.governing import CapsInForce
from workorders.models import WorkOrder


@dataclass(frozen=True, slots=True)
class Usage:
    """What a work order, or everything together, uses today. Dollars; `day` is the UTC date of the
    database's clock. `open_today` are those of the day's runs that have not ended, `open_runs` all
    that have not. Direct spend is no run; its dollars are among the settled ones of everything."""

    day: date
    reset_at: datetime
    runs: int
    open_today: int
    open_runs: int
    reserved_usd: Decimal
    settled_usd: Decimal
    direct_calls: int = 0
    direct_usd: Decimal = Decimal(0)

    @property
    def used_usd(self) -> Decimal:
        return self.reserved_usd + self.settled_usd

    @property
    def runs_usd(self) -> Decimal:
        return self.used_usd - self.direct_usd


@dataclass(frozen=True, slots=True)
class Calibration:
    """How estimates compare with costs over the last runs that reported their end. The ratios are
    cost ÷ reserved of the `priced_runs` among them: finished, with a known cost and a reservation.
    Percentiles are interpolated. Overruns are those of all of them, cancelled ones too."""

    settled_runs: int
    priced_runs: int
    ratio_p50: float | None
    ratio_p95: float | None
    overruns: int
    overrun_usd: Decimal


USAGE = """
SELECT (c.now AT TIME ZONE 'UTC')::date, date_trunc('day', c.now, 'UTC') + interval '1 day',
       coalesce(d.runs, 0), coalesce(d.open_runs, 0), coalesce(o.open_runs, 0),
       coalesce(d.reserved_usd, 0), coalesce(d.settled_usd, 0)
FROM (SELECT tollgate.now() AS now) c CROSS JOIN (SELECT %s::text AS id) w
LEFT JOIN counters d
    ON d.key = tollgate.counter_key('work_order', w.id, 'day', date_trunc('day', c.now, 'UTC'))
LEFT JOIN counters o ON o.key = tollgate.counter_key('work_order', w.id, 'open', 'epoch')
"""

IN_FORCE = """
SELECT o.id, e.runs_per_day, e.usd_per_day, e.max_concurrent_runs, e.holds_until
FROM unnest(%s::text[]) AS o (id) CROSS JOIN LATERAL tollgate.effective_caps(o.id, tollgate.now()) e
"""

# The global counter also counts direct spend: what it has beyond the work orders' counters.
USAGE_OF_ALL = """
SELECT (c.now AT TIME ZONE 'UTC')::date, date_trunc('day', c.now, 'UTC') + interval '1 day',
       w.runs, coalesce(d.open_runs, 0), coalesce(o.open_runs, 0), coalesce(d.reserved_usd, 0),
       coalesce(d.settled_usd, 0), greatest(coalesce(d.runs, 0) - w.runs, 0),
       greatest(coalesce(d.settled_usd, 0) - w.settled_usd, 0)
FROM (SELECT tollgate.now() AS now) c
LEFT JOIN counters d
    ON d.key = tollgate.counter_key('global', '', 'day', date_trunc('day', c.now, 'UTC'))
LEFT JOIN counters o ON o.key = tollgate.counter_key('global', '', 'open', 'epoch')
CROSS JOIN LATERAL (
    SELECT coalesce(sum(k.runs), 0)::bigint AS runs, coalesce(sum(k.settled_usd), 0) AS settled_usd
    FROM counters k WHERE k.scope = 'work_order' AND k."window" = 'day'
        AND k.starts_at = date_trunc('day', c.now, 'UTC')) w
"""

# A cancelled run may have cost more than it reserved. What had no price is settled at its
# reservation, which is no estimate that came true.
CALIBRATION = """
WITH settled AS MATERIALIZED (
    SELECT started_at, cost, reserved_usd, CASE WHEN cost_note <> 'unpriced'
        THEN (cost / nullif(reserved_usd, 0))::float8 END AS ratio
    FROM work_order_runs WHERE wo_id = %(wo)s AND status IN ('success', 'error')
    ORDER BY finished_at DESC LIMIT 1000
), reported AS (
    SELECT cost, reserved_usd, ratio FROM settled
    UNION ALL
    SELECT cost, reserved_usd, NULL FROM work_order_runs
    WHERE wo_id = %(wo)s AND status = 'cancelled'
        AND started_at >= coalesce((SELECT min(started_at) FROM settled), '-infinity')
)
SELECT count(*), count(ratio), percentile_cont(0.5) WITHIN GROUP (ORDER BY ratio),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY ratio),
       count(*) FILTER (WHERE cost > reserved_usd),
       coalesce(sum(cost - reserved_usd) FILTER (WHERE cost > reserved_usd), 0)
FROM reported
"""


def caps_in_force(ids: Sequence[str]) -> dict[str, CapsInForce]:
    return {wo: CapsInForce(*caps) for wo, *caps in query.rows(IN_FORCE, [list(ids)])}


def usage_today(work_order: WorkOrder) -> Usage:
    return Usage(*query.one(USAGE, [work_order.pk]))


def usage_of_all() -> Usage:
    """The same for everything together, with what was spent without a run."""
    return Usage(*query.one(USAGE_OF_ALL))


def calibration(wo_id: str) -> Calibration:
    """Over the last 1,000 runs of the work order that succeeded or failed, and those cancelled
    since the first of them started."""
    return Calibration(*query.one(CALIBRATION, {"wo": wo_id}))
