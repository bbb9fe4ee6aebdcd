"""A wrong cost is counted, reported, and put right by people, with all that followed from it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.db import Error, transaction
from django.utils import timezone

from budgets import approvals, tasks
from budgets.admission import Caller, counters, direct_spend
from budgets.approvals import corrections
from budgets.controls import breaker, features
from budgets.exceptions import Conflict, Refused
from budgets.models import (
    Alert,
    CircuitBreaker,
    CostCorrection,
    CostRule,
    Counter,
    DirectSpend,
    FeatureControl,
    Measure,
    RunCharge,
)
from opslog.models import OperationsEvent, OutboxMessage
from tests import factories
from tests.admission.desk import Desk, run_of, set_clock
from tests.factories import set_limit
from tests.guardrails.conftest import NOON
from tests.trail import meta_of, trail
from workorders import tokens
from workorders.models import Run, ServiceToken

pytestmark = pytest.mark.usefixtures("committed_db")


def person(name: str) -> User:
    return factories.make_user(name, ["operations"])


@pytest.fixture
def ops() -> User:
    return person("ops")


@pytest.fixture
def admin_desk(desk: Desk) -> Desk:
    """A token whose word is taken for any cost."""
    factories.make_work_order("w2", runs_per_day=1000, usd_per_day="1000000.00")
    return Desk(factories.make_token(["start", "admin"], name="root")[1])


def correct(run: str, new: str, by: User, of: str = "run") -> CostCorrection:
    seen = corrections.cost_of(of, UUID(run))
    return corrections.ask(of, UUID(run), Decimal(new), seen=seen, reason="a slip", by=by)


def agree() -> None:
    assert list(counters.differences()) == []


def spent(scope: str = "global", window: str = "day") -> Decimal:
    return sum(
        (c.settled_usd for c in Counter.objects.filter(scope=scope, window=window)), Decimal()
    )


def test_at_once_and_everywhere(desk: Desk, ops: User) -> None:
    for window in ("rolling_minute", "minute", "rolling_hour", "hour", "day", "month"):
        set_limit("user", window, "usd", "100000")
        set_limit("global", window, "usd", "100000")
    run = run_of(desk.start(usd="0.50", user_id="ann"))
    assert desk.finish(run, "42.00").status == 200
    agree()
    assert spent() == 42
    made = correct(run, "0.42", ops)
    assert made.status == "applied"
    assert Run.objects.get(pk=run).cost == Decimal("0.42")
    assert Run.objects.get(pk=run).cost_note == "corrected"
    for window in ("rolling_minute", "minute", "rolling_hour", "hour", "day", "month"):
        assert (spent("user", window), spent("global", window)) == (Decimal("0.42"),) * 2, window
    agree()
    event = OperationsEvent.objects.get(kind="COST_CORRECTED")
    assert (event.actor, event.owner_id, event.meta["runId"]) == ("ops", "w1", run)
    assert (event.meta["before"], event.meta["after"]) == ("42.00", "0.42")
    assert event.meta["reason"] == "a slip"


@pytest.mark.parametrize("new", ["0", "0.10", "0.90", "1.30", "2.00", "30.00"])
def test_with_extensions_and_later(desk: Desk, ops: User, new: str) -> None:
    """Charged to other hours than the start's; and limits that were made after the run ended."""
    for window in ("minute", "hour", "day", "month"):
        set_limit("agent", window, "usd", "100000")
        set_limit("global", window, "usd", "100000")
    run = run_of(desk.start(usd="0.50"))
    set_clock(NOON + timedelta(minutes=5))
    assert desk.extend(run, "0.50", lease=7200).status == 200
    set_clock(NOON + timedelta(minutes=70))
    assert desk.extend(run, "0.25").status == 200
    set_clock(NOON + timedelta(minutes=110))
    assert desk.finish(run, "3.00").status == 200
    agree()
    set_limit("team", "day", "usd", "5")
    set_limit("model", "day", "usd", "5")
    set_limit("user", "hour", "usd", "5")
    set_clock(NOON + timedelta(minutes=125))
    assert correct(run, new, ops).status == "applied"
    agree()
    assert spent() == Decimal(new)
    assert correct(run, "1.10", ops).status == "applied"
    agree()
    assert sum(c.settled_usd or 0 for c in RunCharge.objects.all()) == Decimal("0.60")


def test_direct_spend(admin_desk: Desk, ops: User) -> None:
    for window in ("minute", "hour", "day", "month"):
        set_limit("user", window, "usd", "100000")
    caller = Caller(tokens.digest(admin_desk.token), "127.0.0.1")
    direct_spend.spend(
        caller=caller, who=direct_spend.Attribution(user_id="ann"), cost_usd=Decimal("30")
    )
    spend = str(DirectSpend.objects.get().pk)
    assert correct(spend, "0.30", ops, of="direct_spend").status == "applied"
    assert DirectSpend.objects.get().cost_usd == Decimal("0.30")
    assert spent() == Decimal("0.30")
    agree()


def test_over_fifty_dollars_a_second_person_confirms(admin_desk: Desk, ops: User) -> None:
    run = run_of(admin_desk.start(wo="w2", usd="0.50"))
    admin_desk.finish(run, "4200.00")
    second = person("ops2")
    made = correct(run, "0.42", ops)
    assert made.status == "pending"
    assert spent() == 4200
    message = OutboxMessage.objects.get(topic="cost_correction")
    assert message.recipient_label == "ops2"
    with pytest.raises(Conflict, match="waits"):
        correct(run, "0.43", second)
    with pytest.raises(Refused, match="second person"):
        corrections.decide(made.pk, approve=True, by=ops, note="me again")
    with pytest.raises(Refused, match="operations"):
        corrections.decide(made.pk, approve=True, by=factories.make_user("x"), note="n")
    about = f"cost_correction {made.pk}"
    requested = ("COST_CORRECTION_REQUESTED", about, "ops")
    assert trail("COST_CORRECTION_") == [requested]
    facts = {"runId": run, "before": "4200.00", "after": "0.42", "reason": "a slip"}
    assert facts.items() <= meta_of("COST_CORRECTION_REQUESTED").items()
    done = corrections.decide(made.pk, approve=True, by=second, note="seen the bill")
    assert done.status == "applied"
    assert spent() == Decimal("0.42")
    corrected = ("COST_CORRECTED", "work_order w2", "ops, ops2")
    assert trail("COST_CORRECTION_", "COST_CORRECTED") == [requested, corrected]
    with pytest.raises(Conflict, match="already"):
        corrections.decide(made.pk, approve=True, by=second, note="again")
    agree()


def test_the_owner_of_the_token_confirms_nothing(admin_desk: Desk, ops: User) -> None:
    owner = person("owner")
    desk = Desk(factories.make_token(["start"], owner=owner)[1])
    run = run_of(desk.start(usd="0.50"))
    desk.finish(run, "90.00")
    made = correct(run, "0.42", ops)
    with pytest.raises(Refused, match="yours"):
        corrections.decide(made.pk, approve=True, by=owner, note="n")
    assert (
        corrections.decide(made.pk, approve=False, by=owner, note="it is true").status == "refused"
    )
    assert Run.objects.get(pk=run).cost == 90
    about = f"cost_correction {made.pk}"
    assert trail("COST_CORRECTION_") == [
        ("COST_CORRECTION_REQUESTED", about, "ops"),
        ("COST_CORRECTION_REFUSED", about, "owner"),
    ]
    assert meta_of("COST_CORRECTION_REFUSED")["after"] == "0.42"


def test_a_cost_that_changed_meanwhile_is_not_corrected(admin_desk: Desk, ops: User) -> None:
    run = run_of(admin_desk.start(wo="w2", usd="0.50"))
    admin_desk.finish(run, "4200.00")
    made = correct(run, "0.42", ops)
    Run.objects.using("owner").filter(pk=run).update(cost=Decimal(4100))
    done = corrections.decide(made.pk, approve=True, by=person("ops2"), note="seen the bill")
    assert done.status == "stale"
    about = f"cost_correction {made.pk}"
    assert trail("COST_CORRECTION_") == [
        ("COST_CORRECTION_REQUESTED", about, "ops"),
        ("COST_CORRECTION_STALE", about, "ops2"),
    ]


def test_whose_membership_does_not_count_yet_confirms_nothing(desk: Desk, ops: User) -> None:
    run = run_of(desk.start(usd="0.50"))
    desk.finish(run, "99.00")
    made = correct(run, "0.42", ops)
    new = factories.make_user("new")
    factories.join(new, "operations", counts_from=timezone.now() + timedelta(hours=1))
    with pytest.raises(Refused, match="does not count"):
        corrections.decide(made.pk, approve=True, by=new, note="n")


def test_the_maker_of_the_token_confirms_nothing(admin_desk: Desk, ops: User) -> None:
    maker = person("maker")
    text = factories.make_token(["start"], owner=person("owner"), created_by=maker)[1]
    desk = Desk(text)
    run = run_of(desk.start(usd="0.50"))
    desk.finish(run, "90.00")
    with pytest.raises(Refused, match="yours"):
        corrections.decide(correct(run, "0.42", ops).pk, approve=True, by=maker, note="n")


def test_many_small_steps_are_a_large_one(desk: Desk, ops: User) -> None:
    run = run_of(desk.start(usd="0.50"))
    desk.finish(run, "99.00")
    assert correct(run, "60.00", ops).status == "applied"
    assert correct(run, "20.00", ops).status == "pending"


@pytest.mark.parametrize("new", ["-1", "1000001", "42.00"])
def test_what_is_no_correction(desk: Desk, ops: User, new: str) -> None:
    run = run_of(desk.start(usd="0.50"))
    with pytest.raises(Refused, match="not ended"):
        correct(run, "0.10", ops)
    desk.finish(run, "42.00")
    with pytest.raises(Refused):
        correct(run, new, ops)
    with pytest.raises(Refused, match="operations"):
        correct(run, "0.10", factories.make_user("nobody"))
    with pytest.raises(Conflict):
        corrections.ask("run", UUID(run), Decimal(1), seen=Decimal(41), reason="r", by=ops)


# What tripped because of it


def limited(desk: Desk, amount: str) -> None:
    set_limit("global", "rolling_minute", "usd", amount)


def global_breaker() -> CircuitBreaker:
    return CircuitBreaker.objects.get(scope="global")


def test_a_breaker_that_tripped_on_it_alone_closes(desk: Desk, ops: User) -> None:
    limited(desk, "5.00")
    run = run_of(desk.start(usd="0.50"))
    desk.finish(run, "42.00")
    assert global_breaker().state == "open"
    assert desk.start().denial == "breaker_open"
    correct(run, "0.42", ops)
    assert global_breaker().state == "closed"
    assert Alert.objects.filter(kind="breaker_closed").exists()
    assert desk.start(usd="0.10").status == 201


def test_one_that_would_have_tripped_anyway_stays_open(desk: Desk, ops: User) -> None:
    limited(desk, "5.00")
    other, run = run_of(desk.start(usd="0.50")), run_of(desk.start(usd="0.50"))
    desk.finish(other, "4.90")
    desk.finish(run, "42.00")
    correct(run, "0.42", ops)
    assert global_breaker().state == "open"


def test_one_that_a_person_tripped_stays_open(desk: Desk, ops: User) -> None:
    run = run_of(desk.start(usd="0.50"))
    desk.finish(run, "42.00")
    breaker.trip("global", "", reason="a drill", by="ops")
    correct(run, "0.42", ops)
    assert global_breaker().state == "open"


def test_a_feature_that_it_switched_off_is_on_again(desk: Desk, ops: User) -> None:
    features.change("chat", {"cost_cap_usd": Decimal("5.00")}, reason="r", by="ops")
    run = run_of(desk.start(usd="0.50", feature="chat"))
    desk.finish(run, "42.00")
    assert desk.start(usd="0.10", feature="chat").denial == "feature_off"
    assert not FeatureControl.objects.get().enabled
    correct(run, "0.42", ops)
    assert FeatureControl.objects.get().enabled
    assert desk.start(usd="0.10", feature="chat").status == 201


def test_a_feature_that_a_person_switched_off_stays_off(desk: Desk, ops: User) -> None:
    features.change("chat", {"cost_cap_usd": Decimal("5.00")}, reason="r", by="ops")
    run = run_of(desk.start(usd="0.50", feature="chat"))
    desk.finish(run, "42.00")
    features.change("chat", {"enabled": False}, reason="r", by="ops")
    correct(run, "0.42", ops)
    assert not FeatureControl.objects.get().enabled


# Notices, and the ceiling


def test_a_cost_far_above_its_reservation_is_critical(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.50"))
    desk.finish(run, "42.00")
    alert = Alert.objects.get(kind="cost_surprise")
    assert (alert.severity, alert.owner_type, alert.owner_id) == ("critical", "run", run)
    token = ServiceToken.objects.get(digest=tokens.digest(desk.token))
    for word in ("42.00", "0.50", token.name, token.owner.get_username(), run):
        assert word in alert.message
    assert alert.meta["tokenId"] == token.pk
    assert trail("COST_") == [("COST_SURPRISE", f"run {run}", "tollgate")]
    facts = {"runId": run, "costUsd": "42.00", "reservedUsd": "0.50", "owner": "svc"}
    assert facts.items() <= meta_of("COST_SURPRISE").items()
    assert spent() == 42  # it counts: the money may be gone


@pytest.mark.parametrize(
    ("reserved", "cost"), [("0.40", "9.99"), ("2.20", "43.00"), ("0.50", "0.60")]
)
def test_one_that_is_merely_above_is_not(desk: Desk, reserved: str, cost: str) -> None:
    desk.finish(run_of(desk.start(usd=reserved)), cost)
    assert not Alert.objects.filter(kind="cost_surprise").exists()


def test_the_row_says_when(desk: Desk) -> None:
    corrections.set_rule(by="root", reason="r", alert_times=2, alert_over_usd=Decimal(1))
    assert OperationsEvent.objects.filter(kind="COST_RULE_CHANGE").exists()
    desk.finish(run_of(desk.start(usd="0.50")), "1.10")
    assert Alert.objects.filter(kind="cost_surprise").count() == 1
    with pytest.raises(Error), transaction.atomic():
        CostRule.objects.update(alert_times=0)


def spend(desk: Desk, usd: str) -> Any:
    caller = Caller(tokens.digest(desk.token), "127.0.0.1")
    return direct_spend.spend(caller=caller, who=direct_spend.Attribution(), cost_usd=Decimal(usd))


def test_direct_spend_is_told_of(desk: Desk) -> None:
    spend(desk, "10.00")
    assert not Alert.objects.filter(kind="cost_surprise").exists()
    spend(desk, "10.01")
    alert = Alert.objects.get(kind="cost_surprise")
    assert (alert.owner_type, alert.owner_id) == (
        "direct_spend", str(DirectSpend.objects.get(cost_usd__gt=10).pk)
    )  # fmt: skip


def test_a_token_has_a_ceiling(desk: Desk, admin_desk: Desk) -> None:
    run = run_of(desk.start(usd="0.50"))
    refused = desk.finish(run, "1000000")
    assert (refused.status, refused.denial) == (403, "cost_ceiling")
    assert Run.objects.get(pk=run).status == "running"
    assert spent() == 0
    alert = Alert.objects.get(kind="cost_refused")
    assert (alert.severity, alert.owner_id) == ("critical", run)
    assert desk.finish(run, "1000000").denial == "cost_ceiling"
    assert Alert.objects.filter(kind="cost_refused").count() == 1  # sent once a day
    assert trail("COST_") == [("COST_REFUSED", f"run {run}", "tollgate")]
    assert meta_of("COST_REFUSED")["costUsd"] == "1000000.00"
    assert spend(desk, "100.01").denial == "cost_ceiling"
    assert not DirectSpend.objects.exists()
    assert spend(desk, "100.00").status == 200
    # No money is lost: an admin finishes it, or its lease does.
    assert admin_desk.finish(run, "120.00").status == 200
    agree()


def test_its_lease_settles_what_was_refused(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.50"))
    assert desk.finish(run, "500").denial == "cost_ceiling"
    set_clock(NOON + timedelta(hours=1))
    assert tasks.expire_leases() == 1
    assert Run.objects.get(pk=run).cost == Decimal("0.50")
    assert desk.finish(run, "500").denial == "cost_ceiling"
    agree()


def test_a_corrected_run_is_not_finished_over(desk: Desk, ops: User) -> None:
    run = run_of(desk.start(usd="0.50"))
    set_clock(NOON + timedelta(hours=1))
    tasks.expire_leases()
    correct(run, "0.20", ops)
    assert desk.finish(run, "9.00").denial == "run_ended"
    agree()


def test_the_ceiling_rises_by_approval_alone(desk: Desk) -> None:
    token = ServiceToken.objects.get(digest=tokens.digest(desk.token))
    with pytest.raises(Error), transaction.atomic():
        ServiceToken.objects.filter(pk=token.pk).update(max_run_usd=500)
    ServiceToken.objects.filter(pk=token.pk).update(max_run_usd=50)
    request = approvals.ask(
        str(token.pk), kind="service_token", new={Measure.MAX_RUN_USD: Decimal(200)},
        justification="large batches", expected_cost_impact="$1 a day", by=person("ops"),
    )  # fmt: skip
    needed = [factories.make_user(name, [name]) for name in ("finance", "vp")]
    for user in needed:
        approvals.decide(
            request.pk, by=user, decision="approve", comment="c", seen_revision=1,
            password_confirmed=True,
        )  # fmt: skip
    assert ServiceToken.objects.get(pk=token.pk).max_run_usd == 200
    run = run_of(desk.start(usd="0.50"))
    assert desk.finish(run, "150.00").status == 200


def test_whose_token_it_is_does_not_raise_its_ceiling(desk: Desk) -> None:
    owner, maker = factories.make_user("finance", ["finance"]), factories.make_user("vp", ["vp"])
    token, _ = factories.make_token(owner=owner, created_by=maker)
    request = approvals.ask(
        str(token.pk), kind="service_token", new={Measure.MAX_RUN_USD: Decimal(200)},
        justification="large batches", expected_cost_impact="$1 a day", by=person("ops"),
    )  # fmt: skip
    for user in (owner, maker):
        with pytest.raises(Refused, match="the token it is about"):
            approvals.decide(
                request.pk, by=user, decision="approve", comment="c", seen_revision=1,
                password_confirmed=True,
            )  # fmt: skip


def test_who_may() -> None:
    holders = Permission.objects.get(codename="correct_cost").group_set
    assert set(holders.values_list("name", flat=True)) == {"operations"}
