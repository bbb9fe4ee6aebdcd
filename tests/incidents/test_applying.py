"""What an incident proposes is applied through the controls, recorded with it, and ends in time."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from budgets import approvals
from budgets.controls import features, kill_switch, mitigations, permitting
from budgets.exceptions import Refused
from budgets.models import (
    ChangeRequest,
    FeatureControl,
    KillSwitch,
)
from opslog.exceptions import NotAllowedNow
from opslog.incidents.finding import Parts, Suspect
from opslog.incidents.postmortem import markdown
from opslog.incidents.tightening import is_set, tightened
from opslog.models import Incident, Mitigation, OperationsEvent
from tests.factories import make_user, make_work_order
from tests.incidents.findings import NOW, WHY, proposal, spike
from tests.trail import meta_of, trail
from workorders.models import WorkOrder


def apply(incident: Incident, lever: str, by: User, **changed: Any) -> str:
    outcome = mitigations.apply(proposal(incident, lever).pk, changed, reason=WHY, by=by, now=NOW)
    assert outcome.applied
    return outcome.text


def test_the_control_is_changed_and_the_incident_told(olga: User) -> None:
    incident = spike()
    result = apply(incident, "throttle", olga)
    control = FeatureControl.objects.get(feature="summaries")
    assert (control.requests_per_period, control.period) == (10, "rolling_hour")
    assert "requests per period none → 10" in result
    incident.refresh_from_db()
    mitigation = proposal(incident, "throttle")
    assert (incident.state, mitigation.state, mitigation.applied_by) == (
        "mitigating",
        "applied",
        "olga",
    )
    change = OperationsEvent.objects.get(kind="FEATURE_CHANGE")
    events = OperationsEvent.objects.get(kind="INCIDENT_MITIGATED")
    assert (change.actor, change.meta["reason"]) == ("olga", WHY)
    assert events.meta["values"] == {"requests_per_period": 10, "period": "rolling_hour"}
    assert result in incident.entries.get(kind="mitigation").text


def test_a_value_may_be_typed_over(olga: User) -> None:
    incident = spike()
    apply(incident, "throttle", olga, requests_per_period=4, enabled=False)
    control = FeatureControl.objects.get()
    assert (control.requests_per_period, control.enabled) == (4, True)  # only what is proposed
    # … and it is shown as it was set, wherever it is shown.
    text = incident.entries.get(kind="mitigation").text
    assert "Throttle, summaries: period rolling_hour, requests per period 4." in text
    assert "10 an hour" not in text
    assert proposal(incident, "throttle").summary in markdown(
        Incident.objects.get(), incident.entries.all(), incident.mitigations.all()
    ).replace("\\", "")


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize(
    ("lever", "label", "now", "then"),
    [
        (
            "undo_rate",
            "Limit undo to 3 a minute",
            {"undo_rate_limit": 20},
            {"undo_rate_limit": 3, "undo_rate_period": "minute"},
        ),
        (
            "auto_save",
            "Auto-save every 30,000 ms",
            {"auto_save_interval_ms": 5_000},
            {"auto_save_interval_ms": 30_000},
        ),
        ("tool_retries", "At most 2 retries", {"max_tool_retries": 5}, {"max_tool_retries": 2}),
    ],
)
def test_what_the_label_says_is_set(
    olga: User, lever: str, label: str, now: dict[str, Any], then: dict[str, Any], registered: bool
) -> None:
    """On a feature that nobody has registered, whose levers have these defaults, too."""
    if registered:
        features.change("summaries", now, reason=WHY, by="ops")
    incident = spike(cause="hidden_recompute", parts=RECOMPUTE)
    assert proposal(incident, lever).label == label
    apply(incident, lever, olga)
    assert FeatureControl.objects.filter(**then).exists()


def test_a_step_tighter_is_told_as_it_was_set(olga: User) -> None:
    """The runbook says 10 messages; the control did already, so 5 are proposed, and set."""
    features.change("summaries", {"max_context_messages": 10}, reason=WHY, by="ops")
    incident = spike()
    assert proposal(incident, "context_messages").label == "Send the last 5 messages only"
    apply(incident, "context_messages", olga)
    text = incident.entries.get(kind="mitigation").text
    assert "Send the last 5 messages only" in text
    assert "10 → 5" in text


UNDO = Parts(trigger_excess={"undo": Decimal(6)})


@pytest.mark.parametrize(
    ("registered", "promised", "saving"),
    [(None, 3, "6.00"), (60, 3, "6.00"), (3, 1, "4.00")],
    ids=["nothing set", "looser", "as recommended"],
)
def test_what_the_list_promises_is_what_is_set(
    olga: User, registered: int | None, promised: int, saving: str
) -> None:
    if registered:
        features.change("summaries", {"undo_rate_limit": registered}, reason=WHY, by="ops")
    incident = spike(cause="hidden_recompute", parts=UNDO, contributions=())
    proposed = proposal(incident, "undo_rate")
    assert proposed.label == f"Limit undo to {promised} a minute"
    assert f"{proposed.saving_usd_per_hour:.2f}" == saving
    plan = mitigations.plan(proposed)
    assert (plan.values["undo_rate_limit"], plan.values["undo_rate_period"]) == (promised, "minute")
    apply(incident, "undo_rate", olga)
    assert FeatureControl.objects.get().undo_rate_limit == promised


def test_a_control_that_was_changed_since_is_said_to_be(olga: User) -> None:
    incident = spike(cause="hidden_recompute", parts=UNDO, contributions=())
    features.change("summaries", {"undo_rate_limit": 2}, reason=WHY, by="ops")
    plan = mitigations.plan(proposal(incident, "undo_rate"))
    assert plan.values["undo_rate_limit"] == 1
    assert "changed the control since" in plan.effects[0]


def test_what_the_control_refuses_is_not_recorded(olga: User) -> None:
    features.change("summaries", {"requests_per_period": 5}, reason=WHY, by="ops")
    incident = spike()
    with pytest.raises(Refused, match="asked for"):
        apply(incident, "throttle", olga, requests_per_period=50)
    assert proposal(incident, "throttle").state == "proposed"
    assert not incident.entries.filter(kind="mitigation").exists()


def test_nothing_is_applied_twice_or_too_late(olga: User) -> None:
    incident = spike()
    apply(incident, "throttle", olga)
    with pytest.raises(NotAllowedNow, match="applied already"):
        apply(incident, "throttle", olga)
    Incident.objects.update(state="stabilised", stabilised_at=NOW)
    with pytest.raises(NotAllowedNow, match="stabilized"):
        apply(incident, "cost_cap", olga)


def test_a_user_is_stopped(olga: User) -> None:
    apply(spike(), "kill_switch", olga)
    switch = KillSwitch.objects.get()
    assert (switch.scope, switch.target, switch.enabled) == ("Identity", "user:u-17", True)


RECOMPUTE = Parts(
    trigger_excess={"undo": Decimal(2), "auto_save": Decimal(6), "retry": Decimal(1)},
    feature_usd=Decimal(12),
)
W1 = Parts(suspects=(Suspect("work_order", "w1", Decimal(9), Decimal("0.50")),))


def test_a_cap_is_lowered(olga: User) -> None:
    make_work_order("w1", usd_per_day="50.00")
    apply(spike(parts=W1), "lower_cap", olga)
    assert WorkOrder.objects.get().usd_per_day == Decimal("14.40")


@pytest.mark.parametrize(
    ("cap", "changed"),
    [("2.00", {}), ("14.40", {}), ("50.00", {"usd_per_day": Decimal(500)})],
    ids=["proposed above the cap", "as it is", "typed above the cap"],
)
def test_lowering_a_cap_never_raises_it(olga: User, cap: str, changed: dict[str, Any]) -> None:
    make_work_order("w1", usd_per_day=cap)
    incident = spike(parts=W1)
    with pytest.raises(Refused, match="would not lower it"):
        apply(incident, "lower_cap", olga, **changed)
    incident.refresh_from_db()
    assert (incident.state, proposal(incident, "lower_cap").state) == ("triaged", "proposed")
    assert not ChangeRequest.objects.exists()
    assert not incident.entries.filter(kind="mitigation").exists()


def test_what_waits_for_approval_is_not_applied(
    olga: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody lowers the cap further after it was looked at, before it is locked."""
    make_work_order("w1", usd_per_day="50.00")
    incident, ask = spike(parts=W1), approvals.ask

    def slower(*result: Any, **more: Any) -> ChangeRequest:
        ask("w1", new={"usd_per_day": Decimal(3)}, justification=WHY, by=olga)
        return ask(*result, **more)

    monkeypatch.setattr(approvals, "ask", slower)
    pk = proposal(incident, "lower_cap").pk
    outcome = mitigations.apply(pk, {}, reason=WHY, by=olga, now=NOW)
    assert not outcome.applied
    assert ChangeRequest.objects.latest("id").status == "pending"
    incident.refresh_from_db()
    assert (incident.state, incident.mitigated_at) == ("triaged", None)
    assert proposal(incident, "lower_cap").state == "proposed"
    result = incident.entries.get(kind="mitigation").text
    assert result.startswith("Asked for, not applied")
    assert "waits for approval" in result
    assert trail("INCIDENT_MITIGATION_") == [
        ("INCIDENT_MITIGATION_ASKED", f"incident {incident.pk}", "olga")
    ]
    facts = {"mitigationId": pk, "lever": "lower_cap", "reason": WHY}
    assert facts.items() <= meta_of("INCIDENT_MITIGATION_ASKED").items()
    assert WorkOrder.objects.get().usd_per_day == Decimal("3.00")


@pytest.mark.parametrize(
    ("group", "lever", "may"),
    [
        ("operations", "throttle", True),
        ("operations", "kill_switch", True),
        ("director", "feature_off", True),
        ("administrator", "throttle", True),
        ("finance", "throttle", False),
        ("finance", "kill_switch", False),
        ("vp", "kill_switch", True),
        ("auditor", "throttle", False),
        ("auditor", "kill_switch", False),
    ],
)
def test_only_who_may_change_the_control(db: None, group: str, lever: str, may: bool) -> None:
    person = User.objects.get(pk=make_user("somebody", groups=[group]).pk)
    incident = spike()
    if may:
        apply(incident, lever, person)
    else:
        with pytest.raises(PermissionError):
            apply(incident, lever, person)
    assert proposal(incident, lever).state == ("applied" if may else "proposed")


@pytest.mark.parametrize(
    "group", ["operations", "director", "finance", "vp", "administrator", "auditor"]
)
@pytest.mark.parametrize("target", ["Global", "user:u-17"])
def test_the_table_of_permissions_is_the_rule_of_the_switch(
    db: None, group: str, target: str
) -> None:
    person = User.objects.get(pk=make_user("somebody", groups=[group]).pk)
    stop = Mitigation(lever="kill_switch", target=target)
    scope = mitigations.scope_of(stop)[0]
    assert permitting.may_apply(stop, person) == kill_switch.may_switch(scope, person=person)


def test_a_cap_is_lowered_by_operations_only(olga: User) -> None:
    lower = Mitigation(lever="lower_cap", target="w1")
    assert permitting.may_apply(lower, User.objects.get(pk=olga.pk))
    dora = User.objects.get(pk=make_user("dora", groups=["director"]).pk)
    assert not permitting.may_apply(lower, dora)


def test_everything_is_stopped_by_a_director_only(olga: User) -> None:
    incident = spike(cost="90.00", feature="", parts=Parts())
    with pytest.raises(PermissionError):
        apply(incident, "kill_switch", olga)
    apply(incident, "kill_switch", User.objects.get(pk=make_user("d", groups=["director"]).pk))
    assert KillSwitch.objects.get().scope == "Global"


@pytest.mark.parametrize(
    ("now", "wanted", "set_to"),
    [
        ({}, {"max_context_messages": 10}, {"max_context_messages": 5}),
        (
            {"max_context_messages": 200},
            {"max_context_messages": 10},
            {"max_context_messages": 10},
        ),
        ({}, {"auto_save_interval_ms": 30_000}, {"auto_save_interval_ms": 60_000}),
        (
            {"auto_save_interval_ms": 5_000},
            {"auto_save_interval_ms": 30_000},
            {"auto_save_interval_ms": 30_000},
        ),
        (
            {"undo_rate_limit": 60, "undo_rate_period": "hour"},
            {"undo_rate_limit": 3, "undo_rate_period": "minute"},
            {"undo_rate_limit": 30, "undo_rate_period": "hour"},
        ),
        ({"max_tool_retries": 0}, {"max_tool_retries": 2}, {"max_tool_retries": 0}),
        (
            {},
            {"tool_breaker_failures": 3, "tool_breaker_seconds": 60},
            {"tool_breaker_failures": 2, "tool_breaker_seconds": 120},
        ),
        (
            {"requests_per_period": 100, "period": "day"},
            {"requests_per_period": 10, "period": "rolling_hour"},
            {"requests_per_period": 50, "period": "day"},
        ),
        (
            {"requests_per_period": 100},
            {"requests_per_period": 10, "period": "rolling_hour"},
            {"requests_per_period": 10, "period": "rolling_hour"},
        ),
        ({"cost_cap_usd": Decimal(3)}, {"cost_cap_usd": "4.00"}, {"cost_cap_usd": "1.50"}),
        ({}, {"enabled": False}, {"enabled": False}),
    ],
)
def test_a_step_tighter_than_what_is_there(
    db: None, now: dict[str, Any], wanted: dict[str, Any], set_to: dict[str, Any]
) -> None:
    """What was made tighter once is not made so again, as long as the control is as it was."""
    assert tightened(wanted, features.values_of("x")) == wanted  # nothing is set
    FeatureControl.objects.create(feature="x", changed_at=NOW, **now)
    control = features.values_of("x")
    assert tightened(wanted, control) == set_to
    assert tightened(set_to, control) == set_to or is_set(set_to, control)
