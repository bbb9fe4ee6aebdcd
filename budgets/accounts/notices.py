"""The events of accounts, and who is told: the person, and everybody who administers."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from budgets.accounts.membership import administrators
from opslog import events, outbox

TOPIC = "account"


def record(
    kind: str, message: str, person: User, *, by: str, meta: Mapping[str, Any] | None = None
) -> int:
    """One event about somebody, in the caller's transaction; gives its id."""
    return events.record(
        kind,
        message=message,
        owner=("user", str(person.pk)),
        label=person.get_username(),
        actor=by,
        meta={"personId": person.pk, "username": person.get_username(), **(meta or {})},
    )


def tell(
    person: User | None,
    subject: str,
    text: str,
    *,
    key: str,
    topic: str = TOPIC,
    link: str = "",
    former_address: str = "",
) -> None:
    """The person, at the address that they had until now too, and all administrators."""
    people: dict[int, User] = {each.pk: each for each in administrators()}
    if person is not None:
        people[person.pk] = person
    to: Sequence[User | str] = [*people.values(), *([former_address] if former_address else [])]
    outbox.send(
        topic=topic,
        to=to,
        subject=subject,
        text=text,
        link=link or reverse("admin:index"),
        key=key,
    )


def record_and_tell(
    kind: str,
    message: str,
    person: User,
    *,
    by: str,
    meta: Mapping[str, Any] | None = None,
    text: str = "",
    link: str = "",
    former_address: str = "",
) -> int:
    event = record(kind, message, person, by=by, meta=meta)
    tell(
        person,
        message,
        text or f"By {by}. If this is not right, contact another administrator now.",
        key=str(event),
        link=link,
        former_address=former_address,
    )
    return event
