"""A limit that is made while runs end: it changes these runs, and nobody waits in a circle."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.conf import settings

from budgets.admission import counters
from tests import factories
from tests.admission.desk import Desk, run_of
from tests.batches.test_races import client, decide, desk
from tests.waiting import wait_until
from workorders.models import Run

__all__ = ["desk"]
End = Callable[[psycopg.Connection[Any], Desk, str], None]
FINISH = """
SELECT (tollgate.finish_run_v1(%(digest)s::text::bytea, '10.0.0.1', %(run)s, 'success', 0.05, NULL,
    NULL, NULL, '', 'finish')).status
"""
OVERDUE = "UPDATE work_order_runs SET lease_expires_at = now() - interval '1 second'"
LIMITS = {
    "of budgets": 'INSERT INTO budgets (scope, subject, "window", measure, amount, alert_percents)'
    " VALUES ('agent', '*', 'month', 'usd', 5, '{}')",
    "of a feature": "INSERT INTO feature_flags (feature, enabled, period, cost_cap_usd, reason,"
    " changed_by, changed_at) VALUES ('few', true, 'day', 5, 'r', 'x', now())",
}


def one(connection: psycopg.Connection[Any], desk: Desk, run: str) -> None:
    digest = "\\x" + desk.caller.digest.hex()
    row = connection.execute(FINISH, {"digest": digest, "run": run}).fetchone()
    assert row == (200,)


def many(connection: psycopg.Connection[Any], desk: Desk, run: str) -> None:
    ask = {"op": "finish", "digest": "\\x" + desk.caller.digest.hex(), "run": run}
    ask |= {"status": "success", "cost": "0.05", "fingerprint": "\\x", "request_id": ""}
    answers = decide(connection, [ask | {"n": 0}, ask | {"n": 1}])
    assert [answer["status"] for answer in answers] == [200, 200]


def reaping(connection: psycopg.Connection[Any], desk: Desk, run: str) -> None:
    with connection.transaction():
        connection.execute("SELECT tollgate.share_limits()")
        assert connection.execute("SELECT tollgate.reap_v1(NULL, 9)").fetchone() == (1,)


@pytest.mark.parametrize("statement", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("end", [one, many, reaping])
def test_a_new_limit_and_the_end_of_a_run_do_not_wait_for_each_other(
    committed_db: str, desk: Desk, end: End, statement: str
) -> None:
    race(committed_db, desk, end, statement)
    assert Run.objects.get().status != "running"
    assert not list(counters.differences())


def test_without_the_order_they_do(committed_db: str, desk: Desk) -> None:
    with client(committed_db, settings.OWNER_URL) as owner:
        owner.execute("DROP TRIGGER order_first_with_runs ON budgets")
    with pytest.raises(psycopg.errors.DeadlockDetected):
        race(committed_db, desk, one, LIMITS["of budgets"])


def race(database: str, desk: Desk, end: End, statement: str) -> None:
    """The limit is the first to wait for the counters. Then the run is ended."""
    factories.make_work_order("w1")
    run = run_of(desk.start("w1", "0.10", feature="few"))
    with (
        client(database) as others,
        client(database, settings.OWNER_URL) as owner,
        client(database) as ending,
        client(database) as watching,
        ThreadPoolExecutor(2) as pool,
    ):
        if end is reaping:
            owner.execute(OVERDUE)
        with others.transaction():
            others.execute("SELECT tollgate.hold_counters()")
            made = pool.submit(owner.execute, statement)
            wait_until(lambda: waiting(watching) == 1 or made.done())
            ended = pool.submit(end, ending, desk, run)
            wait_until(lambda: waiting(watching) == 2 or ended.done())
        made.result()
        ended.result()


def waiting(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    assert row is not None
    return int(row[0])
