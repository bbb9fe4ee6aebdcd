"""Monthly budgets as HCL, read back by a parser of it."""

import io
from datetime import date
from decimal import Decimal
from typing import Any

import hcl2
import pytest
from django.core.management import CommandError, call_command

from budgets.finops.bills.terraform import CloudBudget, document, quoted
from budgets.models import DimensionBudget
from tests import factories


def plain(value: Any) -> Any:
    """What the parser gives, without its quotes around strings and its own notes."""
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items() if not str(k).startswith("__")}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def budgets_of(text: str) -> dict[str, Any]:
    found = plain(hcl2.loads(text))
    return {
        name: body
        for resource in found["resource"]
        for name, body in resource["aws_budgets_budget"].items()
    }


def test_each_budget_is_a_resource() -> None:
    text = document(
        [
            CloudBudget("compute", Decimal("120.5"), [100, 70, 90], ["Machines", "Functions"]),
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
    assert (cost_filter["name"], cost_filter["values"]) == ("Service", ["Machines", "Functions"])
    assert [each["threshold"] for each in compute["notification"]] == [70, 90, 100]
    assert {each["threshold_type"] for each in compute["notification"]} == {"PERCENTAGE"}
    (variable,) = plain(hcl2.loads(text))["variable"]
    assert variable["budget_alert_emails"]["default"] == ["ops@example.com"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", '"plain"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("${var.x}", '"$${var.x}"'),
        ("%{if x}", '"%%{if x}"'),
        ("a\nb", r'"a\nb"'),
    ],
)
def test_no_text_is_a_template(text: str, written: str) -> None:
    assert quoted(text) == written
    hcl2.loads(f"x = {quoted(text)}\n")


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
