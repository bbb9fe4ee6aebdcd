"""The circuit breaker, by hand: trip it, reset it, see it. It trips by itself inside admission."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.expressions import RawSQL

from budgets import alerts
from budgets.audit import acting
from budgets.exceptions import Refused
from budgets.models import Budget, CircuitBreaker
from budgets.writing import stated
from opslog import events
from opslog.database import query
from workorders.models import WorkOrder

Scope, State = CircuitBreaker.Scope, CircuitBreaker.State
SWITCH = "SELECT (tollgate.switch_breaker_v1(%s, %s, %s, %s)).id"
COMMITTED = """
SELECT coalesce(sum(settled_usd), 0), coalesce(sum(reserved_usd), 0)
FROM (SELECT tollgate.now() AS now) c LEFT JOIN counters ON scope = 'global' AND subject = ''
    AND "window" = 'rolling_minute'
    AND starts_at BETWEEN tollgate.counts_from('rolling_minute', now) AND now
"""


@dataclass(frozen=True, slots=True)
class Committed:
    """US dollars committed in the last 60 to 65 seconds, as the breaker counts, against what warns
    and what trips."""

    settled_usd: Decimal
    held_usd: Decimal
    warns_at: Decimal | None
    trips_at: Decimal | None

    @property
    def usd(self) -> Decimal:
        return self.settled_usd + self.held_usd


def committed() -> Committed:
    limit = Budget.objects.filter(scope="global", window="rolling_minute", measure="usd").first()
    settled, held = query.one(COMMITTED)
    return Committed(
        settled,
        held,
        limit.warning_amount if limit else None,
        limit.amount if limit else None,
    )


def trip(scope: str, subject: str, *, reason: str, by: str) -> CircuitBreaker:
    """Open a breaker now; it half-opens by itself after its `open_seconds`. Raises Refused."""
    if scope == Scope.WORK_ORDER and not WorkOrder.objects.filter(pk=subject).exists():
        raise Refused(f"There is no work order {subject}.")
    return _switch(scope, subject, True, reason, by)


def reset(scope: str, subject: str, *, reason: str, by: str) -> CircuitBreaker:
    """Close a breaker. Raises Refused for one that is closed."""
    return _switch(scope, subject, False, reason, by)


def set_rules(
    breaker_id: int,
    *,
    open_seconds: int,
    probe_seconds: int,
    recent_runs: int | None,
    error_percent: int | None,
    reason: str,
    by: str,
) -> None:
    """How long it stays open, how long its probe may take; and, of work orders, when it trips.
    Seconds. Raises Refused."""
    reason = stated(reason, "A change needs a reason.")
    with transaction.atomic(), acting(by=by, reason=reason):
        CircuitBreaker.objects.filter(pk=breaker_id).update(
            open_seconds=open_seconds,
            probe_seconds=probe_seconds,
            recent_runs=recent_runs,
            error_percent=error_percent,
        )


def with_due(breakers: "QuerySet[CircuitBreaker]") -> Any:
    """With `due`: open and its time is over, or half-open and its probe's time is over, by the
    clock of admissions. It blocks nothing any more: the next start is admitted as its probe."""
    over = ~Q(state=State.CLOSED) & Q(half_open_at__lte=RawSQL("tollgate.now()", ()))
    return breakers.annotate(due=ExpressionWrapper(over, BooleanField()))


def not_closed() -> list[Any]:
    """With `due`, those that block first."""
    found = with_due(CircuitBreaker.objects.exclude(state=State.CLOSED))
    return list(found.order_by("due", "scope", "subject"))


def _switch(scope: str, subject: str, opens: bool, reason: str, by: str) -> CircuitBreaker:
    reason = stated(reason, "A breaker is switched with a reason.")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SWITCH, [scope, subject, opens, f"by {by}: {reason}"])
        found = cursor.fetchone()[0]
        if found is None:
            raise Refused("The breaker is closed already.")
        breaker = CircuitBreaker.objects.get(pk=found)
        events.record(
            "BREAKER_SWITCHED",
            message=f"{breaker} {'tripped' if opens else 'reset'} by hand",
            owner=("circuit_breaker", str(breaker.pk)),
            actor=by,
            meta={"state": breaker.state, "reason": reason, "subject": subject},
        )
        alerts.tell_soon()
    return breaker
