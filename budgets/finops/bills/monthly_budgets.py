"""Monthly budgets and mapped services changed by people, and alerts when a tier is reached."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from budgets.finops.bills import actuals, projection
from budgets.finops.bills.projection import Projection
from budgets.models import Alert, Budget, DimensionBudget, ServiceMapping
from budgets.writing import save, stated
from opslog import events, jobs
from opslog.telemetry import rollup

FIELDS = ("owner", "monthly_usd", "tiers", "covers", "aws_services")
MAPPED = ("service_category", "service_name", "dimension")


def change(budget_id: int, values: Mapping[str, Any], *, reason: str, by: str) -> DimensionBudget:
    """Raises Refused for values that cannot be kept."""
    reason = stated(reason, "A change needs a reason.")
    with transaction.atomic():
        budget = DimensionBudget.objects.select_for_update(no_key=True).get(pk=budget_id)
        before = events.as_text(budget, FIELDS)
        for name in FIELDS:
            setattr(budget, name, values[name])
        save(budget)
        changes = events.changed(before, events.as_text(budget, FIELDS))
        if changes:
            events.record(
                "MONTHLY_BUDGET_CHANGE",
                message=f"Monthly budget of {budget} changed: {', '.join(changes)}",
                owner=("dimension_budget", str(budget.pk)),
                label=str(budget),
                actor=by,
                meta={"changes": changes, "reason": reason},
            )
    return budget


def map_service(mapping_id: int | None, values: Mapping[str, Any], *, by: str) -> ServiceMapping:
    """Say which dimension a service's charges belong to. Raises Refused."""
    with transaction.atomic():
        mapping = (
            ServiceMapping()
            if mapping_id is None
            else ServiceMapping.objects.select_for_update(no_key=True).get(pk=mapping_id)
        )
        before = mapping.dimension
        for name in MAPPED:
            setattr(mapping, name, values[name])
        save(mapping)
        events.record(
            "SERVICE_MAPPED",
            message=f"{mapping} belongs to {mapping.get_dimension_display()}",
            owner=("service_mapping", str(mapping.pk)),
            label=str(mapping),
            actor=by,
            meta={"old": before, "new": mapping.dimension},
        )
    return mapping


def watch(today: date) -> int:
    """Raise an alert for each tier that a month has reached, once: of this month, and of the last,
    whose bills come late. Returns how many are new.

    Sums telemetry up first: an hour whose sums are stale may count what a run has settled again.
    """
    rollup.refresh()
    new = 0
    this = actuals.first_of(today)
    for month in (actuals.month_before(this), this):
        figures = actuals.of_month(month)
        with transaction.atomic():
            for budget in DimensionBudget.objects.exclude(monthly_usd=None):
                usd = figures[budget.dimension].usd
                for tier in actuals.tiers_passed(usd, budget):
                    new += _raise(budget, month, tier, usd)
            if new:
                jobs.enqueue("budgets.tasks.tell_alerts")
    return new + watch_projections(timezone.now())


def watch_projections(now: datetime) -> int:
    """Raise an alert, once a month and amount, for each budget that the month is projected to run
    over. What is spent already is reported by its tiers. Returns how many are new."""
    new = 0
    found = projection.of_month(now)
    governed = found.get(projection.GOVERNED_SPEND)
    limits = Budget.objects.filter(
        scope=Budget.Scope.GLOBAL, window=Budget.Window.MONTH, measure=Budget.Measure.USD
    )
    watched: list[tuple[DimensionBudget | Budget, Decimal | None, Projection | None]] = [
        *(
            (each, each.monthly_usd, found.get(each.dimension))
            for each in DimensionBudget.objects.all()
        ),
        *((each, each.amount, governed) for each in limits),
    ]
    with transaction.atomic():
        for of, amount, made in watched:
            if amount is not None and made and made.spent < amount <= made.projected:
                new += _raise_projection(of, amount, made, now)
        if new:
            jobs.enqueue("budgets.tasks.tell_alerts")
    return new


def _raise_projection(
    of: DimensionBudget | Budget, amount: Decimal, made: Projection, now: datetime
) -> bool:
    return _insert(
        of,
        Alert.Kind.MONTH_PROJECTION,
        f"month_projection:{of._meta.model_name}:{of.pk}:{now:%Y-%m}:{amount}",
        f"{of}: {now:%Y-%m} is projected at ${made.projected:,.2f} of its budget of "
        f"${amount:,.2f} ({made.error})",
        {
            "month": f"{now:%Y-%m}",
            "used": f"{made.spent:f}",
            "amount": f"{amount:f}",
            "projected": f"{made.projected:f}",
            "low": None if made.low is None else f"{made.low:f}",
            "high": None if made.high is None else f"{made.high:f}",
        },
    )


def _raise(budget: DimensionBudget, month: date, tier: int, usd: Any) -> bool:
    message = (
        f"{budget}: {tier} % of the budget of {month:%Y-%m} reached "
        f"(${usd:,.2f} of ${budget.monthly_usd:,.2f})"
    )
    key = f"dimension_tier:{budget.dimension}:{month:%Y-%m}:{tier}:{budget.monthly_usd}"
    meta = {
        "dimension": budget.dimension,
        "month": f"{month:%Y-%m}",
        "tier": tier,
        "used": str(usd),
        "amount": str(budget.monthly_usd),
    }
    if not _insert(budget, Alert.Kind.DIMENSION_TIER, key, message, meta):
        return False
    events.record(
        "BUDGET_ALERT",
        message=message,
        owner=("dimension_budget", str(budget.pk)),
        label=str(budget),
        actor="tollgate",
        meta={"kind": Alert.Kind.DIMENSION_TIER, "tier": tier, "month": f"{month:%Y-%m}"},
    )
    return True


def _insert(
    of: DimensionBudget | Budget, kind: Alert.Kind, key: str, message: str, meta: dict[str, Any]
) -> bool:
    """Whether the alert is new."""
    alert = Alert(
        kind=kind,
        key=key,
        message=message,
        owner_type="budget" if isinstance(of, Budget) else "dimension_budget",
        owner_id=str(of.pk),
        meta=meta,
    )
    if Alert.objects.filter(key=key).exists():
        return False
    Alert.objects.bulk_create([alert], ignore_conflicts=True)
    return True
