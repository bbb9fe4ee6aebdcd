"""Asking for other limits, changing one's mind about it, withdrawing it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from budgets import rules
from budgets.approvals import notices, subjects
from budgets.approvals.applying import apply
from budgets.approvals.ending import NOBODY_DECIDED, close, lock_pending
from budgets.approvals.needs import Lines, lines_of, raised_by, slots_of
from budgets.approvals.wording import about, changes_of, told
from budgets.exceptions import Conflict, Refused
from budgets.models import ChangeLine, ChangeRequest, Measure
from opslog import events

Status = ChangeRequest.Status
LIFETIME = timedelta(hours=24)
LONGEST_GRANT = timedelta(days=31)
THESE = {
    "work_order": "this work order's caps",
    "budget": "this limit",
    "feature": "this feature's limits",
    "service_token": "this token's ceiling",
}


def ask(
    subject_id: str,
    *,
    kind: str = subjects.WORK_ORDER,
    new: Mapping[str, Decimal | int | None],
    justification: str,
    expected_cost_impact: str = "",
    by: User,
    grant_from: datetime | None = None,
    grant_until: datetime | None = None,
    in_session: bool = True,
) -> ChangeRequest:
    """Ask for other limits of a subject, a work order unless `kind` says otherwise; `new` maps
    measures to values, None leaves one as it is.

    With `grant_from` and `grant_until` it is a raise for that time only. A request that only
    lowers takes effect at once, if an operator makes it; not `in_session` (by a token) it is
    refused, since a token never decides. Raises Refused, and Conflict where a request is open
    already.
    """
    if not justification.strip():
        raise Refused("A justification is required.")
    with transaction.atomic():
        subject = subjects.lock(kind, subject_id)
        subject.may_change()
        lines = _lines(subject, new, is_grant=_check_interval(grant_from, grant_until))
        lowers = all(value < old for old, value in lines.values())
        if lowers and not _is_operator(by):
            raise Refused("Caps are lowered by operations; it takes effect at once.")
        if lowers and not in_session:
            raise Refused("Caps are lowered by a person in a session, not by a token.")
        _close_overdue_of(kind, subject_id)
        now = timezone.now()
        try:
            with transaction.atomic():
                request = ChangeRequest.objects.create(
                    # A lowering is decided as it is made: an open request does not stand in its
                    # way (and finds its base moved, if it was about the same cap).
                    status=Status.APPLIED if lowers else Status.PENDING,
                    decided_at=now if lowers else None,
                    subject_type=kind,
                    subject_id=subject_id,
                    requester=by,
                    last_editor=by,
                    justification=justification.strip(),
                    expected_cost_impact=expected_cost_impact.strip(),
                    expires_at=now + LIFETIME,
                    grant_from=grant_from,
                    grant_until=grant_until,
                )
        except IntegrityError as error:
            raise Conflict(f"A change of {THESE[kind]} is being decided already.") from error
        _write_lines(request, lines)
        needed = {} if lowers else slots_of(request)
        _record(request, "CAP_CHANGE_REQUESTED", f"{subject.label}: {told(lines)} asked for", by)
        if lowers:
            apply(request, subject, lines, approvers=[by.get_username()], level="operations")
        else:
            _tell(request, subject.label, lines, needed)
    return request


def edit(
    request_id: int,
    *,
    new: Mapping[str, Decimal | int | None],
    justification: str,
    expected_cost_impact: str = "",
    by: User,
    grant_from: datetime | None = None,
    grant_until: datetime | None = None,
) -> ChangeRequest:
    """Change an open request, by who asked. The votes so far count no more; its life does not
    begin anew. Raises Refused, Conflict."""
    if not justification.strip():
        raise Refused("A justification is required.")
    with transaction.atomic():
        request = lock_pending(request_id)
        if request is not None:
            if request.requester_id != by.pk:
                raise Refused("Only who asked can change a request.")
            subject = subjects.lock(request.subject_type, request.subject_id)
            lines = _lines(subject, new, is_grant=_check_interval(grant_from, grant_until))
            if all(value < old for old, value in lines.values()):
                raise Refused("To lower caps, withdraw this request and ask for the lower ones.")
            request.lines.all().delete()
            request.revision += 1
            request.last_editor = by
            request.justification = justification.strip()
            request.expected_cost_impact = expected_cost_impact.strip()
            request.grant_from, request.grant_until = grant_from, grant_until
            request.save()
            _write_lines(request, lines)
            needed = slots_of(request)
            _record(request, "CAP_CHANGE_EDITED", f"{subject.label}: now {told(lines)}", by)
            _tell(request, subject.label, lines, needed)
    if request is None:
        raise Conflict("The request is decided or expired already.")
    return request


def cancel(request_id: int, *, by: User) -> ChangeRequest:
    """Withdraw one's own request. Raises Refused and Conflict."""
    with transaction.atomic():
        request = lock_pending(request_id)
        if request is not None:
            if request.requester_id != by.pk:
                raise Refused("Only who asked can withdraw a request.")
            close(request, ChangeRequest.Status.CANCELLED, by=by.get_username(), note="withdrawn")
    if request is None:
        raise Conflict("The request is decided or expired already.")
    return request


def _close_overdue_of(kind: str, subject_id: str) -> None:
    for request in ChangeRequest.objects.filter(
        subject_type=kind,
        subject_id=subject_id,
        status=ChangeRequest.Status.PENDING,
        expires_at__lte=timezone.now(),
    ):
        # The order of locks is request, then subject; the subject is locked already here. So
        # this one is taken only if it is free: whoever holds it closes it.
        locked = ChangeRequest.objects.select_for_update(no_key=True, skip_locked=True).filter(
            pk=request.pk, status=ChangeRequest.Status.PENDING
        )
        for free in locked:
            close(free, ChangeRequest.Status.EXPIRED, by="tollgate", note=NOBODY_DECIDED)


def _check_interval(since: datetime | None, until: datetime | None) -> bool:
    if since is None and until is None:
        return False
    if since is None or until is None:
        raise Refused("A raise for a time needs both its beginning and its end.")
    if not since < until:
        raise Refused("The end of the time must come after its beginning.")
    if until <= timezone.now():
        raise Refused("That time is over already.")
    if until - since > LONGEST_GRANT:
        raise Refused(f"A raise for a time lasts {LONGEST_GRANT.days} days at most.")
    return True


def _lines(
    subject: subjects.Subject, new: Mapping[str, Decimal | int | None], *, is_grant: bool
) -> Lines:
    if is_grant and subject.only_raises:
        raise Refused("A shared limit is raised for good, and lowered again by an operator.")
    values = subject.values()
    lines: Lines = {}
    for measure, wanted in new.items():
        if wanted is None:
            continue
        value = subject.checked(measure, wanted)
        if measure not in values:
            raise Refused(f"{subject.label} has no such limit to change.")
        if subject.only_raises and value < values[measure]:
            raise Refused("A shared limit is lowered on its own page; it takes effect at once.")
        if is_grant and value <= values[measure]:
            raise Refused("A raise for a time must be above the cap that holds anyway.")
        if value != values[measure]:
            lines[measure] = (values[measure], value)
    if not lines:
        raise Refused("Nothing would change.")
    return lines


def _write_lines(request: ChangeRequest, lines: Lines) -> None:
    ChangeLine.objects.bulk_create(
        ChangeLine(request=request, measure=measure, old=old, new=value)
        for measure, (old, value) in lines.items()
    )


def _tell(request: ChangeRequest, label: str, lines: Lines, needed: Iterable[str]) -> None:
    resulting = raised_by(request).get(Measure.USD_PER_DAY, Decimal(0))
    _, asked = lines.get(Measure.USD_PER_DAY, (0, Decimal(0)))
    notices.asked(request, label, lines, needed, usd_per_day=max(resulting, asked))


def _is_operator(user: User) -> bool:
    return user.is_active and user.groups.filter(name=rules.LOWEST_GROUP).exists()


def _record(request: ChangeRequest, kind: str, message: str, by: User) -> None:
    events.record(
        kind,
        message=message,
        owner=(request.subject_type, request.subject_id),
        actor=by.get_username(),
        meta={
            **about(request),
            "revision": request.revision,
            "changes": changes_of(lines_of(request)),
            "reason": request.justification,
            "expectedCostImpact": request.expected_cost_impact,
            "from": request.grant_from and request.grant_from.isoformat(),
            "until": request.grant_until and request.grant_until.isoformat(),
        },
    )
