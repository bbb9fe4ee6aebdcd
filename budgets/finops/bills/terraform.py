"""Monthly budgets as Terraform's JSON, so that the cloud provider alerts on them as well.
Pure.

One `aws_budgets_budget` a dimension. Whoever applies it reviews it first: nothing here calls AWS.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

NOTE = (
    "Monthly budgets of Tollgate. Made by `manage.py export_terraform`; edit the rows, not this "
    "file."
)


@dataclass(frozen=True, slots=True)
class CloudBudget:
    """`services` are what the cost filter names: the budget counts those alone."""

    dimension: str
    monthly_usd: Decimal
    tiers: Sequence[int]
    services: Sequence[str]


def literal(text: str) -> str:
    """In which Terraform sees no template."""
    return text.replace("${", "$${").replace("%{", "%%{")


def document(budgets: Iterable[CloudBudget], *, start: date, emails: Sequence[str]) -> str:
    """A whole file, `.tf.json`. `start` is the first day of the first month that is counted."""
    variable: dict[str, Any] = {
        "description": "Who is notified when a tier is reached.",
        "type": "list(string)",
    }
    if emails:
        variable["default"] = list(emails)  # a default is never a template
    resources = {f"tollgate_{each.dimension}": _resource(each, start) for each in budgets}
    found = {
        "//": NOTE,
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}},
        "variable": {"budget_alert_emails": variable},
        "resource": {"aws_budgets_budget": resources},
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _resource(budget: CloudBudget, start: date) -> dict[str, Any]:
    return {
        "name": f"tollgate-{budget.dimension}-monthly",
        "budget_type": "COST",
        "limit_amount": f"{budget.monthly_usd:.2f}",
        "limit_unit": "USD",
        "time_unit": "MONTHLY",
        "time_period_start": f"{start:%Y-%m}-01_00:00",
        "cost_filter": [{"name": "Service", "values": [literal(each) for each in budget.services]}],
        "notification": [
            {
                "comparison_operator": "GREATER_THAN",
                "threshold": tier,
                "threshold_type": "PERCENTAGE",
                "notification_type": "ACTUAL",
                "subscriber_email_addresses": "${var.budget_alert_emails}",
            }
            for tier in sorted(set(budget.tiers))
        ],
    }
