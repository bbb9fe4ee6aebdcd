"""An ask that is refused changes nothing for anybody else: only committed dollars trip anything."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from budgets import tasks
from budgets.admission import counters, direct_spend
from budgets.approvals import corrections
from budgets.controls import breaker, features
from budgets.models import Alert, CircuitBreaker, DirectSpend, FeatureControl
from opslog.models import OperationsEvent
from tests.admission.desk import Desk, run_of, set_clock
from tests.factories import make_user, make_work_order, set_limit
from tests.guardrails.conftest import NOON
from workorders import directory

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def digest(desk: Desk) -> Desk:
    """A feature with a cost cap of $5 in any 60 minutes, of which one cent is used."""
    features.change("digest", {"cost_cap_usd": Decimal("5.00")}, reason="cap", by="ops")
    assert desk.start(usd="0.01", feature="digest").status == 201
    return desk


def spend(desk: Desk, usd: str) -> None:
    direct_spend.spend(
        caller=desk.caller, who=direct_spend.Attribution(feature="digest"), cost_usd=Decimal(usd)
    )


def on() -> bool:
    return FeatureControl.objects.get(feature="digest").enabled


def switched_off() -> int:
    return Alert.objects.filter(kind="feature_switched_off").count()


def test_an_ask_on_a_suspended_work_order_switches_nothing_off(digest: Desk) -> None:
    make_work_order("w2")
    directory.suspend("w2", by="ops", reason="test")
    decision = digest.start("w2", usd="7.00", feature="digest", confirm=True)
    assert (decision.status, decision.denial) == (429, "feature_rate")
    assert decision.error == "feature cost cap reached"
    assert OperationsEvent.objects.latest().kind == "RATE_LIMIT_429"
    assert on()
    assert switched_off() == 0
    assert digest.start(usd="0.01", feature="digest").status == 201


@pytest.mark.parametrize("how", ["too large", "unconfirmed", "over the cap", "unknown agent"])
def test_no_refused_ask_switches_a_feature_off(digest: Desk, how: str) -> None:
    ask = {"too large": ("w1", "6.00", True), "unconfirmed": ("w1", "5.01", False)}
    make_work_order("poor", usd_per_day="1.00")
    make_work_order("strict", usd_per_day="90.00", refuse_unknown_agents=True)
    ask |= {"over the cap": ("poor", "4.995", True), "unknown agent": ("strict", "5.00", True)}
    wo, usd, confirm = ask[how]
    assert digest.start(wo, usd=usd, feature="digest", confirm=confirm).denial == "feature_rate"
    assert on()


def test_an_extension_that_is_refused_switches_nothing_off(digest: Desk) -> None:
    run = run_of(digest.start(usd="0.01", feature="digest"))
    decision = digest.extend(run, "4.99")
    assert (decision.status, decision.denial) == (429, "feature_rate")
    assert on()
    assert digest.extend(run, "0.01").status == 200


def test_the_ask_that_uses_a_cost_cap_up_is_the_last(digest: Desk) -> None:
    run = run_of(digest.start(usd="4.98", feature="digest"))
    assert on()
    last = run_of(digest.start(usd="0.01", feature="digest"))  # $5.00 of $5.00
    assert not on()
    event = OperationsEvent.objects.filter(kind="FEATURE_SWITCHED_OFF").get()
    assert "$5.00 used" in event.message
    assert digest.start(usd="0", feature="digest").denial == "feature_off"
    assert digest.start(usd="0.01").status == 201
    for each in (run, last):
        assert digest.finish(each, "0.01").status == 200
    assert switched_off() == 1
    assert list(counters.differences()) == []


def test_an_extension_that_uses_a_cost_cap_up_is_the_last(digest: Desk) -> None:
    run = run_of(digest.start(usd="0.01", feature="digest"))
    assert digest.extend(run, "4.98").status == 200
    assert not on()
    assert digest.extend(run, "0.01").denial == "feature_off"


@pytest.mark.parametrize("how", ["overrun", "late", "spend", "correction", "corrected spend"])
def test_money_that_nobody_was_asked_about_uses_a_cost_cap_up(digest: Desk, how: str) -> None:
    run = run_of(digest.start(usd="0.10", feature="digest", lease_seconds=60))
    person = make_user("op", ["operations"])
    if how == "spend":
        spend(digest, "4.89")
    elif how == "corrected spend":
        spend(digest, "1.00")
        result = DirectSpend.objects.get()
        corrections.ask(
            "direct_spend",
            result.pk,
            Decimal("4.89"),
            seen=result.cost_usd,
            reason="a slip",
            by=person,
        )
    else:
        if how == "late":
            set_clock(NOON + timedelta(seconds=61))
            tasks.expire_leases()
        usd = "1.00" if how == "correction" else "4.99"
        digest.finish(run, usd)
        if how == "correction":
            corrections.ask(
                "run", UUID(run), Decimal("4.99"), seen=Decimal("1.00"), reason="a slip", by=person
            )
    assert not on()
    assert switched_off() == 1


def test_a_cap_that_was_lowered_below_what_is_committed_takes_effect(digest: Desk) -> None:
    digest.start(usd="3.00", feature="digest")
    features.change("digest", {"cost_cap_usd": Decimal("2.00")}, reason="less", by="ops")
    assert digest.start(usd="0.01", feature="digest").denial == "feature_off"
    assert not on()


def test_a_costly_ask_does_not_trip_the_breaker_for_the_others(desk: Desk) -> None:
    """It is the ask that is too large here, not what the minute has committed."""
    set_limit("global", "rolling_minute", "usd", "5.00")
    run = run_of(desk.start(usd="0.30"))
    for _ in range(3):
        decision = desk.start(usd="4.80")
        assert (decision.status, decision.denial) == (503, "breaker_open")
        assert decision.error == "$4.80 more does not fit into $5.00 a minute beside $0.30: wait"
        assert decision.retry_after is not None
        assert 0 < decision.retry_after <= 65
        assert desk.extend(run, "4.80").denial == "breaker_open"
    assert CircuitBreaker.objects.get(scope="global").state == "closed"
    assert desk.start(usd="0.10").status == 201


def test_a_runaway_trips_the_breaker(desk: Desk) -> None:
    """Sixty-two asks of eight cents are $4.96: the next would go over, and it is the pace."""
    set_limit("global", "rolling_minute", "usd", "5.00")
    denials = [desk.start(usd="0.08").denial for _ in range(63)]
    assert (denials.count(""), denials[-1]) == (62, "breaker_open")
    assert CircuitBreaker.objects.get(scope="global").state == "open"


def test_refused_asks_of_one_do_not_cost_another_anything(desk: Desk) -> None:
    """Ten kinds of refusal; the state of every switch is what it was."""
    features.change("digest", {"cost_cap_usd": Decimal("1.00")}, reason="cap", by="ops")
    set_limit("global", "rolling_minute", "usd", "5.00")
    set_limit("user", "day", "usd", "1.00")
    make_work_order("poor", usd_per_day="0.10", runs_per_day=1)
    before = list(FeatureControl.objects.values()), list(CircuitBreaker.objects.values())
    for ask in (
        {"usd": "4.90", "feature": "digest"},
        {"usd": "4.90", "wo": "poor"},
        {"usd": "4.90", "user_id": "u"},
        {"usd": "5.10"},
        {"usd": "5.10", "confirm": True, "user_id": "u"},
        {"usd": None, "model": "nobody-knows"},
    ):
        assert desk.start(**ask).status >= 400
    assert (list(FeatureControl.objects.values()), list(CircuitBreaker.objects.values())) == before
    breaker.trip("global", "", reason="test", by="ops")
    assert desk.start(usd="4.90", feature="digest").denial == "breaker_open"
    assert list(FeatureControl.objects.values()) == before[0]
