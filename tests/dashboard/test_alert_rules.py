"""Alert rules: what fires, once per occurrence, and who is notified."""

from decimal import Decimal

import pytest
from django.db import connection

from budgets.alerts import rules
from budgets.alerts.rules import Measured, judge
from budgets.exceptions import Refused
from budgets.models import Alert, AlertRule, Budget
from opslog.models import OperationsEvent
from tests import factories
from tests.access.walking import logged_in

NOTHING = Measured(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("check", "found", "fires"),
    [
        ("refusals", Measured(10, 1, 0, 0), False),
        ("refusals", Measured(11, 1, 0, 0), True),
        ("refusals_spread", Measured(11, 1, 0, 0), False),
        ("refusals_spread", Measured(11, 2, 0, 0), True),
        ("refusals_spread", Measured(10, 10, 0, 0), False),
        ("error_rate", Measured(0, 0, 1, 100), False),
        ("error_rate", Measured(0, 0, 2, 100), True),
        ("error_rate", Measured(0, 0, 1, 1), False),
        ("error_rate", Measured(0, 0, 1, 20), True),
        ("error_rate", NOTHING, False),
    ],
)
def test_a_rule_fires_above_its_threshold_only(check: str, found: Measured, fires: bool) -> None:
    shipped = {"refusals": (10, 1), "refusals_spread": (10, 2), "error_rate": (1, 20)}
    over, at_least = shipped[check]
    assert judge(check, Decimal(over), 10, at_least, found).fires is fires


def refuse(times: int, work_order: str = "w1") -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO operations_events (kind, owner_type, owner_id) "
            "SELECT 'RATE_LIMIT_429', 'work_order', %s FROM generate_series(1, %s)",
            [work_order, times],
        )


def firing() -> set[str]:
    return set(AlertRule.objects.exclude(firing_since=None).values_list("check_name", flat=True))


@pytest.mark.django_db
def test_the_shipped_rules_are_those_of_operations() -> None:
    result = AlertRule.objects.values_list("check_name", "severity", "over", "minutes")
    assert set(result) == {
        ("refusals", "low", Decimal(10), 10),
        ("error_rate", "medium", Decimal(1), 60),
        ("refusals_spread", "high", Decimal(10), 10),
    }


@pytest.mark.django_db
def test_an_occurrence_is_told_once_and_ends_when_it_is_over() -> None:
    refuse(11)
    assert rules.evaluate() == 1
    assert rules.evaluate() == 0
    assert firing() == {"refusals"}
    assert OperationsEvent.objects.filter(kind="ALERT_RULE").count() == 1
    refuse(1, "w2")
    assert rules.evaluate() == 1
    assert firing() == {"refusals", "refusals_spread"}
    rules.change(
        AlertRule.objects.get(check_name="refusals").pk,
        {"over": Decimal(100)},
        reason="a test",
        by="test",
    )
    assert rules.evaluate() == 0
    assert firing() == {"refusals_spread"}
    rules.change(
        AlertRule.objects.get(check_name="refusals").pk,
        {"over": Decimal(10)},
        reason="a test",
        by="test",
    )
    assert rules.evaluate() == 1
    assert Alert.objects.filter(kind="rule").count() == 3


@pytest.mark.django_db
def test_a_rule_that_is_off_says_nothing() -> None:
    rule = AlertRule.objects.get(check_name="refusals")
    rules.change(rule.pk, {"enabled": False}, reason="noise", by="admin")
    refuse(50)
    assert rules.evaluate() == 0
    event = OperationsEvent.objects.get(kind="ALERT_RULE_CHANGED")
    assert event.meta["changes"] == {"enabled": {"old": "True", "new": "False"}}
    assert event.actor == "admin"


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["", "   "])
def test_a_change_needs_a_reason(reason: str) -> None:
    rule = AlertRule.objects.get(check_name="refusals")
    with pytest.raises(Refused):
        rules.change(rule.pk, {"enabled": False}, reason=reason, by="admin")


@pytest.mark.django_db
def test_the_list_says_counts_as_counts_and_how_caps_are_told_of() -> None:
    Budget.objects.filter(scope="work_order").update(alert_percents=[80, 100])
    client = logged_in(factories.make_user("op", groups=["operations"], is_staff=True))
    shown = client.get("/admin/budgets/alertrule/").content.decode()
    assert "10.00" not in shown
    assert "at 80, 100 %" in shown
    rule = AlertRule.objects.get(check_name="refusals")
    page = client.get(f"/admin/budgets/alertrule/{rule.pk}/change/").content.decode()
    assert "10.00" not in page
    assert "<dt>From</dt>" not in page


@pytest.mark.django_db
def test_the_list_of_alerts_and_the_first_page_say_the_severity() -> None:
    refuse(11)
    rules.evaluate()
    client = logged_in(factories.make_user("op", groups=["operations"], is_staff=True))
    shown = client.get("/admin/budgets/alert/").content.decode().split('id="result_list"')[1]
    assert ">low</span>" in shown
    lines = client.get("/ops-dashboard").content.decode().split('id="card-alarms"')[1]
    assert ">low</span>" in lines.split("</ul>")[0]
