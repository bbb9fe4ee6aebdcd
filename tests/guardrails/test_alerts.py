"""Which limits are told of, when, in which words, and where the message leads."""

from datetime import timedelta

import pytest

from budgets import alerts
from budgets.models import Alert, Budget
from opslog.models import OutboxMessage
from tests.admission.desk import Desk, run_of, set_clock
from tests.factories import make_user, make_work_order, set_limit
from tests.guardrails.conftest import NOON

pytestmark = pytest.mark.usefixtures("committed_db")


def test_thresholds_are_told_once_a_window(desk: Desk) -> None:
    make_user("op", groups=["operations"])
    set_limit("global", "day", "usd", "50.00", warning_amount="20.00", alert_percents=[100])
    desk.start(usd="4.99")
    assert Alert.objects.count() == 0
    for _ in range(4):
        desk.start(usd="4.00")
    (alert,) = Alert.objects.all()
    assert "$20.99 of $50.00" in alert.message
    assert alerts.sweep() == 0
    assert alerts.tell() == 1
    assert alerts.tell() == 0
    assert OutboxMessage.objects.filter(topic="budget_threshold").count() == 1
    set_clock(NOON + timedelta(days=1))
    for _ in range(6):
        desk.start(usd="4.00")
    assert Alert.objects.count() == 2


def test_what_settlement_passes_is_swept(desk: Desk) -> None:
    set_limit("global", "month", "usd", "100.00", alert_percents=[90, 70, 100])
    assert Budget.objects.get(scope="global", window="month").alert_percents == [70, 90, 100]
    run = run_of(desk.start(usd="1.00"))
    desk.finish(run, usd="95.00")
    assert alerts.sweep() == 2
    assert alerts.sweep() == 0


def test_a_limit_that_refuses_is_told_of_as_used_up(desk: Desk) -> None:
    set_limit("global", "rolling_hour", "usd", "10.00", alert_percents=[80, 100])
    for _ in range(3):
        desk.start(usd="3.00")
    assert Alert.objects.count() == 1
    assert desk.start(usd="3.00").denial == "budget:global:rolling_hour"
    assert sorted(alert.meta["thresholdName"] for alert in Alert.objects.all()) == ["100%", "80%"]


def test_the_caps_of_a_work_order_are_told_of_at_80_and_100_per_cent(desk: Desk) -> None:
    Budget.objects.filter(scope="work_order", measure="usd").update(alert_percents=[80, 100])
    make_work_order("w2", title="Digest", usd_per_day="1.00", max_concurrent_runs=10)
    desk.start("w2", usd="0.79")
    assert not Alert.objects.exists()
    desk.start("w2", usd="0.10")
    assert desk.start("w2", usd="0.20").denial == "usd_per_day"
    midnight = NOON + timedelta(days=1)
    assert {alert.owner_id for alert in Alert.objects.all()} == {"w2"}
    assert {(alert.severity, alert.message) for alert in Alert.objects.all()} == {
        ("warning", "Warning: work order Digest used 89 % of its dollars a day ($0.89 of $1.00)"),
        (
            "blocked",
            (
                "Blocked: work order Digest has no room for what was asked under its cap of $1.00"
                f" a day ($0.89 used): such starts are refused until {midnight:%Y-%m-%d} 00:00 UTC"
            ),
        ),
    }


def test_a_cap_of_runs_says_until_when_and_leads_to_the_work_order(desk: Desk) -> None:
    make_user("op", groups=["operations"])
    Budget.objects.filter(scope="work_order", measure="requests").update(alert_percents=[100])
    make_work_order("w2", title="Digest", runs_per_day=1)
    desk.start("w2", usd="0.10")
    midnight = NOON + timedelta(days=1)
    (alert,) = Alert.objects.all()
    assert alert.message == (
        "Blocked: work order Digest is at its cap of 1 run a day (1 run used): starts are refused"
        f" until {midnight:%Y-%m-%d} 00:00 UTC"
    )
    alerts.tell()
    (message,) = OutboxMessage.objects.filter(topic="budget_threshold")
    assert message.link.endswith("/admin/workorders/workorder/w2/change/")


def test_an_alert_of_a_shared_limit_leads_to_the_limit(desk: Desk) -> None:
    make_user("op", groups=["operations"])
    limit = set_limit("global", "rolling_hour", "usd", "10.00", warning_amount="2.00")
    desk.start(usd="3.00")
    (alert,) = Alert.objects.filter(owner_type="budget")
    assert alert.message == (
        "Warning: everything together used 30 % of its dollars in any 60 minutes ($3.00 of $10.00)"
    )
    alerts.tell()
    (message,) = OutboxMessage.objects.filter(topic="budget_threshold")
    assert message.link.endswith(f"/admin/budgets/budget/{limit.pk}/change/")
