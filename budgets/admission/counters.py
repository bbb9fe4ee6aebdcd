"""Counters against the runs they count: recomputed from the rows, compared, put right."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from django.db import connection, transaction

from budgets.writing import HOLD_COUNTERS
from opslog import events
from opslog.database import query


class Figures(NamedTuple):
    """What a counter says. Dollars and tokens: what is held, and what is spent."""

    runs: int
    open_runs: int
    reserved_usd: Decimal
    settled_usd: Decimal
    reserved_tokens: int
    settled_tokens: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that does not say what the runs say. Dollars; times in UTC."""

    key: str
    counter_id: int | None
    scope: str
    subject: str
    window: str
    starts_at: datetime
    counted: Figures
    recomputed: Figures


# One statement, so one snapshot: a run and its counters commit together. The counters of slots and
# minutes are dropped after a while, and a limit's counters begin with its row, so of those only the
# ones that exist are compared, and only while a limit covers their subject.
COMPARE = """
WITH expected AS (
    SELECT 'work_order' AS scope, wo_id AS subject,
        CASE WHEN grouping(day) = 0 THEN 'day' ELSE 'open' END AS win,
        CASE WHEN grouping(day) = 0 THEN day::timestamp AT TIME ZONE 'UTC' ELSE 'epoch' END
            AS starts_at,
        count(*) AS runs, count(*) FILTER (WHERE status = 'running') AS open_runs,
        coalesce(sum(reserved_usd) FILTER (WHERE status = 'running'), 0) AS reserved,
        coalesce(sum(cost), 0) AS settled,
        coalesce(sum(reserved_tokens) FILTER (WHERE status = 'running'), 0) AS reserved_tokens,
        coalesce(sum(tokens), 0) AS settled_tokens
    FROM work_order_runs GROUP BY GROUPING SETS ((wo_id, day), (wo_id))
    UNION ALL
    -- Of everything: reported calls never run, and count in their day.
    SELECT 'global', '', CASE WHEN grouping(day) = 0 THEN 'day' ELSE 'open' END,
        CASE WHEN grouping(day) = 0 THEN day::timestamp AT TIME ZONE 'UTC' ELSE 'epoch' END,
        CASE WHEN grouping(day) = 0 THEN sum(runs + calls) ELSE sum(runs) END, sum(open_runs),
        sum(reserved), CASE WHEN grouping(day) = 0 THEN sum(settled + direct) ELSE sum(settled) END,
        sum(reserved_tokens),
        CASE WHEN grouping(day) = 0 THEN sum(settled_tokens + direct_tokens)
            ELSE sum(settled_tokens) END
    FROM (
        SELECT day, count(*) AS runs, 0 AS calls,
            count(*) FILTER (WHERE status = 'running') AS open_runs,
            coalesce(sum(reserved_usd) FILTER (WHERE status = 'running'), 0) AS reserved,
            coalesce(sum(cost), 0) AS settled, 0 AS direct,
            coalesce(sum(reserved_tokens) FILTER (WHERE status = 'running'), 0) AS reserved_tokens,
            coalesce(sum(tokens), 0) AS settled_tokens, 0 AS direct_tokens
        FROM work_order_runs GROUP BY day
        UNION ALL
        SELECT (at AT TIME ZONE 'UTC')::date, 0, count(*), 0, 0, 0, sum(cost_usd), 0, 0, sum(tokens)
        FROM direct_spend GROUP BY 1
    ) days GROUP BY GROUPING SETS ((day), ())
    UNION ALL
    SELECT c.scope, c.subject, c.win, c.starts_at, sum(c.runs), sum(c.open_runs), sum(c.reserved),
        sum(c.settled), sum(c.reserved_tokens), sum(c.settled_tokens)
    FROM (
        SELECT p.scope, tollgate.subject(p.scope, e.facts) AS subject, p.win,
            tollgate.begins(p.win, e.at) AS starts_at, e.runs, e.open_runs,
            CASE WHEN tollgate.is_short(p.win) THEN e.reserved_short ELSE e.reserved_long END
                AS reserved,
            CASE WHEN tollgate.is_short(p.win) THEN e.settled_short ELSE e.settled_long END
                AS settled,
            e.reserved_tokens, e.settled_tokens
        FROM (
            SELECT k.scope, k."window" AS win, min(k.starts_at) AS since FROM counters k
            WHERE k.scope <> 'work_order'
                AND NOT (k.scope = 'global' AND k."window" IN ('open', 'day'))
            GROUP BY k.scope, k."window"
        ) p JOIN tollgate.entries e ON e.at >= p.since
        WHERE tollgate.subject(p.scope, e.facts) IS NOT NULL
    ) c GROUP BY 1, 2, 3, 4
)
SELECT coalesce(c.key, tollgate.counter_key(e.scope, e.subject, e.win, e.starts_at)), c.id,
    coalesce(c.scope, e.scope), coalesce(c.subject, e.subject), coalesce(c.window, e.win),
    coalesce(c.starts_at, e.starts_at),
    coalesce(c.runs, 0), coalesce(c.open_runs, 0), coalesce(c.reserved_usd, 0),
    coalesce(c.settled_usd, 0), coalesce(c.reserved_tokens, 0), coalesce(c.settled_tokens, 0),
    coalesce(e.runs, 0), coalesce(e.open_runs, 0), coalesce(e.reserved, 0), coalesce(e.settled, 0),
    coalesce(e.reserved_tokens, 0), coalesce(e.settled_tokens, 0)
FROM expected e FULL JOIN counters c
    ON c.scope = e.scope AND c.subject = e.subject AND c.window = e.win
    AND c.starts_at = e.starts_at
WHERE (coalesce(c.runs, 0), coalesce(c.open_runs, 0), coalesce(c.reserved_usd, 0),
        coalesce(c.settled_usd, 0), coalesce(c.reserved_tokens, 0), coalesce(c.settled_tokens, 0))
    IS DISTINCT FROM (coalesce(e.runs, 0), coalesce(e.open_runs, 0), coalesce(e.reserved, 0),
        coalesce(e.settled, 0), coalesce(e.reserved_tokens, 0), coalesce(e.settled_tokens, 0))
    AND (c.id IS NOT NULL OR e.win IN ('open', 'day') AND e.scope IN ('work_order', 'global'))
    AND tollgate.is_limited(coalesce(c.scope, e.scope), coalesce(c.subject, e.subject),
        coalesce(c.window, e.win))
ORDER BY 1
"""

# By indexes: `/readyz` asks, too; of counters by each scope and window that there may be.
FROM_THE_FUTURE = """
WITH clock AS MATERIALIZED (SELECT tollgate.now() AS at)
SELECT found.name, found.rows, found.latest FROM clock CROSS JOIN LATERAL (
    SELECT 'work_order_runs' AS name, count(*) AS rows, max(started_at) AS latest
    FROM work_order_runs WHERE started_at > clock.at
    UNION ALL
    SELECT 'run_charges', count(*), max(r.at) FROM run_charges r WHERE r.at > clock.at
    UNION ALL
    SELECT 'direct_spend', count(*), max(d.at) FROM direct_spend d WHERE d.at > clock.at
    UNION ALL
    SELECT 'counters', count(*), max(k.starts_at)
    FROM unnest(tollgate.scopes()) AS s (scope) CROSS JOIN unnest(tollgate.windows()) AS w (win)
    JOIN counters k ON k.scope = s.scope AND k."window" = w.win AND k.starts_at > clock.at
    UNION ALL
    SELECT 'refusal_groups', count(*), max(last_at) FROM refusal_groups WHERE last_at > clock.at
    UNION ALL
    SELECT 'circuit_breakers', count(*), max(changed_at)
    FROM circuit_breakers WHERE changed_at > clock.at
) found WHERE found.rows > 0
"""


@dataclass(frozen=True, slots=True)
class FutureRows:
    """Rows of a table that are dated later than the database's clock, which was ahead when it wrote
    them: they count from their moment on, and block nothing before it. Times in UTC."""

    table: str
    rows: int
    latest: datetime

    def __str__(self) -> str:
        latest = self.latest.astimezone(UTC)
        return f"{self.table}: {self.rows}, the latest {latest:%Y-%m-%d %H:%M} UTC"


def from_the_future() -> list[FutureRows]:
    return [FutureRows(*row) for row in query.rows(FROM_THE_FUTURE)]


def differences() -> Iterator[Difference]:
    """Every counter that disagrees with the runs; nothing when all is well."""
    with connection.cursor() as cursor:
        cursor.execute(COMPARE)
        for key, counter_id, scope, subject, window, starts_at, *figures in cursor.fetchall():
            yield Difference(
                key,
                counter_id,
                scope,
                subject,
                window,
                starts_at,
                Figures(*figures[:6]),
                Figures(*figures[6:]),
            )


def how_many() -> tuple[int, int]:
    """How many counters and runs there are to compare."""
    counters, runs = query.one(
        "SELECT (SELECT count(*) FROM counters), (SELECT count(*) FROM work_order_runs)"
    )
    return int(counters), int(runs)


def repair(*, by: str, reason: str) -> list[Difference]:
    """Write what the runs say into the counters that disagree, and record it. No admission is
    decided meanwhile."""
    with transaction.atomic(), connection.cursor() as cursor:
        query.run(HOLD_COUNTERS)
        wrong = list(differences())
        for difference in wrong:
            cursor.execute(
                'INSERT INTO counters AS c (key, scope, subject, "window", starts_at, runs, '
                "open_runs, reserved_usd, settled_usd, reserved_tokens, settled_tokens) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (key) DO UPDATE SET runs = excluded.runs, "
                "open_runs = excluded.open_runs, reserved_usd = excluded.reserved_usd, "
                "settled_usd = excluded.settled_usd, reserved_tokens = excluded.reserved_tokens, "
                "settled_tokens = excluded.settled_tokens",
                [
                    difference.key,
                    difference.scope,
                    difference.subject,
                    difference.window,
                    difference.starts_at,
                    *difference.recomputed,
                ],
            )
        if wrong:
            events.record(
                "COUNTERS_REPAIRED",
                message=f"{len(wrong)} counters recomputed from the runs",
                actor=by,
                meta={
                    "reason": reason,
                    "counters": [
                        {
                            "key": difference.key,
                            "old": [str(figure) for figure in difference.counted],
                            "new": [str(figure) for figure in difference.recomputed],
                        }
                        for difference in wrong[:1000]
                    ],
                },
            )
    return wrong
