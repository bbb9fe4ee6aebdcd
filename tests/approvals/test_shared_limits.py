"""Raising what many work orders share: asked for, judged by its daily equivalent, applied once."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from budgets import approvals
from budgets.admin import raising
from budgets.approvals import rules
from budgets.approvals.needs import slots_of
from budgets.controls import features, limits
from budgets.exceptions import Conflict, Refused
from budgets.models import Budget, ChangeRequest, FeatureControl
from opslog.models import OperationsEvent, OutboxMessage
from opslog.telemetry import change_markers
from tests.approvals.people import decide, everybody
from tests.factories import make_user, make_work_order, set_limit

Status = ChangeRequest.Status


@pytest.fixture
def people(db: None) -> dict[str, User]:
    return everybody()


def limit(scope: str, window: str, measure: str) -> Budget:
    return Budget.objects.get(scope=scope, window=window, measure=measure)


def ask(people: dict[str, User], budget: Budget, amount: str) -> ChangeRequest:
    return approvals.ask(
        str(budget.pk),
        kind="budget",
        new={"shared_limit": Decimal(amount)},
        justification="quarter end",
        expected_cost_impact="$1 a day",
        by=people["asker"],
    )


@pytest.mark.parametrize(
    ("amount", "window", "a_day"),
    [
        ("5", "rolling_minute", "7200.00"),
        ("0.01", "minute", "14.40"),
        ("0.41", "rolling_hour", "9.84"),
        ("10", "hour", "240.00"),
        ("50.01", "day", "50.01"),
        ("300", "month", "10.00"),
        ("300.01", "month", "10.01"),  # rounded up: a boundary is not slipped under
    ],
)
def test_the_daily_equivalent(amount: str, window: str, a_day: str) -> None:
    assert rules.daily_equivalent(Decimal(amount), window) == Decimal(a_day)


@pytest.mark.parametrize(
    ("scope", "window", "measure", "amount", "needed"),
    [
        ("global", "day", "usd", "50.01", {"finance": 1, "vp": 1}),
        ("global", "rolling_hour", "usd", "10.01", {"finance": 1, "vp": 1}),
        ("global", "rolling_minute", "usd", "5.01", {"finance": 1, "vp": 1}),
        ("team", "day", "usd", "9.99", {"operations": 1}),
        ("team", "day", "usd", "10.00", {"director": 1}),
        ("team", "day", "usd", "50.00", {"director": 1}),
        ("team", "month", "usd", "299.00", {"operations": 1}),
        ("team", "month", "usd", "300.00", {"director": 1}),
        ("user", "rolling_minute", "requests", "61", {"director": 1}),
        ("user", "day", "tokens", "100001", {"director": 1}),
        ("global", "open", "runs", "21", {"director": 1}),
    ],
)
def test_who_signs(
    people: dict[str, User], scope: str, window: str, measure: str, amount: str, needed: object
) -> None:
    if scope == "team":
        set_limit("team", window, measure, "1.00")
    request = ask(people, limit(scope, window, measure), amount)
    assert slots_of(request) == needed


def test_the_last_signature_raises_it(people: dict[str, User]) -> None:
    day = limit("global", "day", "usd")
    request = ask(people, day, "60.00")
    assert approvals.needs_password(request)
    messages = OutboxMessage.objects.filter(topic="cap_change_asked")
    assert {each.recipient_label for each in messages} == {"finance", "vp"}
    decide(request, people["finance"])
    day.refresh_from_db()
    assert day.amount == 50
    assert decide(request, people["vp"]).status == Status.APPLIED
    day.refresh_from_db()
    assert day.amount == 60
    event = OperationsEvent.objects.get(kind="LIMIT_RAISED")
    assert event.meta["changes"] == {"amount": {"old": 50, "new": 60}}
    assert event.meta["approvers"] == ["finance", "vp"]
    assert (event.meta["reason"], event.owner_type) == ("quarter end", "budget")
    assert "woId" not in event.meta
    by_trigger = OperationsEvent.objects.get(kind="LIMIT_CHANGE")
    assert (by_trigger.actor, by_trigger.meta["reason"]) == ("finance, vp", "quarter end")


def test_a_limit_that_was_lowered_meanwhile_makes_it_stale(people: dict[str, User]) -> None:
    users = limit("user", "day", "tokens")
    request = ask(people, users, "200000")
    limits.lower(users.pk, Decimal(50_000), reason="abuse", by="ops")
    assert decide(request, people["director"]).status == Status.STALE
    users.refresh_from_db()
    assert users.amount == 50_000


def test_the_charts_of_a_limit_have_the_changes(people: dict[str, User]) -> None:
    now = timezone.now()
    change_markers.record_change(
        kind="deploy", what="chat 2.0", by="ops", now=now, happened_at=now - timedelta(days=3)
    )
    about = ChangeRequest(subject_type="budget", subject_id=str(limit("global", "day", "usd").pk))
    charts = raising.shown(about)["charts"]
    assert charts
    assert all([mark.text for mark in chart.marks] == ["deploy: chat 2.0"] for _, chart in charts)


def test_what_is_not_asked_for(people: dict[str, User]) -> None:
    day = limit("global", "day", "usd")
    for amount, reason in (("40.00", "on its own page"), ("50.00", "Nothing would change"),
                           ("60.001", "multiple of 0.01")):  # fmt: skip
        with pytest.raises(Refused, match=reason):
            ask(people, day, amount)
    with pytest.raises(Refused, match="multiple of 1,"):
        ask(people, limit("user", "day", "tokens"), "200000.50")
    with pytest.raises(Refused, match="limits nothing now"):
        ask(people, limit("global", "month", "usd"), "900.00")
    with pytest.raises(Refused, match="no such limit"):
        approvals.ask(
            str(day.pk), kind="budget", new={"runs_per_day": 5},
            justification="x", expected_cost_impact="$1 a day",
            by=people["asker"],
        )  # fmt: skip
    ask(people, day, "60.00")
    with pytest.raises(Conflict, match="this limit"):
        ask(people, day, "70.00")


def test_it_is_not_taken_for_a_work_order_of_the_same_name(people: dict[str, User]) -> None:
    day = limit("global", "day", "usd")
    make_work_order(str(day.pk))
    approvals.ask(
        str(day.pk),
        new={"usd_per_day": Decimal(5)},
        justification="x",
        expected_cost_impact="$1 a day",
        by=people["asker"],
    )
    ask(people, day, "60.00")
    assert ChangeRequest.objects.filter(subject_id=str(day.pk), status="pending").count() == 2


def test_the_limits_of_a_feature(people: dict[str, User]) -> None:
    features.change(
        "chat", {"requests_per_period": 60, "cost_cap_usd": Decimal("1.00")}, reason="x", by="ops"
    )
    control = FeatureControl.objects.get()
    request = approvals.ask(
        str(control.pk),
        kind="feature",
        new={"feature_throttle": 120, "feature_cost_cap": Decimal("2.00")},
        justification="a launch",
        expected_cost_impact="$1 a day",
        by=people["asker"],
    )
    # $2.00 in any hour is $48.00 a day: a director; so is any other limit.
    assert slots_of(request) == {"director": 1}
    assert decide(request, people["director"]).status == Status.APPLIED
    control.refresh_from_db()
    assert (control.requests_per_period, control.cost_cap_usd) == (120, Decimal("2.00"))
    assert (control.reason, control.changed_by) == ("a launch", "director")
    features.change("free", {}, reason="x", by="ops")
    free = FeatureControl.objects.get(feature="free")
    with pytest.raises(Refused, match="no throttle"):
        approvals.ask(
            str(free.pk), kind="feature", new={"feature_throttle": 1},
            justification="x", expected_cost_impact="$1 a day",
            by=people["asker"],
        )  # fmt: skip


def test_a_requester_does_not_sign(people: dict[str, User]) -> None:
    boss = make_user("boss", groups=["director"])
    request = approvals.ask(
        str(limit("user", "day", "tokens").pk),
        kind="budget",
        new={"shared_limit": Decimal(200_000)},
        justification="x",
        expected_cost_impact="$1 a day",
        by=boss,
    )
    with pytest.raises(Refused, match="own request"):
        decide(request, boss)
