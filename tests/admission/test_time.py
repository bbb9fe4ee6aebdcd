"""Midnight and leases, with a clock that the test sets in its own database."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections, transaction

from budgets import tasks
from budgets.admission import Decision, counters, direct_spend
from budgets.models import Counter, Grant
from budgets.usage import today
from opslog import events
from opslog.models import OperationsEvent
from tests import factories
from tests.admission.desk import Desk, body, install_clock, run_of, set_clock
from tests.factories import make_work_order
from tests.waiting import wait_until
from workorders.models import Run

WAITS_FOR_THE_COUNTERS = """
SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND classid = 7400
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
LATE = datetime(2026, 3, 14, 23, 59, 50, tzinfo=UTC)
NEXT = datetime(2026, 3, 15, 0, 0, 10, tzinfo=UTC)


@pytest.fixture
def desk(committed_db: str) -> Iterator[Desk]:
    install_clock()
    set_clock(LATE)
    make_work_order(usd_per_day="1.00", runs_per_day=100, max_concurrent_runs=50)
    yield Desk()
    assert not list(counters.differences())


def test_a_new_day_is_a_new_row(desk: Desk) -> None:
    assert desk.start(usd="1.00").status == 201
    refusal = desk.start(usd="0.01")
    assert refusal.denial == "usd_per_day"
    assert refusal.reset_at == datetime(2026, 3, 15, tzinfo=UTC)
    set_clock(NEXT)
    assert body(desk.start(usd="1.00"))["usage"]["usdToday"] == "1.00"


def test_a_run_counts_for_the_day_it_started(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.50"))
    set_clock(NEXT)
    assert desk.extend(run, "0.30").status == 200
    refusal = desk.extend(run, "0.30")
    assert refusal.denial == "usd_per_day"  # of the day before, which no waiting cures
    assert (refusal.retry_after, refusal.reset_at) == (None, None)
    assert desk.finish(run, "0.70").status == 200
    work_order = Run.objects.get().wo
    assert Run.objects.get().day == date(2026, 3, 14)
    assert today.usage_today(work_order).used_usd == 0
    set_clock(LATE)
    assert today.usage_today(work_order).used_usd == Decimal("0.70")


def turn_clock_while_waiting(desk: Desk, at: datetime, usd: str) -> Decision:
    """The answer to a start that waits for the lock of the counters while the clock goes to `at`.

    The clock of the waiting session is turned by a function that looks at a table, as another
    session turns it.
    """
    with connections["owner"].cursor() as cursor:
        cursor.execute("CREATE TABLE test_clock AS SELECT %s::timestamptz AS at", [LATE])
        cursor.execute("GRANT SELECT, UPDATE ON test_clock TO PUBLIC")
        cursor.execute(
            "CREATE OR REPLACE FUNCTION tollgate.now() RETURNS timestamptz LANGUAGE sql VOLATILE "
            "AS 'SELECT at FROM public.test_clock'"
        )
    answers = []

    def ask() -> None:
        answers.append(desk.start(usd=usd))
        connection.close()

    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT tollgate.hold_counters()")
        thread = threading.Thread(target=ask)
        thread.start()
        with connections["owner"].cursor() as cursor:
            waiting = 0
            while not waiting:
                assert thread.is_alive()
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                waiting = cursor.fetchone()[0]
            cursor.execute("UPDATE test_clock SET at = %s", [at])
    thread.join()
    connections["owner"].close()
    return answers[0]


def test_the_day_is_read_after_the_lock(desk: Desk, committed_db: str) -> None:
    """A start that waits over midnight counts for the new day."""
    desk.start(usd="1.00")
    assert turn_clock_while_waiting(desk, NEXT, "0.25").status == 201
    assert Run.objects.latest("id").day == date(2026, 3, 15)


@pytest.mark.parametrize(("seconds", "status"), [(2, 201), (3, 429)])
def test_a_grant_that_ends_while_a_start_waits_is_over(
    desk: Desk, seconds: int, status: int
) -> None:
    """Its caps are read before the last lock, and are in force after it, or are read once more."""
    # The first of a day, and of each five seconds, makes counters and then reads everything again.
    assert desk.start(usd="0.10").status == 201
    with transaction.atomic():
        events.record("BREAK_GLASS", message="test", owner=("work_order", "w1"), actor="test")
        Grant.objects.create(
            wo_id="w1",
            measure="usd_per_day",
            value=Decimal("9.00"),
            starts_at=LATE - timedelta(minutes=30),
            ends_at=LATE + timedelta(seconds=3),
            kind=Grant.Kind.BREAK_GLASS,
            granted_by="test",
            person=factories.make_user(),
            reason="test",
        )
    answer = turn_clock_while_waiting(desk, LATE + timedelta(seconds=seconds), "2.00")
    assert answer.status == status
    assert answer.denial == ("usd_per_day" if status == 429 else "")


def test_a_lease_that_ends_is_settled_at_the_estimate(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.40", lease_seconds=5))
    set_clock(LATE + timedelta(seconds=4))
    assert tasks.expire_leases() == 0
    set_clock(LATE + timedelta(seconds=5))
    assert tasks.expire_leases() == 1
    assert tasks.expire_leases() == 0
    row = Run.objects.get()
    assert (row.status, row.cost, row.cost_note) == ("expired", Decimal("0.40"), "lease_expired")
    assert OperationsEvent.objects.filter(kind="RUN_EXPIRED").count() == 1
    assert desk.extend(run).denial == "run_ended"


def test_a_late_finish_corrects(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.40", lease_seconds=5))
    set_clock(NEXT)
    tasks.expire_leases()
    answer = body(desk.finish(run, "0.15"))
    assert (answer["status"], answer["costUsd"]) == ("success", "0.15")
    assert OperationsEvent.objects.filter(kind="RUN_FINISHED_LATE").count() == 1
    assert desk.finish(run, "0.15").replayed
    day = Counter.objects.get(scope="work_order", window="day")
    assert (day.reserved_usd, day.settled_usd, day.open_runs) == (Decimal(0), Decimal("0.15"), 0)


def test_without_the_job_a_full_limit_reaps_and_never_over_admits(desk: Desk) -> None:
    make_work_order("tight", usd_per_day="1.00", max_concurrent_runs=2)
    for _ in range(2):
        assert desk.start("tight", usd="0.40", lease_seconds=5).status == 201
    assert desk.start("tight", usd="0.10").denial == "concurrency"
    set_clock(LATE + timedelta(seconds=6))
    # The room of the two is free again; their dollars are not, they may have been spent.
    assert desk.start("tight", usd="0.30").denial == "usd_per_day"
    assert desk.start("tight", usd="0.20").status == 201
    assert Run.objects.filter(wo="tight", status="expired").count() == 2


def test_a_dry_run_sees_what_would_be_reaped(desk: Desk) -> None:
    make_work_order("one", max_concurrent_runs=1)
    desk.start("one", lease_seconds=5)
    assert body(desk.start("one", dry_run=True))["decision"] == "refuse"
    set_clock(LATE + timedelta(seconds=6))
    assert body(desk.start("one", dry_run=True))["decision"] == "admit"
    assert Run.objects.get(wo="one").status == "running"


def test_an_ended_lease_is_not_renewed(desk: Desk) -> None:
    run = run_of(desk.start(lease_seconds=5))
    set_clock(LATE + timedelta(seconds=3))
    assert desk.extend(run).status == 200
    set_clock(LATE + timedelta(seconds=7))
    assert desk.extend(run).status == 200
    set_clock(NEXT + timedelta(minutes=1))
    assert desk.extend(run).denial == "run_ended"


def test_a_key_is_replayed_for_48_hours(desk: Desk) -> None:
    first = run_of(desk.start(key="k", lease_seconds=5))
    set_clock(LATE + timedelta(hours=47, minutes=59))
    replay = body(desk.start(key="k", lease_seconds=5))
    assert (replay["runId"], replay["status"]) == (first, "expired")
    set_clock(LATE + timedelta(hours=48, minutes=1))
    assert run_of(desk.start(key="k", lease_seconds=5)) != first


ACTS: dict[str, Callable[[Desk, str], Any]] = {
    "start": lambda desk, run: desk.start(usd="0.10"),
    "extend": lambda desk, run: desk.extend(run, "0.10"),
    "finish": lambda desk, run: desk.finish(run, "0.10"),
    "spend": lambda desk, run: direct_spend.spend(
        caller=desk.caller, who=direct_spend.Attribution(), cost_usd=Decimal("0.10")
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_whatever_counts_waits_for_the_lock_of_the_counters(desk: Desk, act: str) -> None:
    run = run_of(desk.start(usd="0.10"))
    answers = []

    def perform() -> None:
        set_clock(LATE)  # of this connection
        answers.append(ACTS[act](desk, run))
        connection.close()

    thread = threading.Thread(target=perform)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT tollgate.hold_counters()")
        thread.start()
        with connections["owner"].cursor() as cursor:

            def waits() -> bool:
                cursor.execute(WAITS_FOR_THE_COUNTERS)
                return bool(cursor.fetchone()[0])

            wait_until(lambda: waits() or not thread.is_alive())
            assert waits(), answers
    thread.join()
    connections["owner"].close()
    assert [answer.status for answer in answers] in ([200], [201])
