"""Monthly budgets as Terraform, so that the provider of the cloud tells of them as well. Pure.

One `aws_budgets_budget` a dimension. Whoever applies it reviews it first: nothing here calls AWS.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

HEAD = """\
# Monthly budgets of Tollgate. Made by `manage.py export_terraform`; edit the rows, not this file.

terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

variable "budget_alert_emails" {
  description = "Who is told when a tier is reached."
  type        = list(string)
%s}
"""


@dataclass(frozen=True, slots=True)
class CloudBudget:
    """`services` are what the cost filter names: the budget counts those alone."""

    dimension: str
    monthly_usd: Decimal
    tiers: Sequence[int]
    services: Sequence[str]


def quoted(text: str) -> str:
    """A string of HCL, in which nothing is a template and nothing ends it early."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("${", "$${").replace("%{", "%%{")
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f'"{escaped}"'


def document(budgets: Iterable[CloudBudget], *, start: date, emails: Sequence[str]) -> str:
    """A whole file. `start` is the first day of the first month that is counted."""
    default = f"  default     = [{', '.join(map(quoted, emails))}]\n" if emails else ""
    return "\n".join([HEAD % default, *(_resource(each, start) for each in budgets)])


def _resource(budget: CloudBudget, start: date) -> str:
    services = ", ".join(map(quoted, budget.services))
    lines = [
        f'resource "aws_budgets_budget" "tollgate_{budget.dimension}" {{',
        f"  name              = {quoted(f'tollgate-{budget.dimension}-monthly')}",
        '  budget_type       = "COST"',
        f'  limit_amount      = "{budget.monthly_usd:.2f}"',
        '  limit_unit        = "USD"',
        '  time_unit         = "MONTHLY"',
        f'  time_period_start = "{start:%Y-%m}-01_00:00"',
        "",
        "  cost_filter {",
        '    name   = "Service"',
        f"    values = [{services}]",
        "  }",
    ]
    for tier in sorted(set(budget.tiers)):
        lines += [
            "",
            "  notification {",
            '    comparison_operator        = "GREATER_THAN"',
            f"    threshold                  = {tier}",
            '    threshold_type             = "PERCENTAGE"',
            '    notification_type          = "ACTUAL"',
            "    subscriber_email_addresses = var.budget_alert_emails",
            "  }",
        ]
    return "\n".join([*lines, "}", ""])
