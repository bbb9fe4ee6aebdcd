"""The end of a request: exactly one, taken under the lock."""

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from budgets.approvals import notices
from budgets.approvals.subjects import name_of
from budgets.approvals.wording import about
from budgets.exceptions import Conflict
from budgets.models import ChangeRequest
from opslog import events

NOBODY_DECIDED = "nobody decided in time"


def lock_pending(request_id: int) -> ChangeRequest | None:
    """The request, locked; None when it is decided, or expired under this very lock."""
    request = ChangeRequest.objects.select_for_update(no_key=True).get(pk=request_id)
    if request.status != ChangeRequest.Status.PENDING:
        return None
    if request.expires_at <= timezone.now():
        close(request, ChangeRequest.Status.EXPIRED, by="tollgate", note=NOBODY_DECIDED)
        return None
    return request


def decided(request: ChangeRequest | None) -> ChangeRequest:
    """What `lock_pending` has given, after its transaction. Raises Conflict where that was None."""
    if request is None:
        raise Conflict("The request is decided or expired already.")
    return request


def close(
    request: ChangeRequest, status: str, *, by: str, note: str, person: User | None = None
) -> None:
    """The one terminal transition; the caller holds the lock on the pending request. `person`: who
    did it, and need no notice."""
    request.status = status
    request.decided_at = timezone.now()
    request.closing_note = note
    request.save(update_fields=["status", "decided_at", "closing_note"])
    if status != ChangeRequest.Status.APPLIED:  # which has its own event, as WORK_ORDER_CAP_CHANGE
        events.record(
            f"CAP_CHANGE_{status.upper()}",
            message=f"Request #{request.pk} on {name_of(request)} "
            f"{request.get_status_display()}: {note}",
            owner=(request.subject_type, request.subject_id),
            actor=by,
            meta={**about(request), "reason": note},
        )
    notices.closed(request, by=by, note=note, person=person)


def close_overdue() -> int:
    """Close what nobody decided in time. Only tidiness: expiry is found under the lock anyway."""
    overdue = ChangeRequest.objects.overdue().values_list("pk", flat=True)
    for pk in overdue:
        with transaction.atomic():
            lock_pending(pk)
    return len(overdue)
