"""What one administrator proposes about somebody and another confirms, refuses, or lets expire."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from budgets.accounts import membership, notices
from budgets.exceptions import Conflict, Refused
from budgets.models import AccountChange
from budgets.writing import refusing, stated
from opslog.database import query

Status = AccountChange.Status
Wanted = dict[str, Any]
LIFETIME = timedelta(days=7)


def propose(person: User, wanted: Wanted, *, by: User | None) -> AccountChange:
    """In the caller's transaction. `by` None: by single sign-on. Raises Conflict while another
    change of this person waits."""
    for each in AccountChange.objects.filter(person=person, status=Status.PENDING):
        lock_pending(each.pk)  # closes it, if it is overdue
    with refusing(
        f"Another change to {person} is waiting for a second administrator. Decide on it first."
    ):
        change = AccountChange.objects.create(
            person=person,
            wanted=wanted,
            seen_username=person.username,
            seen_email=person.email,
            proposed_by=by,
            expires_at=timezone.now() + LIFETIME,
        )
    notices.record_and_notify(
        "ACCOUNT_CHANGE_PROPOSED",
        f"{headline(change)}: proposed",
        person,
        by=change.proposer,
        meta={"changeId": change.pk, "wanted": wanted, "email": person.email},
        change="not asked for → needs the confirmation of another administrator",
        action=f"Confirm or refuse it, as another administrator than {change.proposer}, by "
        f"{change.expires_at:%Y-%m-%d %H:%M} UTC.",
        details=f"Email on file: {person.email or 'none'}.",
        link=link_to(change),
    )
    return change


def refuse(change_id: int, *, by: User, note: str) -> AccountChange:
    """By any administrator; the proposer takes it back so. Raises Refused and Conflict."""
    note = stated(note, "A reason is required.")
    with transaction.atomic():
        change = lock_pending(change_id)
        if change is not None:
            if not by.is_active or not by.has_perm("auth.change_user"):
                raise Refused("Only administrators can refuse this.")
            close(change, Status.REFUSED, by=by, note=note)
    return decided(change)


def why_not(change: AccountChange, person: User) -> str:
    """Why somebody may not confirm this; empty when they may."""
    if change.status != Status.PENDING:
        return "This is already decided."
    if change.expires_at <= timezone.now():
        return "This has expired."
    if person.pk == change.proposed_by_id:
        return "You proposed this. Another administrator must confirm it."
    if person.pk == change.person_id:
        return "This is about you. Another administrator must confirm it."
    if not membership.administers(person):
        return "Only administrators can confirm this, once their own membership counts."
    return ""


def confirmers(change: AccountChange) -> list[User]:
    """The administrators who could confirm this, now or when their waiting time is over."""
    return [
        each
        for each in membership.administrators()
        if each.pk not in (change.proposed_by_id, change.person_id)
    ]


def waiting_for(person: User) -> list[AccountChange]:
    """The open changes that this person may confirm now."""
    if not person.has_perm("auth.change_user"):
        return []
    pending = AccountChange.objects.filter(
        ~Q(person=person.pk),
        Q(proposed_by=None) | ~Q(proposed_by=person.pk),
        status=Status.PENDING,
        expires_at__gt=timezone.now(),
    )
    found = list(pending.select_related("person", "proposed_by"))
    return found if found and membership.administers(person) else []


def one_at_a_time() -> None:
    """Changes of accounts come one after the other: each sees the names and rights of the last."""
    query.run("LOCK TABLE memberships IN SHARE ROW EXCLUSIVE MODE")


def lock_pending(change_id: int) -> AccountChange | None:
    """The change, locked, with its people; None when it is decided, or expired under this lock."""
    change = (
        AccountChange.objects.select_for_update(no_key=True, of=("self", "person"))
        .select_related("person", "proposed_by")
        .get(pk=change_id)
    )
    if change.status != Status.PENDING:
        return None
    if change.expires_at <= timezone.now():
        close(change, Status.EXPIRED, by=None, note="nobody confirmed it in time")
        return None
    return change


def close_overdue() -> int:
    """Close what nobody confirmed in time. Only tidiness: expiry is found under the lock anyway."""
    overdue = AccountChange.objects.filter(
        status=Status.PENDING, expires_at__lte=timezone.now()
    ).values_list("pk", flat=True)
    for pk in overdue:
        with transaction.atomic():
            lock_pending(pk)
    return len(overdue)


def headline(change: AccountChange) -> str:
    """What is wanted, as people read it: "Add nora to operations"."""
    return wording(change.person.get_username(), change.wanted)


def wording(name: str, wanted: Mapping[str, Any]) -> str:
    parts = []
    if groups := wanted.get("groups"):
        parts.append(f"add {name} to {' and '.join(groups)}")
    if wanted.get("is_active"):
        parts.append(f"reactivate {name}")
    if wanted.get("is_staff"):
        parts.append(f"let {name} log in")
    if wanted.get("is_superuser"):
        parts.append(f"make {name} a superuser")
    if "email" in wanted:
        parts.append(f"change {name}'s email to {wanted['email'] or 'none'}")
    if wanted.get("link"):
        parts.append(f"send {name} a password link")
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def link_to(change: AccountChange) -> str:
    return reverse("admin:budgets_accountchange_change", args=[change.pk])


def close_if_stale(change: AccountChange) -> bool:
    """What was proposed about one name and address is not done to another."""
    person, proposer = change.person, change.proposed_by
    note = ""
    if (person.username, person.email) != (change.seen_username, change.seen_email):
        note = "the username or email has changed since"
    elif proposer and not (proposer.is_active and proposer.has_perm("auth.change_user")):
        note = "the proposer is no longer an administrator"
    if note:
        close(change, Status.STALE, by=None, note=note)
    return bool(note)


def close(
    change: AccountChange, status: str, *, by: User | None, note: str, actor: str = "tollgate"
) -> None:
    """The one terminal transition; the caller holds the lock on the pending change."""
    change.status = status
    change.decided_by = by
    change.decided_at = timezone.now()
    change.closing_note = note
    change.save(update_fields=["status", "decided_by", "decided_at", "closing_note"])
    name = by.get_username() if by else actor
    notices.record_and_notify(
        f"ACCOUNT_CHANGE_{status.upper()}",
        f"{headline(change)}: {status}",
        change.person,
        by=name,
        meta={
            "changeId": change.pk,
            "wanted": change.wanted,
            "proposedBy": change.proposer,
            "reason": note,
            **(approval(change, name) if status == Status.CONFIRMED else {}),
        },
        change=f"waiting for a second administrator → {status}",
        details=f"Proposed by {change.proposer}; {note}.",
        link=link_to(change),
    )


def approval(change: AccountChange, confirmed_by: str) -> dict[str, Any]:
    """Who has agreed, for an event: single sign-on is nobody's signature."""
    names = (
        {confirmed_by, change.proposed_by.get_username()} if change.proposed_by else {confirmed_by}
    )
    return {"approvers": sorted(names), "approvalLevel": "administrator"}


def decided(change: AccountChange | None) -> AccountChange:
    if change is None:
        raise Conflict("This is already decided or expired.")
    return change
