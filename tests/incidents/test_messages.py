"""One message for each incident and change of state, and a lever that a person sets."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from budgets.controls import mitigations
from opslog.incidents import handling, notices, watching
from opslog.incidents.detecting import record_verdict
from opslog.models import Incident, OutboxMessage
from tests.factories import make_user
from tests.incidents.findings import make_finding, whole_hour

NOW = datetime(2026, 11, 20, 15, 5, tzinfo=UTC)


@pytest.fixture
def olga(db: None) -> User:
    return make_user("olga", groups=["operations"])


@pytest.fixture
def incident(olga: User) -> Incident:
    made = record_verdict(make_finding(until=whole_hour(NOW)), now=NOW)
    assert made is not None
    return made


def subjects() -> list[str]:
    return list(OutboxMessage.objects.order_by("ready_at", "id").values_list("subject", flat=True))


def test_three_levers_in_one_state_are_one_message(incident: Incident, olga: User) -> None:
    incident.state = Incident.State.MITIGATING
    with transaction.atomic():
        for number in range(3):
            text = f"lever {number}"
            notices.tell(incident, f"automatic:{number}", text, to=[olga])
    where = "context grows in summaries"
    assert subjects() == [
        f"Incident #{incident.pk} detected: {where}",
        f"Incident #{incident.pk} mitigated automatically: {where}",
    ]


def test_what_was_held_back_comes_before_what_follows_it(incident: Incident, olga: User) -> None:
    """A lever is set while its state's message is out already; then the incident is over."""
    incident.state = Incident.State.MITIGATING
    with transaction.atomic():
        notices.tell(incident, "automatic:1", "one", to=[olga])
    OutboxMessage.objects.update(state="sent", sent_at=timezone.now(), ready_at=timezone.now())
    with transaction.atomic():
        notices.tell(incident, "automatic:2", "two", to=[olga])
    held = OutboxMessage.objects.get(state="waiting")
    assert held.ready_at > timezone.now()
    watching.stabilise(incident.pk, reason="it is over", by="olga", now=NOW)
    assert [subject.partition(":")[0] for subject in subjects()] == [
        f"Incident #{incident.pk} detected",
        f"Incident #{incident.pk} mitigated automatically",
        f"Incident #{incident.pk} mitigated automatically",
        f"Incident #{incident.pk} stabilized",
    ]


def test_an_escalation_is_a_message_of_its_own(incident: Incident) -> None:
    handling.escalate(incident.pk, 1, reason="it rises", by="olga", now=NOW)
    message = OutboxMessage.objects.order_by("-id").first()
    assert message is not None
    assert "Change: level 0 → level 1" in message.text
    assert "By: olga" in message.text
    assert "When: 2026-11-20 15:05:00 UTC" in message.text
    assert (message.severity, message.thread) == ("error", f"incident-{incident.pk}")


def test_a_lever_that_a_person_sets_is_reported_to_the_others(incident: Incident) -> None:
    dora = make_user("dora", groups=["director"])
    user = User.objects.get(pk=dora.pk)
    lever = incident.mitigations.get(lever="context_messages")
    mitigations.apply(lever.pk, {}, reason="too long", by=user, now=NOW)
    message = OutboxMessage.objects.order_by("-id").first()
    assert message is not None
    assert message.subject.startswith(f"Incident #{incident.pk} mitigated: ")
    assert "By: dora" in message.text
    assert "too long" in message.text


def test_whoever_was_asked_hears_how_it_ended(incident: Incident, olga: User) -> None:
    """The director of level 2 as well as the owner."""
    dora = make_user("dora", groups=["director"])
    handling.escalate(incident.pk, 2, reason="it rises", by="olga", now=NOW)
    Incident.objects.filter(pk=incident.pk).update(owner=olga)
    watching.stabilise(incident.pk, reason="it is over", by="olga", now=NOW)
    ended = OutboxMessage.objects.filter(key__startswith=f"{incident.pk}:stabilised")
    assert {each.recipient for each in ended} == {str(olga.pk), str(dora.pk)}


def test_a_reopened_incident_has_a_message_of_its_own(incident: Incident, olga: User) -> None:
    with transaction.atomic():
        notices.tell(incident, "reopened:1", "it still costs", to=[olga])
    message = OutboxMessage.objects.get(key=f"{incident.pk}:reopened:1")
    assert "Change: closed → active again" in message.text
