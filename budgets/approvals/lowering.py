"""What one person does at once: end a raise for a time before its time, and lower how far one goes
without others."""

from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from budgets.approvals.completing import complete_pending
from budgets.approvals.subjects import OwnLimit
from budgets.audit import acting
from budgets.exceptions import Conflict, Refused
from budgets.models import ApprovalLimit, Grant, Measure
from budgets.writing import stated
from opslog import events
from opslog.groups import is_operator


def limit_of(measure: str, *, of_all: bool = False) -> Decimal:
    """The highest value of a measure that break-glass goes up to; `of_all`: all grants that are in
    force, together. 0: none."""
    name = f"{'all' if of_all else 'break'}_glass_{measure}"
    amount = ApprovalLimit.objects.filter(name=name).values_list("amount", flat=True).first()
    return amount or Decimal(0)


def in_force(measure: str) -> Decimal:
    """What all break-glass in force now adds up to."""
    grants = Grant.objects.in_force().filter(kind=Grant.Kind.BREAK_GLASS, measure=measure)
    return sum(grants.values_list("value", flat=True), Decimal(0))


def lower(limit_id: int, amount: Decimal, *, reason: str, by: User) -> ApprovalLimit:
    """Lower one; it holds at once. A raise is requested. Raises Refused."""
    reason = stated(reason, "A reason is required.")
    with transaction.atomic(), acting(by=by.get_username(), reason=reason):
        subject = OwnLimit.lock(str(limit_id))
        value = subject.checked(Measure.SHARED_LIMIT, amount)
        if value >= subject.row.amount:
            raise Refused("This would not lower it. A raise is requested, and approved by others.")
        ApprovalLimit.objects.filter(pk=limit_id).update(amount=value)
    return ApprovalLimit.objects.get(pk=limit_id)


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
