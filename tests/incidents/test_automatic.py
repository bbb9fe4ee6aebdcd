"""What a job applies for a time without a person, puts back, and leaves to whoever changed it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse

from budgets import tasks
from budgets.controls import automatic_mitigation, features, mitigations
from budgets.exceptions import Refused
from budgets.models import (
    AutomaticMitigation,
    FeatureControl,
    TimedMitigation,
)
from opslog.exceptions import NotAllowedNow
from opslog.models import Mitigation, OperationsEvent, OutboxMessage
from tests.factories import make_user
from tests.incidents.findings import BACKEND, HOUR, NOW, WHY, proposal, spike, whole_hour
from tests.trail import meta_of, trail


def switch_on(lever: str = "throttle", minutes: int = 30) -> None:
    automatic_mitigation.set_lever(
        lever, enabled=True, minutes=minutes, reason="nights", by="dora", now=NOW
    )


def test_shipped_off(olga: User) -> None:
    spike()
    assert AutomaticMitigation.objects.filter(enabled=False).count() == 9
    assert tasks.mitigate_incidents() == (0, 0)
    assert not FeatureControl.objects.exists()


@pytest.mark.parametrize(("minutes", "reason"), [(4, "x"), (1441, "x"), (60, " ")])
def test_bounds_of_a_lever(db: None, minutes: int, reason: str) -> None:
    with pytest.raises(Refused):
        automatic_mitigation.set_lever(
            "throttle", enabled=True, minutes=minutes, reason=reason, by="dora", now=NOW
        )


def test_applied_for_a_time_and_put_back(olga: User) -> None:
    features.change("summaries", {"max_rounds": 7}, reason=WHY, by="ops")
    switch_on()
    incident = spike()
    assert automatic_mitigation.apply_proposals(now=NOW) == 1
    assert automatic_mitigation.apply_proposals(now=NOW) == 0
    mitigation = proposal(incident, "throttle")
    about = f"automatic_mitigation {AutomaticMitigation.objects.get(lever='throttle').pk}"
    assert trail("AUTOMATIC_", "INCIDENT_MITIGATED") == [
        ("AUTOMATIC_MITIGATION_CHANGE", about, "dora"),
        ("INCIDENT_MITIGATED", f"incident {incident.pk}", "tollgate"),
    ]
    assert meta_of("AUTOMATIC_MITIGATION_CHANGE") == {
        "old": {"enabled": False, "minutes": 60},
        "new": {"enabled": True, "minutes": 30},
        "reason": "nights",
    }
    assert (mitigation.automatic, mitigation.applied_by, mitigation.until) == (
        True,
        "tollgate",
        NOW + timedelta(minutes=30),
    )
    assert FeatureControl.objects.get().requests_per_period == 10
    message = OutboxMessage.objects.get(key=f"{incident.pk}:automatic:{mitigation.pk}")
    assert "Applied automatically" in message.text
    assert automatic_mitigation.end_overdue(now=NOW + timedelta(minutes=29)) == 0
    assert automatic_mitigation.end_overdue(now=NOW + timedelta(minutes=30)) == 1
    assert automatic_mitigation.end_overdue(now=NOW + timedelta(minutes=31)) == 0
    control = FeatureControl.objects.get()
    assert (control.requests_per_period, control.max_rounds) == (None, 7)
    mitigation.refresh_from_db()
    assert mitigation.ended_at == NOW + timedelta(minutes=30)
    assert OperationsEvent.objects.filter(kind="INCIDENT_MITIGATION_ENDED").count() == 1
    assert (
        automatic_mitigation.apply_proposals(now=NOW + HOUR) == 0
    )  # once an incident: people go on


def test_what_somebody_changed_meanwhile_stays(olga: User) -> None:
    switch_on()
    spike()
    automatic_mitigation.apply_proposals(now=NOW)
    features.change("summaries", {"requests_per_period": 3}, reason="tighter", by="olga")
    automatic_mitigation.end_overdue(now=NOW + HOUR)
    assert FeatureControl.objects.get().requests_per_period == 3
    assert "stays as it is" in TimedMitigation.objects.get().outcome


def on_page(control: FeatureControl, **changed: Any) -> None:
    """Saved by a person, from the form that has all values of the control."""
    client = Client()
    client.force_login(User.objects.get(username="olga"), backend=BACKEND)
    address = reverse("admin:budgets_featurecontrol_levers", args=[control.pk])
    form = client.get(address).context["form"]
    posted = {name: form[name].value() for name in form.fields} | {"reason": "we keep it"} | changed
    posted = {name: value for name, value in posted.items() if value not in (None, False)}
    answer = client.post(address, posted)
    assert answer.status_code == 302, answer.context["form"].errors


@pytest.mark.parametrize("how", ["set to the same", "saved as it is", "set elsewhere and back"])
def test_what_somebody_set_to_the_automatic_value_stays(olga: User, how: str) -> None:
    """With a reason: it is that person's value by now."""
    User.objects.filter(pk=olga.pk).update(is_staff=True)
    switch_on()
    spike()
    automatic_mitigation.apply_proposals(now=NOW)
    if how == "saved as it is":
        on_page(FeatureControl.objects.get())
    elif how == "set to the same":
        features.change("summaries", {"requests_per_period": 10}, reason="enough", by="olga")
    else:
        for value in (4, 10):
            FeatureControl.objects.update(requests_per_period=None)  # (a raise, by request)
            features.change("summaries", {"requests_per_period": value}, reason="x", by="olga")
    assert automatic_mitigation.end_overdue(now=NOW + HOUR) == 1
    control = FeatureControl.objects.get()
    assert (control.requests_per_period, control.changed_by) == (10, "olga")
    assert TimedMitigation.objects.get().outcome == (
        "olga has set the control meanwhile: it stays as it is."
    )


@pytest.mark.parametrize("page", [True, False])
def test_another_value_of_the_control_is_no_word_about_this_one(olga: User, page: bool) -> None:
    User.objects.filter(pk=olga.pk).update(is_staff=True)
    switch_on()
    spike()
    automatic_mitigation.apply_proposals(now=NOW)
    if page:
        on_page(FeatureControl.objects.get(), max_rounds=7)
    else:
        features.change("summaries", {"max_rounds": 7}, reason="x", by="olga")
    automatic_mitigation.end_overdue(now=NOW + HOUR)
    control = FeatureControl.objects.get()
    assert (control.requests_per_period, control.max_rounds) == (None, 7)


def test_one_that_cannot_be_put_back_does_not_keep_the_others(
    olga: User, caplog: pytest.LogCaptureFixture
) -> None:
    switch_on()
    for feature, hours in (("summaries", 3), ("chat", 13), ("mail", 23)):
        spike(feature=feature, started_at=whole_hour(NOW) - hours * HOUR)
    assert automatic_mitigation.apply_proposals(now=NOW) == 3
    broken = TimedMitigation.objects.get(feature="summaries")
    broken.before = {"requests_per_period": "many"}
    broken.save()
    for _ in range(3):  # each minute
        automatic_mitigation.end_overdue(now=NOW + HOUR)
    left = TimedMitigation.objects.filter(ended_at=None)
    assert [(each.feature, each.stuck_at) for each in left] == [("summaries", NOW + HOUR)]
    assert OperationsEvent.objects.filter(kind="INCIDENT_MITIGATION_STUCK").count() == 1
    message = OutboxMessage.objects.get(key__contains="automatic-stuck")
    assert "could not be put back" in message.text
    assert "could not be put back" in caplog.text
    # What is new is applied all the same, and the one is put back once it can be.
    spike(feature="search", started_at=whole_hour(NOW) - 33 * HOUR)
    assert automatic_mitigation.apply_proposals(now=NOW + HOUR) == 1
    TimedMitigation.objects.filter(pk=broken.pk).update(before={"requests_per_period": None})
    assert automatic_mitigation.end_overdue(now=NOW + HOUR) == 1


def test_a_control_that_is_gone_is_no_longer_put_back(olga: User) -> None:
    switch_on()
    spike()
    automatic_mitigation.apply_proposals(now=NOW)
    FeatureControl.objects.update(feature="another")
    assert automatic_mitigation.end_overdue(now=NOW + HOUR) == 1
    assert "no such control" in TimedMitigation.objects.get().outcome


def test_one_that_cannot_be_applied_does_not_keep_the_others(
    olga: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_on()
    for feature, hours in (("summaries", 3), ("chat", 13)):
        spike(feature=feature, started_at=whole_hour(NOW) - hours * HOUR)
    real = mitigations.set_feature

    def fail(feature: str, *result: Any, **more: Any) -> str:
        if feature == "summaries":
            raise ArithmeticError
        return real(feature, *result, **more)

    monkeypatch.setattr(mitigations, "set_feature", fail)
    assert automatic_mitigation.apply_proposals(now=NOW) == 1
    assert FeatureControl.objects.get().feature == "chat"


@pytest.mark.parametrize(
    "fields", [{"cause": "none"}, {"confidence": 0.69}], ids=["no cause", "not sure"]
)
def test_a_doubtful_cause_is_for_people(olga: User, fields: dict[str, Any]) -> None:
    switch_on()
    spike(**fields)
    assert automatic_mitigation.apply_proposals(now=NOW) == 0


def test_a_person_ends_it_before_its_time(olga: User) -> None:
    switch_on("feature_off")
    spike()
    automatic_mitigation.apply_proposals(now=NOW)
    assert not FeatureControl.objects.get().enabled
    timed = TimedMitigation.objects.get()
    assert "as it was" in automatic_mitigation.end(timed.pk, reason="needed", by="olga", now=NOW)
    assert FeatureControl.objects.get().enabled
    with pytest.raises(Refused, match="ended already"):
        automatic_mitigation.end(timed.pk, reason="needed", by="olga", now=NOW)


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
            return automatic_mitigation.apply_proposals(now=NOW)
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
        result = real(*args, **kwargs)
        changed.append(1)
        return result

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
    automatic_mitigation.apply_proposals(now=NOW)
    assert sum(at_once(lambda number: automatic_mitigation.end_overdue(now=NOW + HOUR))) == 1
    assert OperationsEvent.objects.filter(kind="INCIDENT_MITIGATION_ENDED").count() == 1
