"""Monthly budgets as Terraform's JSON."""

import io
import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from budgets.finops.bills.terraform import CloudBudget, document, literal
from budgets.models import DimensionBudget
from tests import factories


def budgets_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["resource"]["aws_budgets_budget"]
    return found


def test_each_budget_is_a_resource() -> None:
    text = document(
        [
            CloudBudget(
                "compute", Decimal("120.5"), [100, 70, 90], ["Machines", "Functions", "${var.x}"]
            ),
            CloudBudget("storage", Decimal(30), [70], ["Objects"]),
        ],
        start=date(2026, 11, 26),
        emails=["ops@example.com"],
    )
    found = budgets_of(text)
    assert set(found) == {"tollgate_compute", "tollgate_storage"}
    compute = found["tollgate_compute"]
    assert compute["limit_amount"] == "120.50"
    assert (compute["limit_unit"], compute["time_unit"]) == ("USD", "MONTHLY")
    assert compute["time_period_start"] == "2026-11-01_00:00"
    assert compute["budget_type"] == "COST"
    (cost_filter,) = compute["cost_filter"]
    assert cost_filter == {"name": "Service", "values": ["Machines", "Functions", "$${var.x}"]}
    assert [each["threshold"] for each in compute["notification"]] == [70, 90, 100]
    assert {each["threshold_type"] for each in compute["notification"]} == {"PERCENTAGE"}
    variable = json.loads(text)["variable"]["budget_alert_emails"]
    assert variable["default"] == ["ops@example.com"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "plain"),
        ('a"b\\c\n', 'a"b\\c\n'),
        ("${var.x}", "$${var.x}"),
        ("%{if x}", "%%{if x}"),
    ],
)
def test_no_text_is_a_template(text: str, written: str) -> None:
    assert literal(text) == written


def test_the_command_exports_what_has_a_budget(db: None) -> None:
    with pytest.raises(CommandError, match="No monthly budget"):
        call_command("export_terraform", stdout=io.StringIO())
    factories.make_user("ops", groups=["operations"], email="ops@example.com")
    DimensionBudget.objects.filter(dimension__in=("logging", "network")).update(monthly_usd=50)
    DimensionBudget.objects.filter(dimension="network").update(aws_services=[])
    out, err = io.StringIO(), io.StringIO()
    call_command("export_terraform", stdout=out, stderr=err)
    found = budgets_of(out.getvalue())
    assert set(found) == {"tollgate_logging"}
    assert [each["threshold"] for each in found["tollgate_logging"]["notification"]] == [
        70,
        90,
        100,
    ]
    assert "Network is left out" in err.getvalue()
    assert "ops@example.com" in out.getvalue()
