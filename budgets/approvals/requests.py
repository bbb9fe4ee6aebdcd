"""Asking for other limits, changing one's mind about it, withdrawing it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from budgets.approvals import notices, subjects
from budgets.approvals.completing import apply
from budgets.approvals.ending import NOBODY_DECIDED, close, decided, lock_pending
from budgets.approvals.needs import Lines, lines_of, raised_by, slots_of
from budgets.approvals.people import parties
from budgets.approvals.wording import about, changes_of, describe
from budgets.exceptions import Refused
from budgets.models import ChangeLine, ChangeRequest, Measure
from budgets.models.approvals import ChangeRequests
from budgets.writing import refusing, stated
from opslog import events
from opslog.groups import OPERATIONS, is_operator

Status = ChangeRequest.Status
LIFETIME = timedelta(hours=24)
LONGEST_GRANT = timedelta(days=31)
LATEST_BEGINNING = timedelta(days=90)
THESE = {
    "work_order": "this work order's caps",
    "budget": "this limit",
    "feature": "this feature's limits",
    "approval_limit": "this limit",
    "service_token": "this token's ceiling",
}
NO_IMPACT = "The expected cost impact is required: dollars a day or a month, and how you know."


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
    token_id: int | None = None,
) -> ChangeRequest:
    """Ask for other limits of a subject, a work order unless `kind` says otherwise; `new` maps
    measures to values, None leaves one as it is.

    A raise says what it is expected to cost.

    With `grant_from` and `grant_until` it is a raise for that time only. A request that only
    lowers takes effect at once, if an operator makes it; with a token it is refused, since a token
    never decides. `token_id`: a program asks with it, `by` its owner; otherwise a person asks, and
    sets aside what a program has open on the same subject. Raises Refused, and Conflict where
    another request is open already.
    """
    justification = stated(justification, "A justification is required.")
    with transaction.atomic():
        subject = subjects.lock(kind, subject_id)
        subject.may_change()
        lines = _lines(subject, new, is_grant=_check_interval(grant_from, grant_until))
        lowers = all(value < old for old, value in lines.values())
        if lowers and not is_operator(by):
            raise Refused("Caps are lowered by operations; it takes effect at once.")
        if not lowers and not expected_cost_impact.strip():
            raise Refused(NO_IMPACT)
        if lowers and token_id is not None:
            raise Refused("Caps are lowered by a person in a session, not by a token.")
        _close_overdue_of(kind, subject_id)
        if token_id is None and not lowers:
            _set_aside_program_of(kind, subject_id, by)
        now = timezone.now()
        with refusing(f"A change of {THESE[kind]} is being decided already."):
            request = ChangeRequest.objects.create(
                # A lowering is decided as it is made: an open request does not stand in its way
                # (and finds its base moved, if it was about the same cap).
                status=Status.APPLIED if lowers else Status.PENDING,
                decided_at=now if lowers else None,
                subject_type=kind,
                subject_id=subject_id,
                requester=by,
                # Its owner and maker are stamped by a trigger, which also holds how many one token
                # may open.
                token_id=token_id,
                token_owner=None if token_id is None else by,
                justification=justification,
                expected_cost_impact=expected_cost_impact.strip(),
                expires_at=now + LIFETIME,
                grant_from=grant_from,
                grant_until=grant_until,
            )
        if token_id is not None:
            request.refresh_from_db()
        _write_lines(request, lines)
        needed = {} if lowers else slots_of(request)
        _record(
            request, "CAP_CHANGE_REQUESTED", f"{subject.label}: {describe(lines)} asked for", by
        )
        if lowers:
            apply(request, subject, lines, approvers=[by.get_username()], level=OPERATIONS)
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
    """Change an open request, by who asked, or by anybody who may ask where a program did: they
    take it over and are the requester from then on. The votes so far count no more; its life does
    not begin anew. Raises Refused, Conflict."""
    justification = stated(justification, "A justification is required.")
    expected_cost_impact = stated(expected_cost_impact, NO_IMPACT)
    with transaction.atomic():
        request = lock_pending(request_id)
        if request is not None:
            if not may_edit(request, by):
                raise Refused("Only who asked can change a request.")
            taken_over = request.requester_id != by.pk
            subject = subjects.lock(request.subject_type, request.subject_id)
            lines = _lines(subject, new, is_grant=_check_interval(grant_from, grant_until))
            if all(value < old for old, value in lines.values()):
                raise Refused("To lower caps, withdraw this request and ask for the lower ones.")
            request.lines.all().delete()
            request.revision += 1
            request.requester = by
            request.justification = justification
            request.expected_cost_impact = expected_cost_impact
            request.grant_from, request.grant_until = grant_from, grant_until
            request.save()
            _write_lines(request, lines)
            needed = slots_of(request)
            when = "taken over, now" if taken_over else "now"
            _record(request, "CAP_CHANGE_EDITED", f"{subject.label}: {when} {describe(lines)}", by)
            if taken_over:
                notices.taken_over(request, by=by)
            _tell(request, subject.label, lines, needed)
    return decided(request)


def cancel(request_id: int, *, by: User) -> ChangeRequest:
    """Withdraw one's own request. Raises Refused and Conflict."""
    with transaction.atomic():
        request = lock_pending(request_id)
        if request is not None:
            if request.requester_id != by.pk:
                raise Refused("Only who asked can withdraw a request.")
            name = by.get_username()
            close(request, Status.CANCELLED, by=name, note="withdrawn", person=by)
    return decided(request)


def may_edit(request: ChangeRequest, person: User) -> bool:
    """Whether this person may change an open request: their own, or a program's."""
    if request.requester_id == person.pk:
        return True
    return request.is_programs and _may_ask(person)


def may_set_aside(request: ChangeRequest, person: User) -> bool:
    """Whether this person may set an open request aside: a program's, if they may ask at all."""
    return request.is_programs and _may_ask(person)


def set_aside(request_id: int, *, by: User, reason: str) -> ChangeRequest:
    """End what a program asked, without a decision on it. Raises Refused and Conflict."""
    reason = stated(reason, "A reason is required.")
    with transaction.atomic():
        request = lock_pending(request_id)
        if request is not None:
            if not may_set_aside(request, by):
                raise Refused("Only a program's request is set aside; a person's is decided.")
            name = by.get_username()
            close(request, Status.SET_ASIDE, by=name, note=reason, person=by)
    return decided(request)


def _may_ask(person: User) -> bool:
    return person.is_active and person.has_perm("budgets.ask_changerequest")


def _set_aside_program_of(kind: str, subject_id: str, by: User) -> None:
    """Make way for a person's request."""
    for free in _free(kind, subject_id).filter(token__isnull=False, revision=1):
        note = "a person requests a change of the same limits"
        close(free, Status.SET_ASIDE, by=by.get_username(), note=note, person=by)


def _close_overdue_of(kind: str, subject_id: str) -> None:
    for free in _free(kind, subject_id).overdue():
        close(free, Status.EXPIRED, by="tollgate", note=NOBODY_DECIDED)


def _free(kind: str, subject_id: str) -> ChangeRequests:
    """The open requests of a subject that nobody holds, locked. The order of locks is request, then
    subject, and the subject is locked already: whoever holds one decides on it this moment."""
    return ChangeRequest.objects.select_for_update(no_key=True, skip_locked=True).filter(
        subject_type=kind, subject_id=subject_id, status=Status.PENDING
    )


def _check_interval(since: datetime | None, until: datetime | None) -> bool:
    if since is None and until is None:
        return False
    if since is None or until is None:
        raise Refused("A raise for a time needs both its beginning and its end.")
    if not since < until:
        raise Refused("The end of the time must come after its beginning.")
    if until <= timezone.now():
        raise Refused("That time is over already.")
    if since > timezone.now() + LATEST_BEGINNING:
        raise Refused(f"A raise for a time begins within {LATEST_BEGINNING.days} days.")
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
    notices.asked(
        request,
        label,
        lines,
        needed,
        usd_per_day=max(resulting, asked),
        parties=parties(request),
    )


def _record(request: ChangeRequest, kind: str, message: str, by: User) -> None:
    events.record(
        kind,
        message=message,
        owner=(request.subject_type, request.subject_id),
        actor=by.get_username(),
        meta={
            **about(request),
            **_program(request),
            "revision": request.revision,
            "changes": changes_of(lines_of(request)),
            "reason": request.justification,
            "expectedCostImpact": request.expected_cost_impact,
            "from": request.grant_from and request.grant_from.isoformat(),
            "until": request.grant_until and request.grant_until.isoformat(),
        },
    )


def _program(request: ChangeRequest) -> dict[str, str]:
    """The token that asked, and who made it, for an event."""
    if request.token is None:
        return {}
    maker = request.token_maker.get_username() if request.token_maker else ""
    return {
        "tokenName": request.token.name,
        "tokenPrefix": request.token.prefix,
        "tokenOwner": request.token.owner.get_username(),
        "tokenMaker": maker,
    }
