"""The cost of a start where much has happened: runs of today, and millions of rows of history."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import psycopg

from bench.ground import HOT, Ground, in_bulk
from bench.measure import Bench
from bench.report import Cell
from bench.statements import in_batches, one_by_one, start

# Runs that ended yesterday or earlier, or that are open today.
ROWS = """
INSERT INTO work_order_runs (id, wo_id, agent_name, status, reserved_usd, cost, day, started_at,
    finished_at, lease_expires_at, lease_seconds, source_ip, token_id, charged_to)
SELECT tollgate.uuid7(at),
    CASE WHEN n %% 10 = 0 OR %(open)s THEN %(hot)s ELSE 'spread-' || n %% 1000 END, 'bench',
    CASE WHEN %(open)s THEN 'running' ELSE 'success' END, 0.01,
    CASE WHEN NOT %(open)s THEN 0.01 END,
    at::date, at, CASE WHEN %(open)s THEN NULL ELSE at + interval '5 seconds' END,
    CASE WHEN %(open)s THEN now() + interval '1 day' ELSE at + interval '900 seconds' END,
    900, '127.0.0.1', 1, '{1,2,3,4,5}'
FROM (SELECT n, %(from)s::timestamptz + n * %(step)s::interval AS at
      FROM generate_series(1, %(rows)s) n) numbered
"""
COUNTED = """
INSERT INTO counters (key, scope, subject, "window", starts_at, runs, open_runs, reserved_usd)
SELECT tollgate.counter_key(scope, subject, win, at), scope, subject, win, at, %(rows)s, %(rows)s,
    0.01 * %(rows)s
FROM (VALUES ('work_order', %(hot)s, 'open', 'epoch'::timestamptz),
    ('work_order', %(hot)s, 'day', date_trunc('day', now(), 'UTC')),
    ('global', '', 'open', 'epoch'), ('global', '', 'day', date_trunc('day', now(), 'UTC')))
    AS v (scope, subject, win, at)
ON CONFLICT (key) DO UPDATE SET runs = excluded.runs, open_runs = excluded.open_runs,
    reserved_usd = excluded.reserved_usd
"""


def fill(ground: Ground, database: str, rows: int, *, today: bool) -> None:
    """Puts that many runs into the table: today's, still open, or spread over a year before."""
    with psycopg.connect(ground.superuser_url(database), autocommit=True) as owner:
        span = "86400 seconds" if today else "31536000 seconds"
        midnight = "date_trunc('day', now(), 'UTC')"
        begin = owner.execute(
            f"SELECT {midnight} - interval '{0 if today else 366} days',"
            f" (CASE WHEN %s THEN now() - {midnight} ELSE interval '{span}' END) / %s",
            [today, rows],
        ).fetchone()
        assert begin is not None
        values = {"hot": HOT, "open": today, "from": begin[0], "step": begin[1], "rows": rows}
        with in_bulk(owner, "work_order_runs"):
            owner.execute(ROWS, values)
            if today:
                owner.execute(COUNTED, values)


@contextmanager
def cells(
    bench: Bench, ground: Ground, sizes: Mapping[str, tuple[int, bool]]
) -> Iterator[dict[str, Cell]]:
    """Admission on a database of each size: name → (rows, whether they are of today)."""
    from config.run.scratch import scratch_database

    made: dict[str, Cell] = {}
    with ExitStack() as stack:
        for name, (rows, today) in sizes.items():
            bench.note(f"filling a table: {name}")
            database = stack.enter_context(scratch_database(ground.template))
            if rows:
                fill(ground, database, rows, today=today)
            url, asks = ground.app_url(database), [start(HOT)]
            made[f"{name}, one by one"] = bench.database(ground, database, one_by_one(url, asks), 1)
            made[f"{name}, 32 in a call"] = bench.database(
                ground, database, in_batches(url, asks, 32), 1
            )
        yield made
