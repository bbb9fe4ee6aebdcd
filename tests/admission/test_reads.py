"""What a decision reads does not grow with what was used before, whatever the planner knew."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections, transaction

from budgets.admission import Decision, FinishTold, batches, finish_fields, start_settings
from budgets.admission.batches import Ask
from budgets.admission.direct_spend import Attribution, SpendTold, spend_fields
from tests.admission.desk import Desk, run_of
from tests.admission.plans import LIMITS, PAST, READ
from tests.factories import make_work_order


@pytest.fixture
def desk(committed_db: str) -> Iterator[Desk]:
    make_work_order(max_concurrent_runs=50)
    desk = Desk()
    assert desk.start().status == 201
    # From here on the planner thinks that there are ten counters, and a session plans anew.
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE counters")
    connection.close()
    yield desk
    connections["owner"].close()


def read_by(call: Callable[[], Decision | int], *tables: str) -> int:
    read = list(tables or ("counters", "budgets"))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(READ, [read])
        ((before,),) = cursor.fetchall()
        answer = call()
        assert (answer if isinstance(answer, int) else answer.status) in (200, 201)
        cursor.execute(READ, [read])
        ((after,),) = cursor.fetchall()
        return int(after) - int(before)


def read_by_a_start(desk: Desk, **more: Any) -> int:
    return read_by(lambda: desk.start(**more))


def test_the_plan_of_an_empty_table_stays_good(desk: Desk) -> None:
    names = {"user_id": "u", "surface": "cli", "feature": "f"}
    for _ in range(3):
        first = read_by_a_start(desk, **names)
    with connections["owner"].cursor() as cursor:
        cursor.execute(PAST)
        assert cursor.rowcount > 40_000
    # (At a turn of a minute some are new, and it reads twice.)
    assert 0 < read_by_a_start(desk, **names) < first + 500


def test_limits_of_others_are_not_read(desk: Desk) -> None:
    names = {"user_id": "u", "surface": "cli", "feature": "f"}
    run_id = run_of(desk.start(**names))
    for _ in range(3):
        first = read_by_a_start(desk, **names)
        extended = read_by(lambda: desk.extend(run_id, "0.01"))
    with connections["owner"].cursor() as cursor:
        cursor.execute("ALTER TABLE budgets DISABLE TRIGGER USER")
        cursor.execute(LIMITS)
        cursor.execute("ALTER TABLE budgets ENABLE TRIGGER USER")
    # (A turn of a minute reads twice.)
    assert 0 < read_by_a_start(desk, **names) < first + 500
    assert 0 < read_by(lambda: desk.extend(run_id, "0.01")) < extended + 500


FAILURES = """
INSERT INTO work_order_runs (id, wo_id, agent_name, status, reserved_usd, cost, day, started_at,
    finished_at, lease_expires_at, lease_seconds)
SELECT gen_random_uuid(), 'w1', 'a', 'error', 0, 0, now()::date - 1, now() - interval '1 day',
    now() - interval '1 day' + n * interval '1 ms', now(), 900 FROM generate_series(1, 30000) n
"""


def test_a_settlement_does_not_read_all_runs_that_failed(desk: Desk) -> None:
    """Of those that are no evidence of a cost it reads the last thousand, planned early or not."""

    def finished() -> Decision:
        return desk.finish(run_of(desk.start(usd="0.01")), "0", "error")

    for _ in range(3):
        read_by(finished, "work_order_runs")
    with connections["owner"].cursor() as cursor:
        cursor.execute(FAILURES)
    assert 0 < read_by(finished, "work_order_runs") < 1_500


def test_a_batch_reads_the_history_of_a_work_order_once(desk: Desk) -> None:
    """And no more counters or runs than its own, planned early or not."""

    def settle_eight() -> list[int]:
        runs = [run_of(desk.start(usd="0.01")) for _ in range(8)]
        report = FinishTold("success", Decimal("0.01"))
        call = SpendTold(Attribution("u"), Decimal("0.01"))
        asks = [
            *(Ask("finish", finish_fields(UUID(run), report, caller=desk.caller)) for run in runs),
            *(Ask("spend", spend_fields(call, caller=desk.caller)) for _ in range(4)),
        ]
        params = [batches.encode(asks).decode(), *start_settings().values()]

        def decide() -> int:
            with connection.cursor() as cursor:
                cursor.execute("SELECT answers FROM tollgate.decide_run_v1(%s,%s,%s,%s,%s)", params)
                return min(each.status for each in batches.decode(cursor.fetchone()[0]))

        return [read_by(decide, table) for table in ("counters", "work_order_runs")]

    for _ in range(3):
        first = settle_eight()
    with connections["owner"].cursor() as cursor:
        cursor.execute(PAST)
        cursor.execute(FAILURES)
    counters, runs = settle_eight()
    assert 0 < counters < first[0] + 500
    # A thousand that ended last, once, and eight that are locked, judged and changed.
    assert 0 < runs < 1_500


@pytest.mark.django_db
def test_no_routine_on_the_way_of_a_start_is_ever_compiled() -> None:
    """With just-in-time compilation, which PostgreSQL 15 to 17 have on, a start took 200 ms."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW jit")
        assert cursor.fetchall() == [("off",)]
        cursor.execute(
            "SELECT proname, proconfig FROM pg_proc WHERE 'enable_seqscan=off' = ANY (proconfig)"
        )
        found = dict(cursor.fetchall())
    assert {"start_run_v1", "finish_run_v1", "extend_run_v1"} <= found.keys()
    assert {"settle_batch_v1", "spend_batch_v1"} <= found.keys()
    assert [name for name, options in found.items() if "jit=off" not in options] == []
