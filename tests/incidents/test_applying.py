"""What an incident proposes is applied through the controls, recorded with it, and ends in time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.utils import timezone

from budgets import approvals, automatic, features, killswitch, mitigations, tasks
from budgets.exceptions import Refused
from budgets.models import (
    AutomaticMitigation,
    ChangeRequest,
    FeatureControl,
    KillSwitch,
    TimedMitigation,
)
from opslog.exceptions import NotAllowedNow
from opslog.incidents.detecting import record_verdict
from opslog.incidents.finding import Parts, Suspect
from opslog.incidents.postmortem import markdown
from opslog.models import Incident, Mitigation, OperationsEvent, OutboxMessage
from tests.factories import make_user, make_work_order
from tests.incidents.findings import make_finding, whole_hour
from workorders.models import WorkOrder

NOW = timezone.now()
WHY = "it burns"
HOUR = timedelta(hours=1)


def spike(**told: Any) -> Incident:
    incident = record_verdict(make_finding(until=whole_hour(NOW), **told), now=NOW)
    assert incident is not None
    return incident


def proposal(incident: Incident, lever: str) -> Mitigation:
    return incident.mitigations.get(lever=lever)


def apply(incident: Incident, lever: str, by: User, **changed: Any) -> str:
    outcome = mitigations.apply(proposal(incident, lever).pk, changed, reason=WHY, by=by, now=NOW)
    assert outcome.applied
    return outcome.said


@pytest.fixture
def olga(db: None) -> User:
    return make_user("olga", groups=["operations"])


def test_the_control_is_changed_and_the_incident_told(olga: User) -> None:
    incident = spike()
    said = apply(incident, "throttle", olga)
    control = FeatureControl.objects.get(feature="summaries")
    assert (control.requests_per_period, control.period) == (10, "rolling_hour")
    assert "requests per period none → 10" in said
    incident.refresh_from_db()
    mitigation = proposal(incident, "throttle")
    assert (incident.state, mitigation.state, mitigation.applied_by) == (
        "mitigating",
        "applied",
        "olga",
    )
    change = OperationsEvent.objects.get(kind="FEATURE_CHANGE")
    told = OperationsEvent.objects.get(kind="INCIDENT_MITIGATED")
    assert (change.actor, change.meta["reason"]) == ("olga", WHY)
    assert told.meta["values"] == {"requests_per_period": 10, "period": "rolling_hour"}
    assert said in incident.entries.get(kind="mitigation").text


def test_a_value_may_be_typed_over(olga: User) -> None:
    incident = spike()
    apply(incident, "throttle", olga, requests_per_period=4, enabled=False)
    control = FeatureControl.objects.get()
    assert (control.requests_per_period, control.enabled) == (4, True)  # only what is proposed
    # … and it is told as it was set, wherever it is told.
    told = incident.entries.get(kind="mitigation").text
    assert "Throttle, summaries: period rolling_hour, requests per period 4." in told
    assert "10 an hour" not in told
    assert proposal(incident, "throttle").told in markdown(
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


def test_what_is_as_tight_already_takes_a_tighter_value_only(olga: User) -> None:
    features.change("summaries", {"max_context_messages": 10}, reason=WHY, by="ops")
    incident = spike()
    mitigation = proposal(incident, "context_messages")
    assert mitigations.plan(mitigation).values == {"max_context_messages": 10}
    with pytest.raises(Refused, match="limited to that already"):
        apply(incident, "context_messages", olga)
    apply(incident, "context_messages", olga, max_context_messages=4)
    assert FeatureControl.objects.get().max_context_messages == 4


def test_a_tighter_control_is_never_loosened(olga: User) -> None:
    features.change("summaries", {"max_context_messages": 6}, reason=WHY, by="ops")
    mitigation = proposal(spike(), "context_messages")
    assert mitigations.plan(mitigation).values == {"max_context_messages": 6}


def test_another_value_is_told_as_it_was_set(olga: User) -> None:
    """The label says 10 messages; somebody has typed 5."""
    incident = spike()
    apply(incident, "context_messages", olga, max_context_messages=5)
    told = incident.entries.get(kind="mitigation").text
    assert "max context messages 5" in told
    assert "last 10 messages" not in told


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
    with pytest.raises(NotAllowedNow, match="stabilised"):
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

    def slower(*told: Any, **more: Any) -> ChangeRequest:
        ask("w1", new={"usd_per_day": Decimal(3)}, justification=WHY, by=olga)
        return ask(*told, **more)

    monkeypatch.setattr(approvals, "ask", slower)
    pk = proposal(incident, "lower_cap").pk
    outcome = mitigations.apply(pk, {}, reason=WHY, by=olga, now=NOW)
    assert not outcome.applied
    assert ChangeRequest.objects.latest("id").status == "pending"
    incident.refresh_from_db()
    assert (incident.state, incident.mitigated_at) == ("triaged", None)
    assert proposal(incident, "lower_cap").state == "proposed"
    told = incident.entries.get(kind="mitigation").text
    assert told.startswith("Asked for, not applied")
    assert "waits for approval" in told
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
    assert mitigations.may_apply(stop, person) == killswitch.may_switch(scope, person=person)


def test_a_cap_is_lowered_by_operations_only(olga: User) -> None:
    lower = Mitigation(lever="lower_cap", target="w1")
    assert mitigations.may_apply(lower, User.objects.get(pk=olga.pk))
    dora = User.objects.get(pk=make_user("dora", groups=["director"]).pk)
    assert not mitigations.may_apply(lower, dora)


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
        ({"cost_cap_usd": Decimal(3)}, {"cost_cap_usd": "4.00"}, {"cost_cap_usd": Decimal("1.50")}),
        ({}, {"enabled": False}, {"enabled": False}),
    ],
)
def test_a_step_tighter_than_what_is_there(
    now: dict[str, Any], wanted: dict[str, Any], set_to: dict[str, Any]
) -> None:
    assert mitigations.tightened(wanted, FeatureControl(feature="x", **now)) == set_to


# Without a person.


def switch_on(lever: str = "throttle", minutes: int = 30) -> None:
    automatic.set_lever(lever, enabled=True, minutes=minutes, reason="nights", by="dora", now=NOW)


def test_shipped_off(olga: User) -> None:
    spike()
    assert AutomaticMitigation.objects.filter(enabled=False).count() == 9
    assert tasks.mitigate_incidents() == (0, 0)
    assert not FeatureControl.objects.exists()


@pytest.mark.parametrize(("minutes", "reason"), [(4, "x"), (1441, "x"), (60, " ")])
def test_bounds_of_a_lever(db: None, minutes: int, reason: str) -> None:
    with pytest.raises(Refused):
        automatic.set_lever(
            "throttle", enabled=True, minutes=minutes, reason=reason, by="dora", now=NOW
        )


def test_applied_for_a_time_and_put_back(olga: User) -> None:
    features.change("summaries", {"max_rounds": 7}, reason=WHY, by="ops")
    switch_on()
    incident = spike()
    assert automatic.apply_proposals(now=NOW) == 1
    assert automatic.apply_proposals(now=NOW) == 0
    mitigation = proposal(incident, "throttle")
    assert (mitigation.automatic, mitigation.applied_by, mitigation.until) == (
        True,
        "tollgate",
        NOW + timedelta(minutes=30),
    )
    assert FeatureControl.objects.get().requests_per_period == 10
    message = OutboxMessage.objects.get(key=f"{incident.pk}:automatic:{mitigation.pk}")
    assert "Applied automatically" in message.text
    assert automatic.end_overdue(now=NOW + timedelta(minutes=29)) == 0
    assert automatic.end_overdue(now=NOW + timedelta(minutes=30)) == 1
    assert automatic.end_overdue(now=NOW + timedelta(minutes=31)) == 0
    control = FeatureControl.objects.get()
    assert (control.requests_per_period, control.max_rounds) == (None, 7)
    mitigation.refresh_from_db()
    assert mitigation.ended_at == NOW + timedelta(minutes=30)
    assert OperationsEvent.objects.filter(kind="INCIDENT_MITIGATION_ENDED").count() == 1
    assert automatic.apply_proposals(now=NOW + HOUR) == 0  # once an incident: people go on


def test_what_somebody_changed_meanwhile_stays(olga: User) -> None:
    switch_on()
    spike()
    automatic.apply_proposals(now=NOW)
    features.change("summaries", {"requests_per_period": 3}, reason="tighter", by="olga")
    automatic.end_overdue(now=NOW + HOUR)
    assert FeatureControl.objects.get().requests_per_period == 3
    assert "stays as it is" in TimedMitigation.objects.get().outcome


@pytest.mark.parametrize(
    "told", [{"cause": "none"}, {"confidence": 0.69}], ids=["no cause", "not sure"]
)
def test_a_doubtful_cause_is_for_people(olga: User, told: dict[str, Any]) -> None:
    switch_on()
    spike(**told)
    assert automatic.apply_proposals(now=NOW) == 0


def test_a_person_ends_it_before_its_time(olga: User) -> None:
    switch_on("feature_off")
    spike()
    automatic.apply_proposals(now=NOW)
    assert not FeatureControl.objects.get().enabled
    timed = TimedMitigation.objects.get()
    assert "as it was" in automatic.end(timed.pk, reason="needed", by="olga", now=NOW)
    assert FeatureControl.objects.get().enabled
    with pytest.raises(Refused, match="ended already"):
        automatic.end(timed.pk, reason="needed", by="olga", now=NOW)


def at_once(work: Any) -> list[Any]:
    barrier = threading.Barrier(6)

    def run(number: int) -> Any:
        barrier.wait()
        try:
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(run, range(6)))


def test_jobs_and_people_at_once_apply_it_once(committed_db: str) -> None:
    olga = make_user("olga", groups=["operations"])
    switch_on()
    incident = spike()
    pk = proposal(incident, "throttle").pk

    def work(number: int) -> int:
        if number % 2:
            return automatic.apply_proposals(now=NOW)
        try:
            mitigations.apply(pk, {}, reason=WHY, by=User.objects.get(pk=olga.pk), now=NOW)
        except NotAllowedNow:
            return 0
        return 1

    assert sum(at_once(work)) == 1
    assert OperationsEvent.objects.filter(kind="INCIDENT_MITIGATED").count() == 1
    assert OperationsEvent.objects.filter(kind="FEATURE_CHANGE").count() == 1


def test_without_the_claim_it_is_applied_twice(
    committed_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: two that read "proposed" both change the control; only the conditional update
    of `record_applied` tells the second, whose transaction then undoes the change."""
    olga = make_user("olga", groups=["operations"])
    incident = spike()
    pk = proposal(incident, "throttle").pk
    changed: list[int] = []
    barrier = threading.Barrier(6)
    real = mitigations.set_feature

    def hold(mitigation_id: int) -> Mitigation:
        found = Mitigation.objects.select_related("incident").get(pk=mitigation_id)
        barrier.wait()
        return found

    def set_feature(*args: Any, **kwargs: Any) -> str:
        said = real(*args, **kwargs)
        changed.append(1)
        return said

    monkeypatch.setattr("opslog.incidents.mitigating.hold", hold)
    monkeypatch.setattr(mitigations, "set_feature", set_feature)

    def work(number: int) -> bool:
        try:
            mitigations.apply(
                pk, {"requests_per_period": 10}, reason=f"{WHY} {number}",
                by=User.objects.get(pk=olga.pk), now=NOW,
            )  # fmt: skip
        except (NotAllowedNow, Refused, OperationalError):  # (who waited too long has lost, too)
            return False
        return True

    assert sum(at_once(work)) == 1
    assert len(changed) > 1


def test_ended_once_however_many_jobs_run(committed_db: str) -> None:
    make_user("olga", groups=["operations"])
    switch_on()
    spike()
    automatic.apply_proposals(now=NOW)
    assert sum(at_once(lambda number: automatic.end_overdue(now=NOW + HOUR))) == 1
    assert OperationsEvent.objects.filter(kind="INCIDENT_MITIGATION_ENDED").count() == 1
