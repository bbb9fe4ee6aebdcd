"""Applying a request when everything it needs is there, whatever came last.

That may be the last vote. It may also be a voter who comes back into their group, a rule that asks
for less, or a grant that ends: so decisions, the acts that change what is needed, and the job
`watch cap change requests` all call this, and a request is judged as of that moment, under its
lock.
"""

import logging
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.utils import timezone

from budgets.approvals import rules, solo_operator, subjects
from budgets.approvals.ending import close, lock_pending
from budgets.approvals.needs import Lines, lines_of, slots_of
from budgets.approvals.people import assignment, solo_vote
from budgets.approvals.subjects import Subject
from budgets.approvals.wording import about, changes_of, describe, number
from budgets.exceptions import Refused
from budgets.models import ChangeRequest, Grant
from opslog import events

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
    """Complete every pending request that can be; returns how many. Each in its own transaction,
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


def apply(
    request: ChangeRequest,
    subject: Subject,
    lines: Lines,
    *,
    approvers: list[str],
    level: str,
    second_factor_at: datetime | None = None,
) -> None:
    """The caller holds the locks and has checked the base and the signatures. `second_factor_at`:
    of the solo operator whose one signature it was."""
    names = ", ".join(approvers)
    new = {measure: value for measure, (_, value) in lines.items()}
    # The event comes first: the triggers on caps and grants ask for it.
    events.record(
        subject.event,
        message=f"{subject.label}: {describe(lines)}"
        + _time(request)
        + (f" (signed by the solo operator {names})" if second_factor_at else ""),
        owner=(request.subject_type, request.subject_id),
        label=subject.label,
        actor=names,
        meta=_meta(request, lines, approvers, level)
        | solo_operator.metadata(second_factor_at, waited_since=request.waits_since),
    )
    if request.grant_from is not None and request.grant_until is not None:
        Grant.objects.bulk_create(
            Grant(
                wo_id=request.subject_id,
                measure=measure,
                value=value,
                starts_at=request.grant_from,
                ends_at=request.grant_until,
                request=request,
                granted_by=names,
                reason=request.justification,
            )
            for measure, value in new.items()
        )
    else:
        subject.write(new, request=request, reason=request.justification, by=names)
    close(request, ChangeRequest.Status.APPLIED, by=names, note=level)


def _time(request: ChangeRequest) -> str:
    if request.grant_from is None or request.grant_until is None:
        return ""
    return f" from {request.grant_from:%Y-%m-%d %H:%M} until {request.grant_until:%Y-%m-%d %H:%M}"


def _meta(request: ChangeRequest, lines: Lines, approvers: list[str], level: str) -> dict[str, Any]:
    meta: dict[str, Any] = {
        **about(request),
        "changes": changes_of(lines),
        "reason": request.justification,
        "approvers": approvers,
        "approvalLevel": level,
        "approvalDate": timezone.now().isoformat(),
    }
    if len(approvers) == 1:
        meta["approver"] = approvers[0]
    if len(lines) == 1:
        ((old, new),) = lines.values()
        meta |= {"previousCap": number(old), "newCap": number(new)}
    if request.grant_from is not None and request.grant_until is not None:
        meta |= {
            "from": request.grant_from.isoformat(),
            "until": request.grant_until.isoformat(),
        }
    return meta
