"""Ending a raise for a time before its time."""

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from budgets.approvals.completing import complete_pending
from budgets.exceptions import Conflict, Refused
from budgets.models import Grant
from budgets.writing import stated
from opslog import events
from opslog.groups import is_operator


def end_early(grant_id: int, *, by: User, reason: str) -> Grant:
    """End a grant now, before its time: a lowering, so by operations. Raises Refused, Conflict."""
    reason = stated(reason, "A reason is required.")
    if not is_operator(by):
        raise Refused("Grants are ended by operations.")
    with transaction.atomic():
        grant = Grant.objects.select_for_update(no_key=True).get(pk=grant_id)
        now = timezone.now()
        if grant.ends_at <= now:
            raise Conflict("This grant has ended already.")
        was = grant.ends_at
        grant.ends_at = max(now, grant.starts_at)
        grant.save(update_fields=["ends_at"])
        events.record(
            "GRANT_ENDED",
            message=f"Grant of {grant.get_measure_display()} {grant.value} ended early: {reason}",
            owner=("work_order", grant.wo_id),
            actor=by.get_username(),
            meta={
                "woId": grant.wo_id,
                "grantId": grant.pk,
                "measure": grant.measure,
                "value": str(grant.value),
                "reason": reason,
                "until": {"old": was.isoformat(), "new": grant.ends_at.isoformat()},
            },
        )
    complete_pending()  # without the grant, what is asked for may need fewer signatures
    return grant
