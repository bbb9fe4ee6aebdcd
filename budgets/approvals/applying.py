"""Putting an approved change into force, with its proof and its event, in one transaction."""

from datetime import datetime
from typing import Any

from django.utils import timezone

from budgets.approvals import solo_operator
from budgets.approvals.ending import close
from budgets.approvals.needs import Lines
from budgets.approvals.subjects import Subject
from budgets.approvals.wording import about, changes_of, number, told
from budgets.models import ChangeRequest, Grant
from opslog import events


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
        message=f"{subject.label}: {told(lines)}"
        + _time(request)
        + (f" (signed by the solo operator {names})" if second_factor_at else ""),
        owner=(request.subject_type, request.subject_id),
        label=subject.label,
        actor=names,
        meta=_meta(request, lines, approvers, level)
        | solo_operator.told(second_factor_at, waited_since=request.waits_since),
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
