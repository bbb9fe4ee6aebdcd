"""Raises for a time. The effective cap is computed at admission; nothing has to be reverted."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from budgets.exceptions import Conflict, Refused
from budgets.models import Grant
from opslog import events


def grants_of(work_order_id: str) -> "QuerySet[Grant]":
    """Every grant of a work order, newest first."""
    return Grant.objects.filter(wo=work_order_id).select_related("reviewed_by")


class Live:
    """The grants of some work orders that are not over, read once for many questions."""

    def __init__(self, work_order_ids: Iterable[str]) -> None:
        self._grants = list(
            Grant.objects.filter(wo__in=set(work_order_ids), ends_at__gt=timezone.now())
        )

    def highest(
        self, work_order_id: str, measure: str, since: datetime, until: datetime | None
    ) -> Decimal:
        """The highest grant of a measure that overlaps [since, until); 0 without one."""
        return max(
            (
                grant.value
                for grant in self._grants
                if (grant.wo_id, grant.measure) == (work_order_id, measure)
                and grant.ends_at > since
                and (until is None or grant.starts_at < until)
            ),
            default=Decimal(0),
        )


def end_early(grant_id: int, *, by: User, reason: str) -> Grant:
    """End a grant now, before its time: a lowering, so by operations. Raises Refused, Conflict."""
    if not reason.strip():
        raise Refused("A reason is required.")
    if not by.is_active or not by.groups.filter(name="operations").exists():
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
                "reason": reason.strip(),
                "until": {"old": was.isoformat(), "new": grant.ends_at.isoformat()},
            },
        )
    return grant
