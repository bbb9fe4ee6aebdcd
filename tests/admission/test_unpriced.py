"""Usage that no price is known for is never free: it settles at the reservation, or at what a run
reserves by itself, whichever is more, and people are notified."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from budgets import admission
from budgets.admission import counters
from budgets.models import Alert, Grant
from opslog import events
from opslog.models import OperationsEvent
from opslog.price_book import prices
from opslog.pricing import Usage
from tests.admission.desk import Desk, body, run_of
from tests.factories import lift_limits, make_token, make_user, make_work_order
from workorders.models import Run

pytestmark = pytest.mark.django_db

USAGE = Usage(10_000, 2_000)


@pytest.fixture
def desk() -> Desk:
    prices.forget_book()
    lift_limits()
    make_work_order(max_concurrent_runs=50)  # $2.00 and 100 runs a day: $0.02 a run
    return Desk()


def settled(desk: Desk, usd: str, model: str = "nobody-knows", status: str = "success") -> Decimal:
    run = run_of(desk.start(usd=usd))
    report = admission.FinishTold(status=status, model=model, usage=USAGE)
    answer = body(admission.finish(UUID(run), report, caller=desk.caller))
    assert answer["costNote"] == "unpriced"
    assert not list(counters.differences())
    return Decimal(answer["costUsd"])


@pytest.mark.parametrize(
    ("usd", "cost"), [("0", "0.02"), ("0.001", "0.02"), ("0.02", "0.02"), ("0.50", "0.50")]
)
def test_the_reservation_or_the_floor(desk: Desk, usd: str, cost: str) -> None:
    assert settled(desk, usd) == Decimal(cost)


@pytest.mark.parametrize("status", ["error", "cancelled"])
def test_however_it_ended(desk: Desk, status: str) -> None:
    assert settled(desk, "0", status=status) == Decimal("0.02")


def test_what_runs_really_cost_once_that_is_known(desk: Desk, settings: Any) -> None:
    for _ in range(20):
        desk.finish(run_of(desk.start(usd="0.04")), "0.04")
    run = run_of(desk.start(usd="0.05"))
    report = admission.FinishTold(status="success", model="nobody-knows", usage=USAGE)
    assert body(admission.finish(UUID(run), report, caller=desk.caller))["costUsd"] == "0.05"
    settings.TOLLGATE_LIFT_ESTIMATES = False
    assert settled(desk, "0") == Decimal("0.04")


def test_three_in_a_row_use_the_cap(desk: Desk) -> None:
    assert [settled(desk, "0") for _ in range(3)] == [Decimal("0.02")] * 3
    assert Decimal(body(desk.start(usd="0"))["usage"]["usdToday"]) == Decimal("0.06")


def test_people_are_told_once_a_day_of_a_model_and_a_work_order(desk: Desk) -> None:
    make_work_order("w2")
    for _ in range(3):
        settled(desk, "0")
    (alert,) = Alert.objects.filter(kind="cost_unpriced")
    assert alert.message == (
        "Work order w1 used model nobody-knows, which has no price: its runs settle at their"
        " reservation, and at $0.02 at least. Enter a price."
    )
    assert alert.meta["severity"] == "warning"
    assert (alert.owner_type, alert.owner_id) == ("work_order", "w1")
    settled(desk, "0.30", model="another")
    assert Alert.objects.filter(kind="cost_unpriced").count() == 2
    run = run_of(desk.start("w2", usd="0"))
    report = admission.FinishTold(status="success", model="nobody-knows", usage=USAGE)
    admission.finish(UUID(run), report, caller=desk.caller)
    assert Alert.objects.filter(kind="cost_unpriced").count() == 3
    assert OperationsEvent.objects.filter(kind="COST_UNPRICED").count() == 3


def test_more_than_was_reserved_is_an_overrun(desk: Desk) -> None:
    settled(desk, "0.001")
    event = OperationsEvent.objects.get(kind="RUN_OVERRUN")
    assert event.meta["overrunUsd"] == "0.019"


def test_a_late_report_is_settled_in_the_same_way(desk: Desk) -> None:
    run = run_of(desk.start(usd="0"))
    row = Run.objects.get(pk=run)
    assert row.reserved_usd == 0
    report = admission.FinishTold(status="success", model="nobody-knows", usage=USAGE)
    admin = Desk(make_token(["admin"])[1])
    assert body(admission.finish(UUID(run), report, caller=admin.caller))["costUsd"] == "0.02"
    again = admission.finish(UUID(run), report, caller=admin.caller)
    assert again.replayed
    assert body(again)["costUsd"] == "0.02"


def test_the_floor_is_that_of_the_caps_in_force(desk: Desk) -> None:
    now = datetime.now(UTC)
    events.record("BREAK_GLASS", message="test", owner=("work_order", "w1"), actor="test")
    Grant.objects.create(
        wo_id="w1",
        measure="usd_per_day",
        value=Decimal("9.00"),
        starts_at=now - timedelta(minutes=1),
        ends_at=now + timedelta(minutes=30),
        kind=Grant.Kind.BREAK_GLASS,
        granted_by="test",
        person=make_user(),
        reason="test",
    )
    assert settled(desk, "0") == Decimal("0.09")
