"""Counters against the runs they count: recomputed from the rows, compared, put right."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection, transaction

from opslog import events


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that does not say what the runs say. Dollars; times in UTC."""

    key: str
    counter_id: int | None
    scope: str
    subject: str
    window: str
    starts_at: datetime
    counted: tuple[int, int, Decimal, Decimal]  # runs, open runs, reserved, settled
    recomputed: tuple[int, int, Decimal, Decimal]


# One statement, so one snapshot: a run and its counters commit together. The counters of minutes
# are dropped after an hour, so there only those that exist are compared.
COMPARE = """
WITH expected AS (
    SELECT CASE WHEN grouping(wo_id) = 0 THEN 'work_order' ELSE 'global' END AS scope,
        coalesce(wo_id, '') AS subject,
        CASE WHEN grouping(day) = 0 THEN 'day' ELSE 'open' END AS win,
        CASE WHEN grouping(day) = 0 THEN day::timestamp AT TIME ZONE 'UTC' ELSE 'epoch' END
            AS starts_at,
        count(*) AS runs, count(*) FILTER (WHERE status = 'running') AS open_runs,
        coalesce(sum(reserved_usd) FILTER (WHERE status = 'running'), 0) AS reserved,
        coalesce(sum(cost), 0) AS settled
    FROM work_order_runs GROUP BY GROUPING SETS ((wo_id, day), (wo_id), (day), ())
    UNION ALL
    SELECT c.scope, c.subject, c.window, c.starts_at, count(r.id),
        count(r.id) FILTER (WHERE r.status = 'running'),
        coalesce(sum(r.reserved_usd) FILTER (WHERE r.status = 'running'), 0),
        coalesce(sum(r.cost), 0)
    FROM counters c LEFT JOIN work_order_runs r
        ON r.started_at >= c.starts_at AND r.started_at < c.starts_at + interval '1 minute'
        AND host(r.source_ip) = c.subject
    WHERE c.scope = 'address' AND c.window = 'minute'
    GROUP BY c.id
)
SELECT coalesce(c.key, tollgate_counter_key(e.scope, e.subject, e.win, e.starts_at)), c.id,
    coalesce(c.scope, e.scope), coalesce(c.subject, e.subject), coalesce(c.window, e.win),
    coalesce(c.starts_at, e.starts_at),
    coalesce(c.runs, 0), coalesce(c.open_runs, 0), coalesce(c.reserved_usd, 0),
    coalesce(c.settled_usd, 0),
    coalesce(e.runs, 0), coalesce(e.open_runs, 0), coalesce(e.reserved, 0), coalesce(e.settled, 0)
FROM expected e FULL JOIN counters c
    ON c.scope = e.scope AND c.subject = e.subject AND c.window = e.win
    AND c.starts_at = e.starts_at
WHERE coalesce(c.runs, 0) <> coalesce(e.runs, 0)
    OR coalesce(c.open_runs, 0) <> coalesce(e.open_runs, 0)
    OR coalesce(c.reserved_usd, 0) <> coalesce(e.reserved, 0)
    OR coalesce(c.settled_usd, 0) <> coalesce(e.settled, 0)
ORDER BY 1
"""


def differences() -> Iterator[Difference]:
    """Every counter that disagrees with the runs; nothing when all is well."""
    with connection.cursor() as cursor:
        cursor.execute(COMPARE)
        for key, counter_id, scope, subject, window, starts_at, *figures in cursor.fetchall():
            runs, open_runs, reserved, settled = figures[:4]
            yield Difference(
                key,
                counter_id,
                scope,
                subject,
                window,
                starts_at,
                (runs, open_runs, reserved, settled),
                (figures[4], figures[5], figures[6], figures[7]),
            )


def how_many() -> tuple[int, int]:
    """How many counters and runs there are to compare."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM counters), (SELECT count(*) FROM work_order_runs)"
        )
        counters, runs = cursor.fetchone()
        return int(counters), int(runs)


def repair(*, by: str, reason: str) -> list[Difference]:
    """Write what the runs say into the counters that disagree, and record it. No admission is
    decided meanwhile."""
    with transaction.atomic(), connection.cursor() as cursor:
        # EXCLUSIVE: it waits for those who have locked rows and may still have to write them;
        # a weaker mode would be granted beside them, and then each would wait for the other.
        cursor.execute("LOCK TABLE counters IN EXCLUSIVE MODE")
        wrong = list(differences())
        for difference in wrong:
            cursor.execute(
                'INSERT INTO counters AS c (key, scope, subject, "window", starts_at, runs, '
                "open_runs, reserved_usd, settled_usd) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (key) DO UPDATE SET runs = excluded.runs, "
                "open_runs = excluded.open_runs, reserved_usd = excluded.reserved_usd, "
                "settled_usd = excluded.settled_usd",
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
