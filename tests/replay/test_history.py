"""The demo's thirty days: such as the service could have written, and verified by it."""

import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections

from budgets.demo.cast import JOBS, PEOPLE
from budgets.demo.history import caps_at, decided_at, history
from budgets.demo.product import RELEASED
from budgets.demo.replay.audit import Limits, RecordedRun, exceeded
from budgets.demo.replay.trace import read_trace
from budgets.demo.seeding import QUIET, TRACE, seed
from budgets.demo.trickle import trickle
from budgets.models import Counter
from opslog.incidents import triage_job
from opslog.models import OperationsEvent
from opslog.price_book.imported import bundled
from opslog.pricing import PriceBook
from opslog.telemetry import rollup
from workorders.models import Run, WorkOrder

DAYS = [date(2026, 11, 1) + timedelta(days=n) for n in range(20)]
HOUR = timedelta(hours=1)
END = datetime(2026, 11, 21, tzinfo=UTC)


def price(model: str, given: int, made: int) -> Decimal:
    rate = Decimal("0.15") if "mini" in model else Decimal("2.5")
    return ((given + 4 * made) * rate / 1_000_000).quantize(Decimal("0.000000001"))


def test_no_day_of_it_is_over_the_caps_of_that_day() -> None:
    result = history(JOBS, list(read_trace(TRACE)), days=DAYS, until=END, price=price)
    again = history(JOBS, list(read_trace(TRACE)), days=DAYS, until=END, price=price)
    assert [run.id for run in result.runs] == [run.id for run in again.runs]
    assert {run.day for run in result.runs} == set(DAYS)
    assert {refusal.denial for refusal in result.refusals} >= {"runs_per_day", "usd_per_day"}
    for job in JOBS:
        for day in DAYS:
            runs = [
                RecordedRun(
                    job.id, run.day, run.reserved_usd, run.cost, run.started_at, run.finished_at
                )
                for run in result.runs
                if run.job is job and run.day == day
            ]
            # By the end of the day: a raise may have come in the middle of it.
            caps = caps_at(job, datetime.combine(day, time.max, UTC), END.date())
            assert exceeded(runs, {job.id: Limits(*caps, job.concurrent)}) == []


def test_a_raise_holds_from_when_it_was_signed() -> None:
    job = next(each for each in JOBS if each.raised)
    signed = decided_at(job.raised[0], END.date())
    before = caps_at(job, signed - timedelta(microseconds=1), END.date())
    assert before == (100, Decimal("2.00"))
    assert caps_at(job, signed, END.date()) != before


def test_every_run_ends_on_its_day_and_ids_follow_time() -> None:
    runs = history(JOBS, list(read_trace(TRACE)), days=DAYS, until=END, price=price).runs
    assert all(run.finished_at.date() == run.day for run in runs)
    assert [run.id.version for run in runs[:3]] == [7, 7, 7]
    assert {run.status for run in runs} == {"success", "error", "expired", "cancelled"}


@pytest.fixture
def seeded(committed_db: str) -> dict[str, str]:
    return seed(book=PriceBook(0, bundled()), now=datetime.now(UTC)).passwords


def test_the_seeded_database(seeded: dict[str, str]) -> None:
    call_command("verify_counters")
    now = datetime.now(UTC)
    latest = Run.objects.latest("started_at")
    assert now.date() - timedelta(days=1) <= latest.day
    assert latest.started_at < now - QUIET
    assert Run.objects.earliest("started_at").day == now.date() - timedelta(days=30)
    assert not Run.objects.filter(status="running").exists()
    assert WorkOrder.objects.count() == len(JOBS)
    for job in JOBS:
        order = WorkOrder.objects.get(pk=job.id)
        assert (order.runs_per_day, order.usd_per_day) == caps_at(job, now, now.date())
    events = OperationsEvent.objects.order_by("id").values_list("created_at", flat=True)
    assert list(events) == sorted(events)
    assert OperationsEvent.objects.filter(kind="WORK_ORDER_START").count() == Run.objects.count()
    for person in PEOPLE:
        assert User.objects.get(username=person.username).check_password(seeded[person.username])


def test_the_guards_are_on_again(seeded: dict[str, str]) -> None:
    for alias in ("default", "owner"):
        with connections[alias].cursor() as cursor, pytest.raises(DatabaseError):
            cursor.execute(
                "INSERT INTO operations_events (kind, created_at) VALUES ('FORGED', '2026-01-01')"
            )
    assert not OperationsEvent.objects.filter(kind="FORGED").exists()


def test_only_an_empty_database_is_seeded(committed_db: str) -> None:
    User.objects.create_user("somebody")
    with pytest.raises(CommandError, match="already"):
        call_command("seed_demo")
    assert not WorkOrder.objects.exists()
    assert Counter.objects.count() == 1


def test_the_trickle_is_gentle_and_asks_for_all() -> None:
    work = list(islice(trickle(per_second=1.0, rng=random.Random(1)), 4000))
    assert work[-1].due / len(work) == pytest.approx(1.0, rel=0.1)
    assert {timed.piece.work_order_id for timed in work} == {job.id for job in JOBS}


def test_today_is_told_until_its_last_hours() -> None:
    today = date(2026, 11, 21)
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    requests = list(read_trace(TRACE))
    result = history(JOBS, requests, days=[*DAYS, today], until=noon, price=price)
    before = history(JOBS, requests, days=DAYS, until=END, price=price)
    assert [run.id for run in result.runs if run.day != today] == [run.id for run in before.runs]
    assert noon - timedelta(hours=1) < result.runs[-1].started_at < noon
    assert all(refusal.at < noon for refusal in result.refusals)


@pytest.mark.parametrize("hour", [3, 13])
def test_the_triage_finds_the_release(committed_db: str, hour: int) -> None:
    """At night, too: a demo that is started then has its incident."""
    now = datetime.now(UTC).replace(hour=hour, minute=20)
    seed(book=PriceBook(0, bundled()), now=now)
    rollup.refresh()
    incident = triage_job.run(now=now)
    assert incident is not None
    assert (incident.cause, incident.feature) == ("hidden_recompute", RELEASED.name)
    assert incident.started_at == now.replace(minute=0, second=0, microsecond=0) - 4 * HOUR
