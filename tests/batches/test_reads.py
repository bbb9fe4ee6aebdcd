"""What a batch reads does not grow with what was before, whatever the planner knew."""

from collections.abc import Iterator

import pytest
from django.db import connection, connections, transaction

from budgets.admission.batches import Ask
from tests import factories
from tests.admission.desk import Desk
from tests.admission.test_reads import LIMITS, PAST, READ
from tests.batches.test_batches import decide, start

TABLES = ["counters", "budgets", "idempotency_records", "work_order_runs", "refusal_groups"]
SIZE = 12
KEYS = """
INSERT INTO idempotency_records (token_id, endpoint, key, fingerprint, answer)
SELECT 1, 'start', 'old-' || n, '', '{}' FROM generate_series(1, 50000) n
"""
RUNS = """
INSERT INTO work_order_runs (id, wo_id, agent_name, status, reserved_usd, cost, day, started_at,
    finished_at, lease_expires_at, lease_seconds)
SELECT gen_random_uuid(), 'w' || n % 3, 'a', 'success', 0, 0, now()::date - 1,
    now() - interval '1 day', now() - interval '1 day' + n * interval '1 ms', now(), 900
FROM generate_series(1, 30000) n
"""


@pytest.fixture
def desk(committed_db: str) -> Iterator[Desk]:
    for number in range(3):
        factories.make_work_order(f"w{number}", max_concurrent_runs=500)
    # (Its limit is used up, with a run that may be overdue.)
    factories.make_work_order("full", max_concurrent_runs=1)
    desk = Desk()
    assert desk.start("full").status == 201
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE counters, budgets, idempotency_records, work_order_runs")
    connection.close()
    yield desk
    connections["owner"].close()


def asks(desk: Desk, number: int) -> list[Ask]:
    return [
        start(desk, "full" if n % 4 == 3 else f"w{n % 4}", "0.001", key=f"{number}-{n}")
        for n in range(SIZE)
    ]


def read_by_a_batch(desk: Desk, number: int) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(READ, [TABLES])
        ((before,),) = cursor.fetchall()
        statuses = [answer.status for answer in decide(asks(desk, number))]
        assert statuses == [201, 201, 201, 429] * (SIZE // 4)
        cursor.execute(READ, [TABLES])
        ((after,),) = cursor.fetchall()
        return int(after) - int(before)


@pytest.mark.parametrize("past", [PAST, LIMITS, KEYS, RUNS])
def test_a_plan_of_few_rows_stays_good(desk: Desk, past: str) -> None:
    factories.set_limit("global", "open", "runs", 1000)
    for number in range(3):
        first = read_by_a_batch(desk, number)
    with connections["owner"].cursor() as cursor:
        cursor.execute("ALTER TABLE budgets DISABLE TRIGGER USER")
        cursor.execute(past)
        assert cursor.rowcount >= 5_000
        cursor.execute("ALTER TABLE budgets ENABLE TRIGGER USER")
    # (At a turn of a minute some counters are new, and it reads twice.)
    assert 0 < read_by_a_batch(desk, 3) < first + 500
