"""Monthly budgets changed by people, services mapped, and people told when a tier is reached."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction

from budgets.bills import actuals
from budgets.exceptions import Refused
from budgets.models import Alert, DimensionBudget, ServiceMapping
from opslog import events, jobs

FIELDS = ("owner", "monthly_usd", "tiers", "covers", "aws_services")
MAPPED = ("service_category", "service_name", "dimension")
RAISE = """
INSERT INTO alerts (kind, key, message, owner_type, owner_id, actor, meta)
VALUES ('dimension_tier', %s, %s, 'dimension_budget', %s, 'tollgate', %s::jsonb)
ON CONFLICT (key) DO NOTHING RETURNING id
"""


def change(budget_id: int, values: Mapping[str, Any], *, reason: str, by: str) -> DimensionBudget:
    """Raises Refused for values that cannot be kept."""
    if not reason.strip():
        raise Refused("A change needs a reason.")
    with transaction.atomic():
        budget = DimensionBudget.objects.select_for_update(no_key=True).get(pk=budget_id)
        before = {name: str(getattr(budget, name)) for name in FIELDS}
        for name in FIELDS:
            setattr(budget, name, values[name])
        _save(budget)
        changes = {
            name: {"old": before[name], "new": str(getattr(budget, name))}
            for name in FIELDS
            if before[name] != str(getattr(budget, name))
        }
        if changes:
            events.record(
                "MONTHLY_BUDGET_CHANGE",
                message=f"Monthly budget of {budget} changed: {', '.join(changes)}",
                owner=("dimension_budget", str(budget.pk)),
                label=str(budget),
                actor=by,
                meta={"changes": changes, "reason": reason.strip()},
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
        _save(mapping)
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
    whose bills come late. Gives how many are new."""
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
    return new


def _raise(budget: DimensionBudget, month: date, tier: int, usd: Any) -> bool:
    told = (
        f"{budget}: {tier} % of the budget of {month:%Y-%m} reached "
        f"(${usd:,.2f} of ${budget.monthly_usd:,.2f})"
    )
    meta = (
        f'{{"dimension": "{budget.dimension}", "month": "{month:%Y-%m}", "tier": {tier}, '
        f'"used": "{usd}", "amount": "{budget.monthly_usd}"}}'
    )
    key = f"dimension_tier:{budget.dimension}:{month:%Y-%m}:{tier}:{budget.monthly_usd}"
    with connection.cursor() as cursor:
        cursor.execute(RAISE, [key, told, str(budget.pk), meta])
        if cursor.fetchone() is None:
            return False
    events.record(
        "BUDGET_ALERT",
        message=told,
        owner=("dimension_budget", str(budget.pk)),
        label=str(budget),
        actor="tollgate",
        meta={"kind": Alert.Kind.DIMENSION_TIER, "tier": tier, "month": f"{month:%Y-%m}"},
    )
    return True


def _save(row: DimensionBudget | ServiceMapping) -> None:
    try:
        row.full_clean()
    except ValidationError as error:
        told = " ".join(text for texts in error.message_dict.values() for text in texts)
        raise Refused(told) from None
    row.save()
