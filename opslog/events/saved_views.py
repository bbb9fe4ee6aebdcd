"""Keeping a view of the event history under a name.

Whoever may do nothing but read keeps nothing here either: an auditor changes no row of this
service, not even one of their own. The view is in its address, so a bookmark does the same.
"""

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from opslog.exceptions import NotAllowedNow
from opslog.models import SavedView

PERMISSION = "opslog.add_savedview"
AT_MOST = 50  # of one person


def views_for(person: User) -> "QuerySet[SavedView]":
    """Their own, and those that others share."""
    return SavedView.objects.filter(Q(person=str(person.pk)) | Q(shared=True))[: AT_MOST * 4]


def keep(name: str, query: str, *, shared: bool, by: User) -> SavedView:
    """Raises NotAllowedNow where the name is taken, or there are too many."""
    if SavedView.objects.filter(person=str(by.pk)).count() >= AT_MOST:
        raise NotAllowedNow(f"You keep {AT_MOST} views already: remove one first.")
    try:
        with transaction.atomic():
            return SavedView.objects.create(
                person=str(by.pk),
                person_label=by.get_username(),
                name=name,
                query=query,
                shared=shared,
            )
    except IntegrityError:
        raise NotAllowedNow("You keep a view of that name already.") from None


def remove(view_id: int, *, by: User) -> bool:
    """Whether there was such a view of theirs; those of others stay."""
    removed, _ = SavedView.objects.filter(pk=view_id, person=str(by.pk)).delete()
    return bool(removed)
