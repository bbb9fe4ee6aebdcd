"""Never over-admit, over real HTTP against the real server with two workers.

Each guarantee has its control: the same storm on a database whose routine has lost its lock must
over-admit, or the test would prove nothing.
"""

import itertools
import threading
from collections import Counter as Tally
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from budgets import tasks
from budgets.admission import counters
from config.run.scratch import ScratchService, scratch_service
from tests import factories
from tests.admission.storms import (
    CLIENTS,
    LIMITS,
    PRICE,
    ROOM,
    ROUNDS,
    Connection,
    Storm,
    storm_on,
)
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def storm(service: ScratchService, django_db_blocker: DjangoDbBlocker) -> Storm:
    return storm_on(service, django_db_blocker)


@pytest.fixture(scope="module")
def unguarded(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Storm]:
    """A service whose routines read without locking, with so many processes that decide, each a
    batch at a time, that several read before one of them has written."""
    with scratch_service(template=pristine_database, workers=4) as service:
        with psycopg.connect(service.owner_url, autocommit=True) as connection:
            connection.execute(WITHOUT_THE_LOCK)
        yield storm_on(service, django_db_blocker)


WITHOUT_THE_LOCK = """
CREATE OR REPLACE FUNCTION tollgate.hold_counters() RETURNS void LANGUAGE sql VOLATILE AS
$$ SELECT pg_sleep(0.02) $$
"""


def slot_of_the_database(length: str = "1 minute") -> datetime:
    """Where the window, or the slot of a rolling one, begins that the clock is in."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT date_bin(%s::interval, clock_timestamp(), 'epoch')", [length])
        found: datetime = cursor.fetchone()[0]
        return found


@pytest.mark.parametrize("limit", LIMITS)
def test_room_for_seven_admits_exactly_seven(storm: Storm, limit: str) -> None:
    prepare, denial = LIMITS[limit]
    whole, numbers = 0, itertools.count()
    while whole < ROUNDS:
        with storm.inside():
            factories.lift_limits()
            ask = prepare(next(numbers))
            begun = slot_of_the_database()
        answers = storm.ask([ask] * CLIENTS)
        with storm.inside():
            # A new minute, hour or day has room for seven more: such a storm shows nothing.
            if slot_of_the_database() != begun:
                continue
        assert answers == {201: ROOM, denial: CLIENTS - ROOM}
        whole += 1
    with storm.inside():
        factories.lift_limits()
        assert not list(counters.differences())


@pytest.mark.parametrize("limit", LIMITS)
def test_without_the_lock_the_race_is_real(unguarded: Storm, limit: str) -> None:
    """A race is a matter of chance, on a busy machine more so: one storm of ten must show it.

    Without the lock they deadlock, too, and a service that had an error of the database refuses
    everything for a moment: such a storm shows nothing.
    """
    prepare, denial = LIMITS[limit]
    admitted: list[Tally[Any]] = []
    for number in range(10):
        with unguarded.inside():
            factories.lift_limits()
            ask = prepare(number)
        admitted.append(unguarded.ask([ask] * CLIENTS))
        if admitted[-1][201] > ROOM:
            return
        if set(admitted[-1]) - {201, denial}:
            wait_until(unguarded.decides)
    pytest.fail(f"without the lock {ROOM} were never exceeded: {admitted}")


def test_the_breaker_trips_once_and_lets_no_more_through(storm: Storm) -> None:
    from budgets.controls import breaker
    from budgets.models import Alert

    whole, numbers = 0, itertools.count()
    while whole < ROUNDS:
        with storm.inside():
            factories.lift_limits()
            name = f"breaker-{next(numbers)}"
            begun = slot_of_the_database("5 seconds")
            opened = Alert.objects.filter(kind="breaker_opened").count()
            factories.make_work_order(name, usd_per_day="1000.00", max_concurrent_runs=CLIENTS)
            committed = breaker.committed().usd.quantize(Decimal("0.01")) + Decimal("0.01")
            factories.set_limit("global", "rolling_minute", "usd", committed + PRICE * ROOM)
        ask = {"workOrderId": name, "agentName": "a", "estimatedCostUsd": str(PRICE)}
        answers = storm.ask([ask] * CLIENTS)
        with storm.inside():
            opened = Alert.objects.filter(kind="breaker_opened").count() - opened
            if opened:
                breaker.reset("global", "", reason="the next round", by="test")
            # What leaves the sixty seconds meanwhile makes room: such a storm shows nothing.
            if slot_of_the_database("5 seconds") != begun:
                continue
        assert answers == {201: ROOM, "breaker_open": CLIENTS - ROOM}
        assert opened == 1
        whole += 1


def test_one_probe_of_sixty_four(storm: Storm) -> None:
    from django.utils import timezone

    from budgets.controls import breaker
    from budgets.models import CircuitBreaker

    with storm.inside():
        factories.lift_limits()
        factories.make_work_order("probe", usd_per_day="1000.00", max_concurrent_runs=CLIENTS)
        breaker.trip("global", "", reason="a test", by="test")
        CircuitBreaker.objects.filter(scope="global").update(half_open_at=timezone.now())
    ask = {"workOrderId": "probe", "agentName": "a", "estimatedCostUsd": "0.01"}
    answers = storm.ask([ask] * CLIENTS)
    with storm.inside():
        breaker.reset("global", "", reason="over", by="test")
    assert answers == {201: 1, "breaker_open": CLIENTS - 1}


def test_a_cost_cap_switches_its_feature_off_once(storm: Storm) -> None:
    from budgets.controls import features
    from budgets.models import Alert

    with storm.inside():
        factories.lift_limits()
        factories.make_work_order("capped", usd_per_day="1000.00", max_concurrent_runs=CLIENTS)
        features.change("capped", {"cost_cap_usd": PRICE * ROOM}, reason="a test", by="test")
    ask = {"workOrderId": "capped", "agentName": "a", "estimatedCostUsd": str(PRICE)}
    answers = storm.ask([{**ask, "feature": "capped"}] * CLIENTS)
    assert answers == {201: ROOM, "feature_off": CLIENTS - ROOM}
    with storm.inside():
        result = Alert.objects.filter(kind="feature_switched_off", meta__feature="capped")
        assert result.count() == 1


def test_nothing_passes_a_kill_switch_that_was_acknowledged(storm: Storm) -> None:
    from budgets.controls import kill_switch
    from workorders.models import Run

    with storm.inside():
        factories.lift_limits()
        factories.make_work_order("killed", usd_per_day="1000.00", max_concurrent_runs=100_000)
    ask = {"workOrderId": "killed", "agentName": "a", "estimatedCostUsd": "0.001"}
    stop = threading.Event()

    def keep_asking(number: int) -> None:
        desk = Connection(storm.service.url, storm.token)
        while not stop.is_set():
            desk.post("/api/work-orders/start", ask)
        desk.close()

    with ThreadPoolExecutor(16) as pool:
        for number in range(16):
            pool.submit(keep_asking, number)
        try:
            with storm.inside():
                while Run.objects.filter(wo="killed").count() < 50:
                    pass
                kill_switch.switch("Global", None, enabled=True, reason="a test", by="test")
                acknowledged = Run.objects.filter(wo="killed").count()
                refused = storm.ask([ask] * 8)
                assert refused == {"kill_switch": 8}
        finally:
            stop.set()
    with storm.inside():
        assert Run.objects.filter(wo="killed").count() == acknowledged
        kill_switch.switch("Global", None, enabled=False, reason="over", by="test")


def test_fifty_duplicates_are_one_run(storm: Storm) -> None:
    with storm.inside():
        factories.lift_limits()
        factories.make_work_order("dup", max_concurrent_runs=CLIENTS)
    ask = {"workOrderId": "dup", "agentName": "a", "estimatedCostUsd": "0.01"}
    for number in range(ROUNDS):
        runs = storm.ask([ask] * 50, keys=[f"key-{number}"] * 50)
        assert list(runs.values()) == [50]


def test_one_key_for_two_work_orders_admits_one(storm: Storm) -> None:
    """The duplicates lock different rows, so only the key itself can stop the second."""
    with storm.inside():
        factories.lift_limits()
        for name in ("k1", "k2"):
            factories.make_work_order(name, max_concurrent_runs=CLIENTS)
    asks = [{"workOrderId": f"k{1 + n % 2}", "agentName": "a"} for n in range(50)]
    for number in range(3):
        answers = storm.ask(asks, keys=[f"two-{number}"] * 50)
        assert answers.pop("idempotency_key") == 25
        assert list(answers.values()) == [25]


def test_start_finish_extend_and_expiry_race(storm: Storm) -> None:
    """Everything at once on two work orders; at the end the counters agree with the runs."""
    with storm.inside():
        factories.lift_limits()
        for name in ("mix-1", "mix-2"):
            factories.make_work_order(
                name, runs_per_day=100_000, usd_per_day="1000.00", max_concurrent_runs=40
            )
        _, token = factories.make_token(scopes=["start"])
    stop = threading.Event()
    answers: list[Tally[Any]] = []

    def work(number: int) -> None:
        seen: Tally[Any] = Tally()
        desk = Connection(storm.service.url, token)
        for turn in range(40):
            status, answer, _ = desk.post(
                "/api/work-orders/start",
                {
                    "workOrderId": f"mix-{1 + (number + turn) % 2}",
                    "agentName": f"a{number}",
                    "estimatedCostUsd": "0.01",
                    "leaseSeconds": 1,
                },
            )
            seen["start", status] += 1
            if status != 201 or turn % 5 == 0:
                continue  # every fifth run never reports
            run = f"/api/work-orders/runs/{answer['runId']}"
            status, _, _ = desk.post(f"{run}/extend", {"additionalUsd": "0.01"})
            seen["extend", status] += 1
            status, _, _ = desk.post(f"{run}/finish", {"status": "success", "costUsd": "0.015"})
            seen["finish", status] += 1
        desk.close()
        answers.append(seen)

    def reap() -> None:
        with storm.inside():
            while not stop.is_set():
                tasks.expire_leases()

    reaper = threading.Thread(target=reap)
    reaper.start()
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(12)))
    stop.set()
    reaper.join()
    total: Tally[Any] = sum(answers, Tally())
    assert {status for _, status in total} <= {200, 201, 409, 429}
    assert total["start", 201] > 50
    assert total["finish", 200] > 50
    with storm.inside():
        assert not list(counters.differences())


def test_a_cap_that_is_lowered_meanwhile_holds(storm: Storm) -> None:
    """After the change is acknowledged nothing is admitted above the new cap, whatever was under
    way: the write of a cap waits for the admissions before it."""
    with storm.inside():
        factories.lift_limits()
        work_order = factories.make_work_order(
            "lowered", runs_per_day=1000, usd_per_day="100.00", max_concurrent_runs=1000
        )
        _, token = factories.make_token()
    acknowledged = threading.Event()
    late: list[int] = []

    def ask(_: int) -> None:
        desk = Connection(storm.service.url, token)
        body = {"workOrderId": "lowered", "agentName": "a", "estimatedCostUsd": "0.01"}
        for _turn in range(30):
            after = acknowledged.is_set()
            status, *_rest = desk.post("/api/work-orders/start", body)
            if after and status == 201:
                late.append(1)
        desk.close()

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(ask, n) for n in range(8)]
        with storm.inside():
            factories.set_caps(work_order, 1, "0.01")
        acknowledged.set()
        for future in futures:
            future.result()
    assert not late
