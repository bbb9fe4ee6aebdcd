"""Whom to call: rows that people keep, and the people of the groups they name."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from budgets import writing
from budgets.models import Contact
from opslog import events

FIELDS = ("topic", "position", "group", "name", "reach", "hours", "active")
PEOPLE_SHOWN = 12


def save(contact_id: int | None, values: Mapping[str, Any], *, by: str) -> Contact:
    """Add one, or change it, with its event. Raises Refused for values that cannot be kept."""
    with transaction.atomic():
        if contact_id is None:
            contact, before = Contact(), {}
        else:
            contact = Contact.objects.select_for_update(no_key=True, of=("self",)).get(
                pk=contact_id
            )
            before = events.as_text(contact, FIELDS)
        for name, value in values.items():
            setattr(contact, name, value)
        writing.save(contact)
        changes = events.changed(before, events.as_text(contact, FIELDS))
        if changes:
            events.record(
                "CONTACT_CHANGED" if before else "CONTACT_ADDED",
                message=f"Contact {contact} {'changed' if before else 'added'}",
                owner=("contact", str(contact.pk)),
                label=contact.name,
                actor=by,
                meta={"changes": changes},
            )
    return contact


def active(*topics: str) -> list[Contact]:
    """Those to call about these topics (all where none is named), who is called first at first."""
    found = Contact.objects.filter(active=True).select_related("group")
    return list(found.filter(topic__in=topics) if topics else found)


def people_of(contacts: Iterable[Contact]) -> dict[int, list[User]]:
    """The active people of each contact's group, in one query."""
    found = list(contacts)
    groups = {contact.group_id for contact in found if contact.group_id}
    people: dict[int, list[User]] = {}
    for user in (
        User.objects.filter(is_active=True, groups__in=groups)
        .prefetch_related("groups")
        .distinct()
        .order_by("username")
    ):
        for group in user.groups.all():
            people.setdefault(group.pk, []).append(user)
    return {each.pk: people.get(each.group_id or 0, [])[:PEOPLE_SHOWN] for each in found}
