"""Raises for a time. The effective cap is computed at admission; nothing has to be reverted."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from django.utils import timezone

from budgets.models import Grant


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
