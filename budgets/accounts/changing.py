"""Making people and changing them. What gives rights, or would give an account to somebody else,
waits for a second administrator; what takes rights away holds at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils import timezone

from budgets.accounts import links, membership, names, notices, proposals
from budgets.accounts.proposals import Wanted
from budgets.audit import acting
from budgets.exceptions import Refused
from budgets.models import AccountChange, FormerName, Membership
from opslog.outbox import delivery

FREE = ("username", "first_name", "last_name")  # changed by one person, at once
RIGHTS = ("is_active", "is_staff", "is_superuser")
FIELDS = (*FREE, "email", *RIGHTS)
CONFIRMED = AccountChange.Status.CONFIRMED


@dataclass(frozen=True, slots=True)
class SavedAccount:
    """What is done, and what waits for a second administrator."""

    person: User
    changes: Mapping[str, Any]
    waiting: AccountChange | None
    linked: bool = False


def create(*, by: User, values: Mapping[str, Any], groups: set[str]) -> SavedAccount:
    """A new account without a password; where there is mail, its person gets a link to set one.

    `values` has `username`, and may have `email`, `first_name`, `last_name`. Raises Refused.
    """
    with transaction.atomic():
        proposals.one_at_a_time()
        if problem := name_problem(values["username"]):
            raise Refused(problem)
        with acting(by=by.get_username(), reason="new account"):
            # Everybody here works in the admin.
            person = User(**{"is_staff": True, **values})
            person.set_unusable_password()
            person.save()
            free, guarded = _split(groups)
            _join(person, free, how=Membership.How.FREE)
            notices.record_and_notify(
                "USER_CREATED",
                f"User {person.get_username()} created",
                person,
                by=by.get_username(),
                change="no account → an account without a password",
                meta={"changes": {"groups": {"old": [], "new": sorted(free)}}, **_told(values)},
            )
            mailed = bool(person.email) and delivery.can_mail()
            if mailed:
                links.issue(person, by=by.get_username(), mailed=True)
            waiting = (
                proposals.propose(person, {"groups": sorted(guarded)}, by=by) if guarded else None
            )
    return SavedAccount(person, {}, waiting, linked=mailed)


def change(
    person_id: int, *, by: User, values: Mapping[str, Any], groups: set[str] | None = None
) -> SavedAccount:
    """Give somebody these values, and exactly these groups. What needs a second administrator is
    proposed instead. Raises Refused, and then nothing is changed."""
    with transaction.atomic():
        proposals.one_at_a_time()
        person = User.objects.select_for_update(no_key=True).get(pk=person_id)
        before = {name: getattr(person, name) for name in FIELDS}
        had = {group.name for group in person.groups.all()}
        new = {name: value for name, value in values.items() if value != before[name]}
        more = set() if groups is None else groups - had
        less = set() if groups is None else had - groups
        _check_rights(person, by, new, more | less)
        if (name := new.get("username")) and (problem := name_problem(name, of=person)):
            raise Refused(problem)
        free, guarded = _split(more)
        wanted: Wanted = {"groups": sorted(guarded)} if guarded else {}
        if membership.is_guarded(person) or guarded:
            for field in ("is_active", "is_staff"):
                if new.get(field):
                    wanted[field] = new.pop(field)
        if membership.is_guarded(person) and "email" in new:
            wanted["email"] = new.pop("email")
        if new.get("is_superuser"):
            wanted["is_superuser"] = new.pop("is_superuser")
        with acting(by=by.get_username(), reason="account changed"):
            changes = _write(person, before, new)
            _join(person, free, how=Membership.How.FREE)
            for group in Group.objects.filter(name__in=less):
                membership.leave(person, group)
            if free or less:
                now_in = sorted((had | free) - less)
                changes["groups"] = {"old": sorted(had), "new": now_in}
            if changes:
                record_change(person, changes, by=by.get_username())
        waiting = proposals.propose(person, wanted, by=by) if wanted else None
    return SavedAccount(person, changes, waiting)


def ask_for_link(person_id: int, *, by: User) -> SavedAccount:
    """Mail somebody a link to set their password; of a guarded account, once a second
    administrator confirms it. Raises Refused."""
    with transaction.atomic():
        proposals.one_at_a_time()
        person = User.objects.select_for_update(no_key=True).get(pk=person_id)
        _check_rights(person, by, {"password": ""}, set())
        if membership.is_guarded(person):
            if not person.email or not delivery.can_mail():
                # Said now, not to the one who confirms it.
                raise Refused(
                    "It cannot be mailed. On the server, manage.py account_link prints a link."
                )
            return SavedAccount(person, {}, proposals.propose(person, {"link": True}, by=by))
        links.issue(person, by=by.get_username(), mailed=True)
    return SavedAccount(person, {}, None, linked=True)


def create_by_single_sign_on(values: Mapping[str, Any], *, by: str) -> User:
    """Somebody who comes for the first time, without a password and in no group yet. `values` is
    as for `create`; the name was looked at."""
    with transaction.atomic(), acting(by=by, reason="new account"):
        person = User(**{"is_staff": True, **values})
        person.set_unusable_password()
        person.save()
        notices.record_and_notify(
            "USER_CREATED",
            f"User {person.get_username()} created",
            person,
            by=by,
            change="no account → an account without a password, in no group",
            meta={"changes": {"groups": {"old": [], "new": []}}, **_told(values)},
        )
    return person


def leave_groups(person: User, groups: set[str], *, by: str) -> None:
    """At once, and nobody has to agree."""
    with transaction.atomic(), acting(by=by, reason="groups lost"):
        proposals.one_at_a_time()
        had = {group.name for group in person.groups.all()}
        lost = had & groups
        for group in Group.objects.filter(name__in=lost):
            membership.leave(person, group)
        if lost:
            changes = {"groups": {"old": sorted(had), "new": sorted(had - lost)}}
            record_change(person, changes, by=by)


def join_by_single_sign_on(person: User, groups: set[str]) -> SavedAccount:
    """What the provider says of somebody's groups: those that only read at once; the others are
    proposed, for one administrator to confirm. To leave a group needs nobody."""
    with transaction.atomic():
        proposals.one_at_a_time()
        had = {group.name for group in person.groups.all()}
        free, guarded = _split(groups - had)
        _join(person, free, how=Membership.How.FREE)
        waiting = AccountChange.objects.filter(
            person=person, status=AccountChange.Status.PENDING
        ).first()
        if guarded and waiting is None:
            waiting = proposals.propose(person, {"groups": sorted(guarded)}, by=None)
        changes = {"groups": {"old": sorted(had), "new": sorted(had | free)}} if free else {}
        if changes:
            record_change(person, changes, by="single sign-on")
    return SavedAccount(person, changes, waiting)


def confirm(change_id: int, *, by: User) -> AccountChange:
    """By a second administrator. Raises Refused, and Conflict where it is decided already.

    Stale is what comes of it where the person has another name or address by now.
    """
    with transaction.atomic():
        proposals.one_at_a_time()
        change = proposals.lock_pending(change_id)
        if change is not None:
            by = User.objects.get(pk=by.pk)  # a session may be older than the loss of a right
            if reason := proposals.why_not(change, by):
                raise Refused(reason)
            if not proposals.close_if_stale(change):
                name = by.get_username()
                proposals.close(
                    change, AccountChange.Status.CONFIRMED, by=by, note=f"confirmed by {name}"
                )
                apply(change, by=name, how=Membership.How.CONFIRMED)
    return proposals.decided(change)


def confirm_by_command(change_id: int, *, by: str) -> AccountChange:
    """On the machine, where there is no second administrator; the log says so. Raises Refused
    where there is one, and Conflict where it is decided already."""
    with transaction.atomic():
        proposals.one_at_a_time()
        change = proposals.lock_pending(change_id)
        if change is not None:
            if able := proposals.confirmers(change):
                names = ", ".join(each.get_username() for each in able)
                raise Refused(f"There is a second administrator, who must confirm it: {names}.")
            if not proposals.close_if_stale(change):
                note = "confirmed by command: there is no second administrator"
                proposals.close(
                    change, AccountChange.Status.CONFIRMED, by=None, note=note, actor=by
                )
                apply(change, by=by, how=Membership.How.COMMAND)
    return proposals.decided(change)


def apply(change: AccountChange, *, by: str, how: str) -> None:
    """Put a confirmed change into force; the caller holds the locks and has checked everything."""
    person, wanted = change.person, change.wanted
    before = {name: getattr(person, name) for name in FIELDS}
    had = {group.name for group in person.groups.all()}
    with acting(by=by, reason=f"account change #{change.pk}"):
        changes = _write(person, before, {k: v for k, v in wanted.items() if k in FIELDS})
        more = set(wanted.get("groups", ())) - had
        _join(person, more, how=how)
        if more:
            changes["groups"] = {"old": sorted(had), "new": sorted(had | more)}
        if changes:
            record_change(
                person,
                changes,
                by=by,
                meta={
                    "changeId": change.pk,
                    "proposedBy": change.proposer,
                    **proposals.approval(change, by),
                },
            )
        if wanted.get("link"):
            links.issue(person, by=by, mailed=True)


def record_change(
    person: User, changes: Mapping[str, Any], *, by: str, meta: Mapping[str, Any] | None = None
) -> None:
    """The event, and the messages: to the address of before too, if it is another now."""
    old = changes["email"]["old"] if "email" in changes else ""
    notices.record_and_notify(
        "USER_CHANGED",
        f"User {person.get_username()} changed: {', '.join(sorted(changes))}",
        person,
        by=by,
        meta={"changes": dict(changes), **(meta or {})},
        change="; ".join(
            f"{field} {_plain(each['old'])} → {_plain(each['new'])}"
            for field, each in sorted(changes.items())
        ),
        former_address=old,
    )


def name_problem(name: str, *, of: User | None = None) -> str:
    """Why a username cannot be given to somebody; empty when it can. A name that somebody else has
    or had, or that looks like it, is theirs for good."""
    if problem := names.username_problem(name):
        return problem
    others = User.objects.all()
    former = FormerName.objects.all()
    if of is not None:
        others, former = others.exclude(pk=of.pk), former.exclude(person=of)
    if taken := names.alike(name, others.values_list("username", flat=True)):
        return f"It is, or looks like, the name of {taken}."
    if names.alike(name, former.values_list("name", flat=True)):
        return "It is, or looks like, a name that somebody else had."
    return ""


def _check_rights(person: User, by: User, new: Mapping[str, Any], groups: set[str]) -> None:
    if not by.is_active or not by.has_perm("auth.change_user"):
        raise Refused("Only administrators can change accounts.")
    if person.is_superuser and not by.is_superuser and person.pk != by.pk:
        raise Refused("Only a superuser can change a superuser.")
    if person.pk == by.pk and (groups or new.keys() & {*RIGHTS, "password"}):
        raise Refused("You cannot change your own rights or send yourself a link.")
    if "is_superuser" in new and not by.is_superuser:
        raise Refused("Only a superuser can make superusers.")


def _split(groups: set[str]) -> tuple[set[str], set[str]]:
    """Those that only read, and the guarded ones."""
    guarded = groups & membership.guarded_groups()
    return groups - guarded, guarded


def _join(person: User, groups: set[str], *, how: str) -> None:
    for group in Group.objects.filter(name__in=groups):
        membership.join(person, group, how=how, now=timezone.now())


def _write(person: User, before: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    if not new:
        return {}
    for name, value in new.items():
        setattr(person, name, value)
    person.save(update_fields=list(new))
    if "username" in new:
        FormerName.objects.create(name=before["username"], person=person)
    return {name: {"old": before[name], "new": value} for name, value in new.items()}


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in ("email", "first_name", "last_name") if name in values}


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value) or "nothing"
