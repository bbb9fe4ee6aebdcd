"""The rows of the daily report, from the counters, the history of the caps and the refusals on
record.

Nothing is summed over runs: day counters are kept. Of the log, the refusals of the day are read.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection

from budgets import clock
from budgets.reports.rules import IDLE, NEAR, Action, Report, Row, Totals
from opslog.database import query
from opslog.events.filters import REFUSALS

PAGE = 50
INSTANT = timedelta(microseconds=1)
# Refusals of a second may share an event that is written when it is over, by a job of each minute.
LATE = timedelta(hours=1)

# The base cap of a past moment is the old value of the first change after it.
ROWS = """
WITH used AS (
    SELECT subject, runs, open_runs, reserved_usd, reserved_usd + settled_usd AS usd FROM counters
    WHERE scope = 'work_order' AND "window" = 'day' AND starts_at = %(begins)s
), refused AS (
    SELECT wo_id, coalesce(sum(times) FILTER (WHERE reason = 'runs_per_day'), 0)::bigint AS runs,
        coalesce(sum(times) FILTER (WHERE reason = 'usd_per_day'), 0)::bigint AS usd
    FROM (
        SELECT e.owner_id AS wo_id, e.meta->>'reason' AS reason,
            CASE WHEN jsonb_typeof(e.meta->'asks') = 'array' THEN (
                SELECT count(*) FROM jsonb_array_elements(e.meta->'asks') a
                WHERE (a->>'at')::timestamptz >= %(begins)s AND (a->>'at')::timestamptz < %(ends)s)
            WHEN e.created_at < %(ends)s THEN tollgate.times(e.meta) ELSE 0 END AS times
        FROM operations_events e
        WHERE e.kind = ANY (%(refusals)s) AND e.owner_type = 'work_order'
            AND e.created_at >= %(begins)s AND e.created_at < %(read_to)s
            AND e.meta->>'reason' IN ('runs_per_day', 'usd_per_day')) refusals
    GROUP BY wo_id HAVING sum(times) > 0
), later AS (
    SELECT DISTINCT ON (wo_id) wo_id, old_runs_per_day, old_usd_per_day FROM cap_changes
    WHERE applied_at > %(at)s ORDER BY wo_id, id
), held AS (
    SELECT o.id, o.title, o.status,
        greatest(coalesce(l.old_runs_per_day, o.runs_per_day), g.runs)::integer AS runs_cap,
        greatest(coalesce(l.old_usd_per_day, o.usd_per_day), g.usd) AS usd_cap,
        coalesce(u.runs, 0) AS runs, coalesce(u.usd, 0) AS usd,
        greatest(o.runs_per_day, n.runs)::integer AS runs_cap_now,
        greatest(o.usd_per_day, n.usd) AS usd_cap_now, %(is_over)s AS is_over,
        coalesce(u.open_runs, 0) AS open_runs, coalesce(u.reserved_usd, 0) AS reserved_usd,
        coalesce(r.runs, 0) AS refused_runs, coalesce(r.usd, 0) AS refused_usd
    FROM work_orders o
    LEFT JOIN used u ON u.subject = o.id
    LEFT JOIN refused r ON r.wo_id = o.id
    LEFT JOIN later l ON l.wo_id = o.id
    LEFT JOIN tollgate.grants_in_force(%(at)s) g ON g.wo_id = o.id
    LEFT JOIN tollgate.grants_in_force(%(now)s) n ON n.wo_id = o.id
    WHERE u.subject IS NOT NULL OR r.wo_id IS NOT NULL
        OR (o.created_at <= %(at)s AND o.status <> 'archived')
), report AS MATERIALIZED (
    SELECT h.*, CASE WHEN h.refused_runs + h.refused_usd > 0 THEN 'blocked'
        WHEN h.share > %(near)s THEN 'near' WHEN h.share < %(idle)s THEN 'idle' ELSE '' END
            AS action
    FROM (SELECT *, greatest(runs::numeric / runs_cap, usd / usd_cap) AS share FROM held) h
)
"""
PAGE_OF_ROWS = f"""{ROWS}, totals AS (
    SELECT count(*) AS work_orders,
        count(*) FILTER (WHERE action = 'blocked') AS blocked,
        count(*) FILTER (WHERE action = 'near') AS near,
        count(*) FILTER (WHERE action = 'idle') AS idle,
        coalesce(sum(runs), 0)::bigint AS runs, coalesce(sum(usd), 0) AS usd
    FROM report
), whole AS (
    SELECT coalesce(sum(runs), 0)::bigint AS runs,
        coalesce(sum(reserved_usd + settled_usd), 0) AS usd
    FROM counters WHERE scope = 'global' AND subject = '' AND "window" = 'day'
        AND starts_at = %(begins)s
)
SELECT t.work_orders, t.blocked, t.near, t.idle, t.runs, t.usd,
    greatest(w.runs - t.runs, 0), greatest(w.usd - t.usd, 0),
    p.id, p.title, p.status, p.runs_cap, p.usd_cap, p.runs, p.usd, p.runs_cap_now, p.usd_cap_now,
    p.is_over, p.open_runs, p.reserved_usd, p.refused_runs, p.refused_usd
FROM totals t CROSS JOIN whole w LEFT JOIN LATERAL (
    SELECT * FROM report WHERE %(only)s IN ('', action)
    ORDER BY share DESC, id LIMIT %(limit)s OFFSET %(offset)s
) p ON true
"""  # noqa: S608  (constants put together)
ALL_ROWS = f"""{ROWS}
SELECT id, title, status, runs_cap, usd_cap, runs, usd, runs_cap_now, usd_cap_now,
    is_over, open_runs, reserved_usd, refused_runs, refused_usd
FROM report ORDER BY share DESC, id
"""  # noqa: S608  (constants put together)


def read(day: date, *, only: Action | None = None, page: int = 1, size: int = PAGE) -> Report:
    """One page of the report of a UTC day, in one query; the totals are those of the whole day."""
    asked = {"only": only or "", "limit": size, "offset": (max(page, 1) - 1) * size}
    params = _params(day)
    found = query.rows(PAGE_OF_ROWS, params | asked)
    rows = tuple(Row(*each[8:]) for each in found if each[8] is not None)
    return Report(day, rows, Totals(*found[0][:8]))


def every_row(day: date) -> Iterator[Row]:
    """All rows, the most used first, without having them all in memory."""
    params = _params(day)
    with connection.chunked_cursor() as cursor:
        cursor.execute(ALL_ROWS, params)
        while batch := cursor.fetchmany(1000):
            yield from (Row(*columns) for columns in batch)


def _params(day: date) -> dict[str, Any]:
    """`at`: the last instant of the day, or now. Nothing is idle before the day is over."""
    begins, moment = datetime.combine(day, time(), UTC), clock.now()
    ends = begins + timedelta(days=1)
    is_over = moment >= ends
    return {
        "begins": begins,
        "ends": ends,
        "read_to": ends + LATE,
        "refusals": list(REFUSALS),
        "at": min(ends - INSTANT, moment),
        "now": moment,
        "is_over": is_over,
        "near": NEAR,
        "idle": IDLE if is_over else 0,
    }
