"""Applying a request when everything it needs is there, whatever came last.

That may be the last vote. It may also be a voter who comes back into their group, a rule that asks
for less, or a grant that ends: so decisions, the acts that change what is needed, and the job
`watch cap change requests` all call this, and a request is judged as of that moment, under its
lock.
"""

import logging

from django.contrib.auth.models import User
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.utils import timezone

from budgets.approvals import rules, subjects
from budgets.approvals.applying import apply
from budgets.approvals.ending import close, lock_pending
from budgets.approvals.needs import lines_of, slots_of
from budgets.approvals.people import assignment, solo_vote
from budgets.exceptions import Refused
from budgets.models import ChangeRequest

Status = ChangeRequest.Status
log = logging.getLogger(__name__)


def complete(request: ChangeRequest) -> bool:
    """Apply this pending request, whose lock the caller holds, if every slot is filled; or close
    it, where it cannot be applied any more. False: it still waits. Raises Refused where the subject
    allows no change now."""
    needed = slots_of(request)
    seats = assignment(request, needed)
    solo = None
    if not rules.is_filled(needed, seats):
        solo = solo_vote(request, needed)
        if solo is None:
            return False
    try:
        subject = subjects.lock(request.subject_type, request.subject_id)
    except ObjectDoesNotExist:
        close(request, Status.STALE, by="tollgate", note="what it would change is gone")
        return True
    lines = lines_of(request)
    values = subject.values()
    if any(values.get(measure) != old for measure, (old, _) in lines.items()):
        close(request, Status.STALE, by="tollgate", note="the base caps have moved")
        return True
    subject.may_change()
    if request.grant_until is not None and request.grant_until <= timezone.now():
        close(request, Status.EXPIRED, by="tollgate", note="its time is over")
        return True
    people = User.objects.in_bulk([solo.voter_id] if solo else seats)
    apply(
        request,
        subject,
        lines,
        approvers=sorted(person.get_username() for person in people.values()),
        level=" + ".join(sorted(needed if solo else set(seats.values()))),
        second_factor_at=solo.second_factor_at if solo else None,
    )
    return True


def complete_pending() -> int:
    """Complete every pending request that can be; gives how many. Each in a transaction of its own,
    so that one that cannot does not stop the others. Safe to run twice, and beside decisions."""
    pending = ChangeRequest.objects.filter(status=Status.PENDING, votes__isnull=False).distinct()
    done = 0
    for pk in pending.order_by("pk").values_list("pk", flat=True):
        try:
            with transaction.atomic():
                request = lock_pending(pk)
                done += request is not None and complete(request)
        except Refused as error:  # no rule covers it, or its subject is archived
            log.info("Request #%s is complete and cannot be applied: %s", pk, error)
    return done
