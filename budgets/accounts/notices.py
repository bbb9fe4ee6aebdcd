"""The events of accounts, and who is notified: the person, and everybody who administers."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from budgets.accounts.membership import administrators
from opslog import events, outbox
from opslog.models import Severity
from opslog.outbox.notices import Notice

TOPIC = "account"
ALARM = "If you do not expect this, contact another administrator now."


def record(
    kind: str, message: str, person: User, *, by: str, meta: Mapping[str, Any] | None = None
) -> int:
    """One event about somebody, in the caller's transaction; returns its id."""
    return events.record(
        kind,
        message=message,
        owner=("user", str(person.pk)),
        label=person.get_username(),
        actor=by,
        meta={"personId": person.pk, "username": person.get_username(), **(meta or {})},
    )


def notify(
    person: User | None,
    what: str,
    *,
    change: str,
    by: str,
    key: str,
    action: str = ALARM,
    details: str = "",
    severity: Severity = Severity.WARNING,
    topic: str = TOPIC,
    link: str = "",
    former_address: str = "",
) -> None:
    """The person, at the address that they had until now too, and all administrators. Nobody's
    preferences hold it back: it is how a stolen account comes to light."""
    people: dict[int, User] = {each.pk: each for each in administrators()}
    if person is not None:
        people[person.pk] = person
    to: Sequence[User | str] = [*people.values(), *([former_address] if former_address else [])]
    outbox.send(
        topic=topic,
        to=to,
        notice=Notice(what, change, by, severity, action, details),
        link=link or reverse("admin:index"),
        key=key,
        mandatory=True,
    )


def record_and_notify(
    kind: str,
    message: str,
    person: User,
    *,
    by: str,
    change: str,
    meta: Mapping[str, Any] | None = None,
    action: str = ALARM,
    details: str = "",
    severity: Severity = Severity.WARNING,
    link: str = "",
    former_address: str = "",
) -> int:
    event = record(kind, message, person, by=by, meta=meta)
    notify(
        person,
        message,
        change=change,
        by=by,
        key=str(event),
        action=action,
        details=details,
        severity=severity,
        link=link,
        former_address=former_address,
    )
    return event
