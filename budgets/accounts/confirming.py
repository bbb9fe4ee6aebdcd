"""The second administrator's confirmation, or the machine owner's where there is none."""

from django.contrib.auth.models import User
from django.db import transaction

from budgets.accounts import changing, proposals
from budgets.exceptions import Refused
from budgets.models import AccountChange, Membership

CONFIRMED = AccountChange.Status.CONFIRMED


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
                proposals.close(change, CONFIRMED, by=by, note=f"confirmed by {name}")
                changing.apply(change, by=name, how=Membership.How.CONFIRMED)
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
                proposals.close(change, CONFIRMED, by=None, note=note, actor=by)
                changing.apply(change, by=by, how=Membership.How.COMMAND)
    return proposals.decided(change)
