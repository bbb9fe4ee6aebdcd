"""How far one person, or one token, goes without others: read, and lowered at once."""

from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from budgets.acting import acting
from budgets.approvals.subjects import OwnLimit
from budgets.exceptions import Refused
from budgets.models import ApprovalLimit, Grant, Measure
from budgets.writing import stated


def limit_of(measure: str, *, of_all: bool = False) -> Decimal:
    """The highest value of a measure that break-glass goes up to; `of_all`: all grants that are in
    force, together. 0: none."""
    name = f"{'all' if of_all else 'break'}_glass_{measure}"
    amount = ApprovalLimit.objects.filter(name=name).values_list("amount", flat=True).first()
    return amount or Decimal(0)


def in_force(measure: str) -> Decimal:
    """What all break-glass in force now adds up to."""
    now = timezone.now()
    grants = Grant.objects.filter(
        kind=Grant.Kind.BREAK_GLASS, measure=measure, starts_at__lte=now, ends_at__gt=now
    )
    return sum(grants.values_list("value", flat=True), Decimal(0))


def lower(limit_id: int, amount: Decimal, *, reason: str, by: User) -> ApprovalLimit:
    """Lower one; it holds at once. A raise is requested. Raises Refused."""
    reason = stated(reason, "A reason is required.")
    with transaction.atomic(), acting(by=by.get_username(), reason=reason):
        subject = OwnLimit.lock(str(limit_id))
        value = subject.checked(Measure.SHARED_LIMIT, amount)
        if value >= subject.limit.amount:
            raise Refused("This would not lower it. A raise is requested, and approved by others.")
        ApprovalLimit.objects.filter(pk=limit_id).update(amount=value)
        subject.limit.refresh_from_db()
    return subject.limit
