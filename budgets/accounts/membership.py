"""Which groups are guarded, who is in them, and from when on that counts.

A guarded group may do more than read, or an approval rule names it. Being in one counts only with
the row that says how the person got in, and from the moment that row names.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.contrib.auth.models import Group, Permission, User
from django.db.models import Q
from django.utils import timezone

from budgets.models import AccountRule, ApprovalSlot, Membership
from opslog.database import query

ADMINISTERS = "change_user"  # the permission of Django's own app that makes an administrator
FIRST_DAY = timedelta(days=1)  # of an installation: who is set up in it counts at once


def guarded_groups() -> set[str]:
    """The names of the groups that decide or do anything; one query."""
    does = Permission.objects.exclude(codename__startswith="view_")
    return set(
        Group.objects.filter(
            Q(permissions__in=does) | Q(pk__in=ApprovalSlot.objects.values("group"))
        ).values_list("name", flat=True)
    )


def is_guarded(person: User) -> bool:
    """Whether somebody has rights that nobody gives or takes over alone, active or not."""
    return (
        person.is_superuser
        or person.user_permissions.exclude(codename__startswith="view_").exists()
        or person.groups.filter(name__in=guarded_groups()).exists()
    )


def memberships_of(person: User) -> dict[str, datetime]:
    """The groups somebody is in, by name, and from when on each counts. Read for many people at
    once where `groups` and `memberships` are prefetched."""
    inside = {group.pk: group.name for group in person.groups.all()}
    return {
        inside[each.group_id]: each.counts_from
        for each in person.memberships.all()
        if each.group_id in inside
    }


def counting_groups(person: User, *, at: datetime | None = None) -> set[str]:
    """The groups this person acts for at that moment (now)."""
    return counting(memberships_of(person), at or timezone.now())


def counting(memberships: Mapping[str, datetime], at: datetime) -> set[str]:
    return {name for name, counts_from in memberships.items() if counts_from <= at}


def administrators() -> list[User]:
    """The active people who administer, whether or not they count yet, by name."""
    may = Permission.objects.filter(content_type__app_label="auth", codename=ADMINISTERS)
    return list(
        User.objects.filter(
            Q(is_superuser=True) | Q(groups__permissions__in=may) | Q(user_permissions__in=may),
            is_active=True,
        )
        .distinct()
        .order_by("username")
    )


def administers(person: User) -> bool:
    """Whether somebody counts as an administrator now: a superuser, or in a group that administers
    and past the waiting time."""
    if not person.is_active:
        return False
    return (
        person.is_superuser
        or Group.objects.filter(
            name__in=counting_groups(person),
            permissions__content_type__app_label="auth",
            permissions__codename=ADMINISTERS,
        ).exists()
    )


def join(person: User, group: Group, *, how: str, now: datetime) -> Membership:
    """Put somebody into a group; in the caller's transaction, which records it."""
    person.groups.add(group)
    waits = group.name in guarded_groups() and now >= installed_at() + FIRST_DAY
    membership, _ = Membership.objects.update_or_create(
        person=person,
        group=group,
        defaults={
            "how": how,
            "since": now,
            "counts_from": now + waiting_time() if waits else now,
        },
    )
    return membership


def leave(person: User, group: Group) -> None:
    person.groups.remove(group)
    Membership.objects.filter(person=person, group=group).delete()


def waiting_time() -> timedelta:
    """From a membership to the first vote; the newest row counts."""
    return timedelta(hours=AccountRule.objects.order_by("-id")[:1].get().waiting_hours)


def installed_at() -> datetime:
    """When this database was first migrated. The application's role cannot write that table."""
    (at,) = query.one("SELECT min(applied) FROM django_migrations")
    moment: datetime = at
    return moment
