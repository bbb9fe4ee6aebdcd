"""The rows of the daily report, from the counters and the history of the caps.

Nothing is summed over runs, and the query costs the same for any day: day counters are kept.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection

from budgets.reports.rules import FULL, IDLE, NEAR, Action, Report, Row, Totals

PAGE = 50
INSTANT = timedelta(microseconds=1)

# The base cap of a past moment is the old value of the first change after it.
ROWS = """
WITH used AS (
    SELECT subject, runs, reserved_usd + settled_usd AS usd FROM counters
    WHERE scope = 'work_order' AND "window" = 'day' AND starts_at = %(begins)s
), later AS (
    SELECT DISTINCT ON (wo_id) wo_id, old_runs_per_day, old_usd_per_day FROM cap_changes
    WHERE applied_at > %(at)s ORDER BY wo_id, id
), granted AS (
    SELECT wo_id, max(value) FILTER (WHERE measure = 'runs_per_day') AS runs,
        max(value) FILTER (WHERE measure = 'usd_per_day') AS usd
    FROM cap_grants WHERE starts_at <= %(at)s AND ends_at > %(at)s GROUP BY wo_id
), granted_now AS (
    SELECT wo_id, max(value) FILTER (WHERE measure = 'runs_per_day') AS runs,
        max(value) FILTER (WHERE measure = 'usd_per_day') AS usd
    FROM cap_grants WHERE starts_at <= %(now)s AND ends_at > %(now)s GROUP BY wo_id
), held AS (
    SELECT o.id, o.title, o.status,
        greatest(coalesce(l.old_runs_per_day, o.runs_per_day), g.runs)::integer AS runs_cap,
        greatest(coalesce(l.old_usd_per_day, o.usd_per_day), g.usd) AS usd_cap,
        coalesce(u.runs, 0) AS runs, coalesce(u.usd, 0) AS usd,
        greatest(o.runs_per_day, n.runs)::integer AS runs_cap_now,
        greatest(o.usd_per_day, n.usd) AS usd_cap_now
    FROM work_orders o
    LEFT JOIN used u ON u.subject = o.id
    LEFT JOIN later l ON l.wo_id = o.id
    LEFT JOIN granted g ON g.wo_id = o.id
    LEFT JOIN granted_now n ON n.wo_id = o.id
    WHERE u.subject IS NOT NULL OR (o.created_at <= %(at)s AND o.status <> 'archived')
), report AS MATERIALIZED (
    SELECT h.*, greatest(h.runs::numeric / h.runs_cap, h.usd / h.usd_cap) AS share FROM held h
)
"""
PAGE_OF_ROWS = f"""{ROWS}, totals AS (
    SELECT count(*) AS work_orders,
        count(*) FILTER (WHERE share >= %(full)s) AS blocked,
        count(*) FILTER (WHERE share > %(near)s AND share < %(full)s) AS near,
        count(*) FILTER (WHERE share < %(idle)s) AS idle,
        coalesce(sum(runs), 0) AS runs, coalesce(sum(usd), 0) AS usd
    FROM report
)
SELECT t.work_orders, t.blocked, t.near, t.idle, t.runs, t.usd,
    p.id, p.title, p.status, p.runs_cap, p.usd_cap, p.runs, p.usd, p.runs_cap_now, p.usd_cap_now
FROM totals t LEFT JOIN LATERAL (
    SELECT * FROM report WHERE CASE %(only)s WHEN 'blocked' THEN share >= %(full)s
        WHEN 'near' THEN share > %(near)s AND share < %(full)s
        WHEN 'idle' THEN share < %(idle)s ELSE true END
    ORDER BY share DESC, id LIMIT %(limit)s OFFSET %(offset)s
) p ON true
"""  # noqa: S608  (constants put together)
ALL_ROWS = f"""{ROWS}
SELECT id, title, status, runs_cap, usd_cap, runs, usd, runs_cap_now, usd_cap_now
FROM report ORDER BY share DESC, id
"""  # noqa: S608  (constants put together)


def today() -> date:
    """By the clock that admissions go by."""
    return now().date()


def now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tollgate.now() AT TIME ZONE 'UTC'")
        found: datetime = cursor.fetchone()[0]
        return found.replace(tzinfo=UTC)


def read(day: date, *, only: Action | None = None, page: int = 1, size: int = PAGE) -> Report:
    """One page of the report of a UTC day, in one query; the totals are those of the whole day."""
    asked = {"only": only or "", "limit": size, "offset": (max(page, 1) - 1) * size}
    params = _params(day)
    with connection.cursor() as cursor:
        cursor.execute(PAGE_OF_ROWS, params | asked)
        found = cursor.fetchall()
    rows = tuple(_row(each[6:], params) for each in found if each[6] is not None)
    return Report(day, rows, Totals(*found[0][:6]))


def every_row(day: date) -> Iterator[Row]:
    """All rows, the most used first, without having them all in memory."""
    params = _params(day)
    with connection.chunked_cursor() as cursor:
        cursor.execute(ALL_ROWS, params)
        while batch := cursor.fetchmany(1000):
            yield from (_row(columns, params) for columns in batch)


def _params(day: date) -> dict[str, Any]:
    """`at`: the last instant of the day, or now. Nothing is idle before the day is over."""
    begins, moment = datetime.combine(day, time(), UTC), now()
    ends = begins + timedelta(days=1)
    is_over = moment >= ends
    return {
        "begins": begins,
        "at": min(ends - INSTANT, moment),
        "now": moment,
        "is_over": is_over,
        "full": FULL,
        "near": NEAR,
        "idle": IDLE if is_over else 0,
    }


def _row(columns: Any, params: dict[str, Any]) -> Row:
    return Row(*(*columns, params["is_over"]))
