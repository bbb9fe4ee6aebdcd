"""The demo's thirty days: such as the service could have written, and verified by it."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections

from budgets.demo.cast import JOBS, PEOPLE
from budgets.demo.history import caps_of, history
from budgets.demo.seeding import TRACE, seed
from budgets.demo.trickle import trickle
from budgets.models import Counter
from budgets.replay.audit import Limits, RecordedRun, exceeded
from budgets.replay.trace import read_trace
from opslog.models import OperationsEvent
from opslog.price_import import bundled
from opslog.pricing import PriceBook
from workorders.models import Run, WorkOrder

DAYS = [date(2026, 11, 1) + timedelta(days=n) for n in range(20)]


def price(model: str, given: int, made: int) -> Decimal:
    rate = Decimal("0.15") if "mini" in model else Decimal("2.5")
    return ((given + 4 * made) * rate / 1_000_000).quantize(Decimal("0.000000001"))


def test_no_day_of_it_is_over_the_caps_of_that_day() -> None:
    told = history(JOBS, list(read_trace(TRACE)), days=DAYS, price=price)
    again = history(JOBS, list(read_trace(TRACE)), days=DAYS, price=price)
    assert [run.id for run in told.runs] == [run.id for run in again.runs]
    assert {run.day for run in told.runs} == set(DAYS)
    assert {refusal.denial for refusal in told.refusals} >= {"runs_per_day", "usd_per_day"}
    for job in JOBS:
        for day in DAYS:
            runs = [
                RecordedRun(
                    job.id, run.day, run.reserved_usd, run.cost, run.started_at, run.finished_at
                )
                for run in told.runs
                if run.job is job and run.day == day
            ]
            caps = caps_of(job, (DAYS[-1] - day).days + 1)
            assert exceeded(runs, {job.id: Limits(*caps, job.concurrent)}) == []


def test_every_run_ends_on_its_day_and_ids_follow_time() -> None:
    runs = history(JOBS, list(read_trace(TRACE)), days=DAYS, price=price).runs
    assert all(run.finished_at.date() == run.day for run in runs)
    assert [run.id.version for run in runs[:3]] == [7, 7, 7]
    assert {run.status for run in runs} == {"success", "error", "expired", "cancelled"}


@pytest.fixture
def seeded(committed_db: str) -> dict[str, str]:
    return seed(book=PriceBook(0, bundled()), now=datetime.now(UTC)).passwords


def test_the_seeded_database(seeded: dict[str, str]) -> None:
    call_command("verify_counters")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert Run.objects.latest("started_at").day == yesterday
    assert Run.objects.earliest("started_at").day == yesterday - timedelta(days=29)
    assert not Run.objects.filter(status="running").exists()
    assert WorkOrder.objects.count() == len(JOBS)
    for job in JOBS:
        order = WorkOrder.objects.get(pk=job.id)
        assert (order.runs_per_day, order.usd_per_day) == caps_of(job, 0)
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
