"""Cap changes: asked for by one person, decided by others, applied in one transaction.

Locks, in this order: the request, the work order, its counter (by a trigger). Everything is read
again after the lock; exactly one terminal transition wins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from budgets import rules
from budgets.exceptions import Conflict, Refused
from budgets.models import (
    ApprovalRule,
    CapChange,
    ChangeLine,
    ChangeRequest,
    Measure,
    Vote,
)
from opslog import events
from workorders.models import WorkOrder

LIFETIME = timedelta(hours=24)
HIGHEST: dict[str, Decimal] = {
    Measure.RUNS_PER_DAY: Decimal(10_000_000),
    Measure.USD_PER_DAY: Decimal(1_000_000),
}
FIELD_NAMES = {Measure.RUNS_PER_DAY: "runsPerDay", Measure.USD_PER_DAY: "usdPerDay"}
Caps = dict[str, Decimal]


@dataclass(frozen=True, slots=True)
class OpenSlot:
    """One signature that is asked for; `filled_by` is a username, or empty."""

    group: str
    filled_by: str


def caps_of(work_order: WorkOrder) -> Caps:
    return {
        Measure.RUNS_PER_DAY: Decimal(work_order.runs_per_day),
        Measure.USD_PER_DAY: work_order.usd_per_day,
    }


def current_rules() -> list[rules.Rule]:
    return [
        rules.Rule(
            rule.measure,
            rule.minimum,
            rule.maximum,
            {slot.group.name: slot.count for slot in rule.slots.all()},
        )
        for rule in ApprovalRule.objects.prefetch_related("slots__group")
    ]


def slots_of(lines: Mapping[str, tuple[Decimal, Decimal]]) -> dict[str, int]:
    """Who must sign for a change of (old, new) values. Raises Refused where no rule covers it."""
    raised = {measure: new for measure, (old, new) in lines.items() if new > old}
    try:
        return rules.slots_for(current_rules(), raised)
    except rules.NoRule as error:
        raise Refused(f"Nobody could approve this: {error}. Ask an administrator.") from error


def ask(
    work_order_id: str,
    *,
    new: Mapping[str, Decimal | int | None],
    justification: str,
    expected_cost_impact: str = "",
    by: User,
) -> ChangeRequest:
    """Ask for other caps; `new` maps measures to values, None leaves one as it is.

    A request that only lowers takes effect at once, if an operator makes it. Raises Refused, and
    Conflict where a request is open already.
    """
    if not justification.strip():
        raise Refused("A justification is required.")
    with transaction.atomic():
        work_order = WorkOrder.objects.select_for_update(no_key=True).get(pk=work_order_id)
        if work_order.status == WorkOrder.Status.ARCHIVED:
            raise Refused("An archived work order has no use for other caps.")
        lines = _lines(caps_of(work_order), new)
        lowers_only = all(value < old for old, value in lines.values())
        if lowers_only and not in_group(by, rules.LOWEST_GROUP):
            raise Refused("Caps are lowered by operations; it takes effect at once.")
        if not lowers_only:
            slots_of(lines)
        _close_overdue(work_order_id)
        now = timezone.now()
        try:
            with transaction.atomic():
                request = ChangeRequest.objects.create(
                    subject_id=work_order_id,
                    requester=by,
                    justification=justification.strip(),
                    expected_cost_impact=expected_cost_impact.strip(),
                    expires_at=now + LIFETIME,
                )
        except IntegrityError as error:
            raise Conflict(
                "A change of this work order's caps is being decided already."
            ) from error
        ChangeLine.objects.bulk_create(
            ChangeLine(request=request, measure=measure, old=old, new=value)
            for measure, (old, value) in lines.items()
        )
        events.record(
            "CAP_CHANGE_REQUESTED",
            message=f"{work_order.title}: {_told(lines)} asked for",
            owner=("work_order", work_order_id),
            label=work_order.title,
            actor=by.get_username(),
            meta={
                "woId": work_order_id,
                "requestId": request.pk,
                "changes": _changes(lines),
                "reason": request.justification,
                "expectedCostImpact": request.expected_cost_impact,
            },
        )
        if lowers_only:
            _apply(request, work_order, lines, approvers=[by.get_username()], level="operations")
    return request


def decide(
    request_id: int,
    *,
    by: User,
    decision: str,
    comment: str,
    seen_revision: int,
    evidence: Mapping[str, Any] | None = None,
) -> ChangeRequest:
    """Approve or refuse. The last approval that is needed applies the change.

    A vote counts for the revision its voter saw. Raises Refused, and Conflict where the request
    was decided, changed or overtaken in the meantime.
    """
    if decision not in Vote.Decision.values:
        raise Refused("Choose to approve or to refuse.")
    if not comment.strip():
        raise Refused("A comment is required.")
    with transaction.atomic():
        request = _lock_pending(request_id)
        if request is not None:
            if request.revision != seen_revision:
                raise Conflict("The request was changed since you saw it: look again.")
            if reason := may_decide(request, by):
                raise Refused(reason)
            try:
                with transaction.atomic():
                    Vote.objects.create(
                        request=request,
                        revision=request.revision,
                        voter=by,
                        group=", ".join(sorted(groups_of(by) & set(slots_of(lines_of(request))))),
                        decision=decision,
                        comment=comment.strip(),
                        evidence=dict(evidence or {}),
                    )
            except IntegrityError as error:
                raise Conflict("You have decided on this request already.") from error
            if decision == Vote.Decision.REFUSE:
                _close(request, ChangeRequest.Status.REFUSED, by=by.get_username(), note=comment)
            else:
                _record_vote(request, by, comment)
                _apply_if_filled(request)
    if request is None:
        raise Conflict("The request is decided or expired already.")
    return request


def cancel(request_id: int, *, by: User) -> ChangeRequest:
    """Withdraw one's own request. Raises Refused and Conflict."""
    with transaction.atomic():
        request = _lock_pending(request_id)
        if request is not None:
            if request.requester_id != by.pk:
                raise Refused("Only who asked can withdraw a request.")
            _close(request, ChangeRequest.Status.CANCELLED, by=by.get_username(), note="withdrawn")
    if request is None:
        raise Conflict("The request is decided or expired already.")
    return request


def may_decide(request: ChangeRequest, user: User) -> str:
    """Empty when this person may decide on this request, else the reason why not."""
    if request.status != ChangeRequest.Status.PENDING:
        return "The request is decided."
    if not user.is_active or not user.has_perm("budgets.decide_changerequest"):
        return "You do not decide on cap changes."
    if request.requester_id == user.pk:
        return "Nobody approves their own request."
    needed = slots_of(lines_of(request))
    if not groups_of(user) & set(needed):
        return f"This needs {' and '.join(sorted(needed))}."
    if request.votes.filter(revision=request.revision, voter=user).exists():
        return "You have decided on this request."
    return ""


def open_slots(request: ChangeRequest) -> list[OpenSlot]:
    """Every signature the request needs, and who has given it so far."""
    needed = slots_of(lines_of(request))
    filled = _assignment(request, needed)
    names = {
        vote.voter_id: vote.voter.get_username() for vote in request.votes.select_related("voter")
    }
    slots = []
    for group, count in sorted(needed.items()):
        signed = [names[person] for person, seat in filled.items() if seat == group]
        slots += [OpenSlot(group, name) for name in signed]
        slots += [OpenSlot(group, "")] * (count - len(signed))
    return slots


def waiting_for(user: User) -> "QuerySet[ChangeRequest]":
    """The pending requests that this person may decide now, oldest first."""
    pending = (
        ChangeRequest.objects.filter(
            status=ChangeRequest.Status.PENDING, expires_at__gt=timezone.now()
        )
        .exclude(requester=user)
        .exclude(votes__voter=user)
        .prefetch_related("lines", "votes")
    )
    mine = [request.pk for request in pending if not may_decide(request, user)]
    return ChangeRequest.objects.filter(pk__in=mine).order_by("created_at")


def lines_of(request: ChangeRequest) -> dict[str, tuple[Decimal, Decimal]]:
    return {line.measure: (line.old, line.new) for line in request.lines.all()}


def groups_of(user: User) -> set[str]:
    return set(user.groups.values_list("name", flat=True))


def in_group(user: User, name: str) -> bool:
    return user.is_active and user.groups.filter(name=name).exists()


def _lines(
    caps: Caps, new: Mapping[str, Decimal | int | None]
) -> dict[str, tuple[Decimal, Decimal]]:
    lines = {}
    for measure, told in new.items():
        if told is None:
            continue
        if measure not in Measure.values:
            raise Refused(f"There is no limit {measure}.")
        value = Decimal(told)
        step = Decimal(1) if measure == Measure.RUNS_PER_DAY else Decimal("0.01")
        if not 0 < value <= HIGHEST[measure] or value % step:
            raise Refused(
                f"{Measure(measure).label}: a multiple of {step} up to {HIGHEST[measure]}."
            )
        if value != caps[measure]:
            lines[measure] = (caps[measure], value)
    if not lines:
        raise Refused("Nothing would change.")
    return lines


def _lock_pending(request_id: int) -> ChangeRequest | None:
    """The request, locked; None when it is decided, or expired under this very lock."""
    request = ChangeRequest.objects.select_for_update(no_key=True).get(pk=request_id)
    if request.status != ChangeRequest.Status.PENDING:
        return None
    if request.expires_at <= timezone.now():
        _close(request, ChangeRequest.Status.EXPIRED, by="tollgate", note="nobody decided in time")
        return None
    return request


def _close_overdue(work_order_id: str) -> None:
    overdue = ChangeRequest.objects.select_for_update(no_key=True).filter(
        subject_type="work_order",
        subject_id=work_order_id,
        status=ChangeRequest.Status.PENDING,
        expires_at__lte=timezone.now(),
    )
    for request in overdue:
        _close(request, ChangeRequest.Status.EXPIRED, by="tollgate", note="nobody decided in time")


def _close(request: ChangeRequest, status: str, *, by: str, note: str) -> None:
    request.status = status
    request.decided_at = timezone.now()
    request.closing_note = note
    request.save(update_fields=["status", "decided_at", "closing_note"])
    if status != ChangeRequest.Status.APPLIED:
        events.record(
            f"CAP_CHANGE_{status.upper()}",
            message=f"Request #{request.pk} on {request.subject_id} {status}: {note}",
            owner=(request.subject_type, request.subject_id),
            actor=by,
            meta={"woId": request.subject_id, "requestId": request.pk, "reason": note},
        )


def _record_vote(request: ChangeRequest, by: User, comment: str) -> None:
    events.record(
        "CAP_CHANGE_APPROVED",
        message=f"Request #{request.pk} on {request.subject_id} approved by {by.get_username()}",
        owner=(request.subject_type, request.subject_id),
        actor=by.get_username(),
        meta={"woId": request.subject_id, "requestId": request.pk, "comment": comment},
    )


def _assignment(request: ChangeRequest, needed: Mapping[str, int]) -> dict[int, str]:
    """Every approval judged again, under the memberships of this moment."""
    votes = request.votes.filter(
        revision=request.revision, decision=Vote.Decision.APPROVE, voter__is_active=True
    ).order_by("id")
    people = [
        (vote.voter_id, frozenset(groups_of(vote.voter)))
        for vote in votes.select_related("voter")
        if vote.voter_id != request.requester_id
    ]
    return rules.assign(needed, people)


def _apply_if_filled(request: ChangeRequest) -> None:
    lines = lines_of(request)
    needed = slots_of(lines)
    assignment = _assignment(request, needed)
    if not rules.is_filled(needed, assignment):
        return
    work_order = WorkOrder.objects.select_for_update(no_key=True).get(pk=request.subject_id)
    caps = caps_of(work_order)
    if any(caps[measure] != old for measure, (old, _) in lines.items()):
        _close(request, ChangeRequest.Status.STALE, by="tollgate", note="the base caps have moved")
        return
    names = User.objects.in_bulk(assignment)
    _apply(
        request,
        work_order,
        lines,
        approvers=sorted(names[person].get_username() for person in assignment),
        level=" + ".join(sorted(set(assignment.values()))),
    )


def _apply(
    request: ChangeRequest,
    work_order: WorkOrder,
    lines: Mapping[str, tuple[Decimal, Decimal]],
    *,
    approvers: list[str],
    level: str,
) -> None:
    """Write proof, caps, event and closure. The caller holds the locks and has checked the base."""
    caps = caps_of(work_order)
    wanted = caps | {measure: new for measure, (_, new) in lines.items()}
    CapChange.objects.create(
        wo=work_order,
        request=request,
        old_runs_per_day=int(caps[Measure.RUNS_PER_DAY]),
        new_runs_per_day=int(wanted[Measure.RUNS_PER_DAY]),
        old_usd_per_day=caps[Measure.USD_PER_DAY],
        new_usd_per_day=wanted[Measure.USD_PER_DAY],
        reason=request.justification,
        by=", ".join(approvers),
    )
    WorkOrder.objects.filter(pk=work_order.pk).update(
        runs_per_day=int(wanted[Measure.RUNS_PER_DAY]), usd_per_day=wanted[Measure.USD_PER_DAY]
    )
    now = timezone.now()
    meta: dict[str, Any] = {
        "woId": work_order.pk,
        "requestId": request.pk,
        "changes": _changes(lines),
        "reason": request.justification,
        "approvers": approvers,
        "approvalLevel": level,
        "approvalDate": now.isoformat(),
    }
    if len(approvers) == 1:
        meta["approver"] = approvers[0]
    if len(lines) == 1:
        ((old, new),) = lines.values()
        meta |= {"previousCap": _number(old), "newCap": _number(new)}
    events.record(
        "WORK_ORDER_CAP_CHANGE",
        message=f"{work_order.title}: {_told(lines)}",
        owner=("work_order", work_order.pk),
        label=work_order.title,
        actor=", ".join(approvers),
        meta=meta,
    )
    _close(request, ChangeRequest.Status.APPLIED, by=", ".join(approvers), note=level)


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _changes(lines: Mapping[str, tuple[Decimal, Decimal]]) -> dict[str, dict[str, int | float]]:
    return {
        FIELD_NAMES[Measure(measure)]: {"old": _number(old), "new": _number(new)}
        for measure, (old, new) in lines.items()
    }


def _told(lines: Mapping[str, tuple[Decimal, Decimal]]) -> str:
    return ", ".join(
        f"{Measure(measure).label} {_number(old)} → {_number(new)}"
        for measure, (old, new) in lines.items()
    )
