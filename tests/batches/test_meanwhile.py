"""What changes while a batch waits for the lock of the counters, or while it is decided."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings

from budgets.admission import counters
from tests import factories
from tests.admission.desk import Desk
from tests.batches.test_new_limits import waiting
from tests.batches.test_races import ask, client, decide, desk
from tests.waiting import wait_until
from workorders.models import Run

__all__ = ["desk"]
KILL = """
INSERT INTO kill_switches (scope, target, enabled, reason, changed_by, changed_at)
VALUES ('Global', '', true, 'r', 'x', now())
"""
SWITCH_OFF = """
INSERT INTO feature_flags (feature, enabled, period, reason, changed_by, changed_at)
VALUES ('few', false, 'day', 'r', 'x', now())
"""
LOWER = """
UPDATE budgets SET amount = 0.01 WHERE scope = 'global' AND "window" = 'day' AND measure = 'usd'
"""
CHANGES = {
    "kill switch": (KILL, "kill_switch"),
    "feature": (SWITCH_OFF, "feature_off"),
    "breaker": ("SELECT tollgate.trip('global', '', 'a test', tollgate.now())", "breaker_open"),
    "limit": (LOWER, "budget:global:day"),
}
# Each reading of the clock is a twentieth of a second after the one before.
TICKING = """
CREATE OR REPLACE FUNCTION tollgate.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT set_config('test.now', (coalesce(nullif(current_setting('test.now', true), ''),
        '2026-03-14 23:59:58+00')::timestamptz + interval '50 ms')::text, false)::timestamptz
$$
"""


@pytest.mark.parametrize(("statement", "denial"), CHANGES.values(), ids=CHANGES)
def test_what_is_changed_while_a_batch_waits_holds_for_it(
    committed_db: str, desk: Desk, statement: str, denial: str
) -> None:
    factories.make_work_order("w1", max_concurrent_runs=9)
    asks = [ask(desk, n, "w1", "0.02") | {"feature": "few"} for n in range(4)]
    with (
        client(committed_db, settings.OWNER_URL) as owner,
        client(committed_db) as connection,
        client(committed_db) as watching,
        ThreadPoolExecutor(1) as pool,
    ):
        owner.execute("SET search_path = public")
        with owner.transaction():
            owner.execute("SELECT tollgate.hold_counters()")
            decided = pool.submit(decide, connection, asks)
            wait_until(lambda: waiting(watching) == 1 or decided.done())
            owner.execute(statement)
        assert {answer["denial"] for answer in decided.result()} == {denial}
    assert not Run.objects.exists()


def test_a_day_that_ends_in_the_middle_of_a_batch(committed_db: str, desk: Desk) -> None:
    """Each day has its own: 3 of 5 runs are left of the first, and all 5 of the second."""
    factories.make_work_order("w1", runs_per_day=5, max_concurrent_runs=99)
    factories.make_work_order("w2", max_concurrent_runs=99)
    with (
        client(committed_db, settings.OWNER_URL) as owner,
        client(committed_db) as connection,
    ):
        owner.execute(TICKING)
        for number in range(30):
            finishes = [
                {**each, "op": "finish", "run": str(run), "status": "success", "cost": "0.01"}
                for each, run in zip(
                    (ask(desk, n, "w1") for n in range(8)),
                    Run.objects.filter(status="running").values_list("pk", flat=True),
                    strict=False,
                )
            ]
            starts = [ask(desk, 10 + n, f"w{1 + n % 2}") for n in range(6)]
            calls = [
                {**ask(desk, 20 + n, ""), "op": "spend", "cost": "0.01", "tokens": 1}
                for n in range(4)
            ]
            answers = decide(connection, [*finishes, *starts, *calls])
            assert {a["status"] for a in answers} <= {200, 201, 429}, (number, answers)
    runs = Run.objects.filter(wo_id="w1")
    days = {day: runs.filter(day=day).count() for day in set(runs.values_list("day", flat=True))}
    assert len(days) > 1
    assert set(days.values()) == {5}
    assert all(run.day == run.started_at.date() for run in Run.objects.all())
    assert not list(counters.differences())
