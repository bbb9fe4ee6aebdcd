"""Batches and single asks on real connections at once: never over what there is."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pytest
from django.db import connections

from budgets.admission import counters
from budgets.models import CircuitBreaker
from tests import factories
from tests.admission.desk import Desk
from tests.batches.connections import SETTINGS, SINGLE, ask, client, decide
from tests.waiting import wait_until
from workorders.models import Run, WorkOrder

ROOM = Decimal("4.37")
BATCHERS, SINGLES = 4, 2


def storm(database: str, desk: Desk, singles: int) -> Decimal:
    """The dollars that were reserved when everybody had asked for far more than there is room."""

    def batches(number: int) -> None:
        chance = random.Random(number)
        with client(database) as connection:
            for _ in range(12):
                asks = [
                    ask(desk, n, f"r{chance.randrange(5)}", chance.choice(["0.01", "0.02", "0.03"]))
                    for n in range(chance.choice([1, 5, 16, 32]))
                ]
                if number < BATCHERS:
                    assert {a["status"] for a in decide(connection, asks)} <= {201, 429}
                    continue
                for each in asks[:8]:
                    connection.execute(SINGLE, [*SETTINGS, json.dumps(each)])

    with ThreadPoolExecutor(BATCHERS + singles) as pool:
        list(pool.map(batches, range(BATCHERS + singles)))
    return sum((run.reserved_usd for run in Run.objects.all()), Decimal(0))


def make_room() -> None:
    for number in range(5):
        factories.make_work_order(f"r{number}", max_concurrent_runs=1000)
    factories.set_limit("global", "day", "usd", ROOM)


def test_what_there_is_and_not_a_cent_more(committed_db: str, desk: Desk) -> None:
    make_room()
    assert storm(committed_db, desk, SINGLES) == ROOM
    assert not list(counters.differences())


def test_without_the_lock_the_race_is_real(committed_db: str, desk: Desk) -> None:
    make_room()
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT pg_get_functiondef('tollgate.decide_starts'::regproc)")
        (source,) = cursor.fetchone()
        lock = "PERFORM tollgate.hold_counters();"
        assert source.count(lock) == 1
        cursor.execute(source.replace(lock, ""))

    def exceeded() -> bool:
        with connections["owner"].cursor() as cursor:
            cursor.execute("UPDATE budgets SET amount = amount + 4 WHERE scope = 'global'")
            cursor.execute("SELECT max(amount) FROM budgets WHERE scope = 'global'")
            (amount,) = cursor.fetchone()
        return bool(storm(committed_db, desk, 0) > amount)

    wait_until(exceeded, "without the lock the limit was never exceeded")


def test_a_batch_does_not_wait_for_a_work_order(committed_db: str, desk: Desk) -> None:
    """Its asks are handed back, with nothing of them written; the others are decided."""
    for name in ("w1", "w2"):
        factories.make_work_order(name, max_concurrent_runs=9)
    with client(committed_db) as other, client(committed_db) as connection:
        with other.transaction():
            other.execute("SELECT tollgate.hold_work_order('w1')")
            asks = [ask(desk, 0, "w1"), ask(desk, 1, "w2"), ask(desk, 2, "w1")]
            answers = decide(connection, asks)
        outcomes = [(answer["status"], answer["denial"]) for answer in answers]
        assert outcomes == [(0, "alone"), (201, ""), (0, "alone")]
        assert Run.objects.count() == 1
        assert [answer["status"] for answer in decide(connection, asks[:1])] == [201]


def test_a_suspension_is_not_overtaken(committed_db: str, desk: Desk) -> None:
    """A change of a work order waits for the batch that reads it."""
    factories.make_work_order("w1", max_concurrent_runs=9)
    change = "UPDATE work_orders SET status = 'suspended' WHERE id = 'w1'"
    with client(committed_db) as connection, client(committed_db) as other:
        with connection.transaction():
            assert decide(connection, [ask(desk, 0, "w1")])[0]["status"] == 201
            other.execute("SET lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(change)
        other.execute(change)
        assert decide(connection, [ask(desk, 0, "w1")])[0]["denial"] == "suspended"
    assert WorkOrder.objects.get().status == "suspended"


def test_sixteen_that_no_set_can_decide_and_no_more(committed_db: str, desk: Desk) -> None:
    """Twenty open breakers whose time is over: each ask may be a probe, which is decided alone."""
    for number in range(20):
        factories.make_work_order(f"p{number}")
        CircuitBreaker.objects.create(
            scope="work_order",
            subject=f"p{number}",
            state="open",
            changed_at=factories.LONG_AGO,
            half_open_at=factories.LONG_AGO,
        )
    with client(committed_db) as connection:
        answers = decide(connection, [ask(desk, n, f"p{n}") for n in range(20)])
    outcomes = [(answer["status"], answer["denial"]) for answer in answers]
    assert outcomes == [(201, "")] * 16 + [(0, "alone")] * 4
    assert CircuitBreaker.objects.filter(state="half_open").count() == 16


def test_replays_are_confirmed_by_a_commit_of_their_own(committed_db: str, desk: Desk) -> None:
    """What a replay repeats was written by another transaction, perhaps one that no standby
    confirmed. A commit that has written nothing waits for no standby."""
    factories.make_work_order("w1", max_concurrent_runs=9)
    asks = [ask(desk, n, "w1") | {"key": f"k{n}"} for n in range(2)]
    with client(committed_db) as connection:
        first = decide(connection, asks)
        with connection.transaction():
            again = decide(connection, asks)
            written = connection.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
    assert [answer["replayed"] for answer in first] == [False, False]
    assert [answer["replayed"] for answer in again] == [True, True]
    assert written != (None,)
