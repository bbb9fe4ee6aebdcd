"""The probe of a half-open breaker has a minute of its own, however long its lease is."""

from datetime import timedelta
from decimal import Decimal

import pytest

from budgets.admission import counters
from budgets.controls import breaker
from budgets.models import Alert, CircuitBreaker
from opslog.models import OperationsEvent
from tests.admission.desk import Desk, run_of, set_clock
from tests.factories import make_work_order, set_limit
from tests.guardrails.conftest import NOON

pytestmark = pytest.mark.usefixtures("committed_db")

DAY = 86_400
HALF_OPEN = NOON + timedelta(seconds=300)


def at(seconds: int) -> None:
    """So many seconds after the breaker may be probed."""
    set_clock(HALF_OPEN + timedelta(seconds=seconds))


def state() -> str:
    return CircuitBreaker.objects.get(scope="global").state


@pytest.fixture
def probing(desk: Desk) -> tuple[Desk, str]:
    """Half-open, with a probe that has a lease of a day."""
    breaker.trip("global", "", reason="test", by="ops")
    at(0)
    return desk, run_of(desk.start(usd="0.01", lease_seconds=DAY))


def test_a_probe_that_never_reports_is_replaced_after_a_minute(probing: tuple[Desk, str]) -> None:
    desk, _ = probing
    at(1)
    decision = desk.start(usd="0.01")
    assert (decision.status, decision.denial, decision.retry_after) == (503, "breaker_open", 5)
    at(59)
    decision = desk.start(usd="0.01")
    assert (decision.denial, decision.retry_after) == ("breaker_open", 1)
    assert desk.start(usd="0.01", dry_run=True).body.count("refuse") == 1
    at(60)
    assert '"admit"' in desk.start(usd="0.01", dry_run=True).body
    second = desk.start(usd="0.01", lease_seconds=DAY)
    assert second.status == 201
    assert state() == "half_open"
    assert desk.start(usd="0.01").denial == "breaker_open"  # one at a time
    at(119)
    assert desk.start(usd="0.01").denial == "breaker_open"
    at(120)
    third = desk.start(usd="0.01")
    assert third.status == 201
    desk.finish(run_of(third), "0.01")
    assert state() == "closed"
    assert Alert.objects.filter(kind="breaker_half_open").count() == 1
    assert OperationsEvent.objects.filter(kind="BREAKER_HALF_OPEN").count() == 3
    assert list(counters.differences()) == []


def test_a_probe_that_succeeds_late_closes_all_the_same(probing: tuple[Desk, str]) -> None:
    """Where every run takes longer than a minute, the breaker would never close otherwise."""
    desk, first = probing
    at(60)
    second = run_of(desk.start(usd="0.01"))
    at(90)
    desk.finish(first, "0.01")
    assert state() == "closed"
    assert desk.finish(second, "0.01", "error").status == 200
    assert state() == "closed"


def test_a_replaced_probe_that_fails_decides_nothing(probing: tuple[Desk, str]) -> None:
    desk, first = probing
    at(60)
    second = run_of(desk.start(usd="0.01"))
    desk.finish(first, "0.01", "error")
    assert state() == "half_open"
    desk.finish(second, "0.01", "error")
    assert state() == "open"


def test_a_run_from_before_is_no_probe(desk: Desk) -> None:
    before = run_of(desk.start(usd="0.01", lease_seconds=DAY))
    breaker.trip("global", "", reason="test", by="ops")
    at(0)
    desk.start(usd="0.01")
    desk.finish(before, "0.01")
    assert state() == "half_open"


def test_a_probe_of_another_work_order_proves_nothing(desk: Desk) -> None:
    make_work_order("w2")
    breaker.trip("work_order", "w1", reason="test", by="ops")
    at(0)
    desk.start(usd="0.01", lease_seconds=DAY)
    at(30)
    desk.finish(run_of(desk.start("w2", usd="0.01")), "0.01")
    assert CircuitBreaker.objects.get(subject="w1").state == "half_open"
    at(60)
    desk.finish(run_of(desk.start(usd="0.01")), "0.01")
    assert CircuitBreaker.objects.get(subject="w1").state == "closed"


def test_the_deadline_is_a_row(desk: Desk) -> None:
    row = CircuitBreaker.objects.get(scope="global")
    breaker.set_rules(
        row.pk,
        open_seconds=300,
        probe_seconds=10,
        recent_runs=None,
        error_percent=None,
        reason="short runs",
        by="ops",
    )
    assert OperationsEvent.objects.latest().kind == "BREAKER_SETTINGS_CHANGE"
    breaker.trip("global", "", reason="test", by="ops")
    at(0)
    desk.start(usd="0.01", lease_seconds=DAY)
    at(9)
    assert desk.start(usd="0.01").denial == "breaker_open"
    at(10)
    assert desk.start(usd="0.01").status == 201


@pytest.mark.parametrize("half_open", [False, True])
def test_a_clock_that_was_ahead_keeps_no_breaker_open(desk: Desk, half_open: bool) -> None:
    """It tripped, and its probe began, two hours from now: an hour later is still before that."""
    set_limit("global", "rolling_minute", "usd", "5.00")
    set_clock(NOON + timedelta(hours=2))
    breaker.trip("global", "", reason="test", by="ops")
    if half_open:
        set_clock(NOON + timedelta(hours=2, seconds=300))
        assert desk.start(usd="0.01", lease_seconds=DAY).status == 201
    set_clock(NOON)
    probe = desk.start(usd="0.01")
    assert probe.status == 201
    assert desk.start(usd="0.01").denial == "breaker_open"
    desk.finish(run_of(probe), Decimal("0.01"))
    assert state() == "closed"
