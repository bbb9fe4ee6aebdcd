"""Which limits alert, when, in which words, and where the message leads."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from budgets import alerts, tasks
from budgets.alerts import refusals
from budgets.controls import features, kill_switch
from budgets.models import Alert, Budget
from opslog.models import OutboxMessage
from opslog.outbox.notices import EARLIER
from tests.admission.desk import Desk, run_of, set_clock
from tests.factories import make_user, make_work_order, set_limit
from tests.guardrails.conftest import NOON
from tests.trail import meta_of, trail
from tests.waiting import wait_until

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
    about = f"{alert.owner_type} {alert.owner_id}"
    assert trail("BUDGET_THRESHOLD") == [("BUDGET_THRESHOLD", about, "tollgate")]
    assert meta_of("BUDGET_THRESHOLD") == alert.meta
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
    before = set(Alert.objects.all())
    tasks.sweep_alerts()
    new = set(Alert.objects.all()) - before
    assert [each.kind for each in new] == ["budget_threshold"] * 2
    assert all(each.told_at for each in new)
    assert tasks.sweep_alerts() == 0


def test_the_caps_of_a_work_order_are_told_of_at_80_and_100_per_cent(desk: Desk) -> None:
    Budget.objects.filter(scope="work_order", measure="usd").update(alert_percents=[80, 100])
    make_work_order("w2", title="Digest", usd_per_day="1.00", max_concurrent_runs=10)
    desk.start("w2", usd="0.79")
    assert not Alert.objects.exists()
    desk.start("w2", usd="0.10")
    desk.start("w2", usd="0.11")
    midnight = NOON + timedelta(days=1)
    assert {alert.owner_id for alert in Alert.objects.all()} == {"w2"}
    assert {(alert.severity, alert.message) for alert in Alert.objects.all()} == {
        ("warning", "Warning: work order Digest used 89 % of its dollars a day ($0.89 of $1.00)"),
        (
            "blocked",
            (
                "Blocked: work order Digest is at its cap of $1.00 a day ($1.00 used): starts"
                f" are refused until {midnight:%Y-%m-%d} 00:00 UTC"
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


def test_an_ask_that_was_refused_spends_no_alert(desk: Desk) -> None:
    """As it was: one oversize ask on a fresh cap spent 80 % and 100 % of the day, at $0.00."""
    Budget.objects.filter(scope="work_order", measure="usd").update(alert_percents=[80, 100])
    make_work_order("w2", title="Digest", usd_per_day="1.00", max_concurrent_runs=10)
    assert desk.start("w2", usd="7.00").denial == "usd_per_day"
    assert not Alert.objects.exists()
    desk.start("w2", usd="0.85")
    assert alert_messages() == [
        "Warning: work order Digest used 85 % of its dollars a day ($0.85 of $1.00)"
    ]
    desk.start("w2", usd="0.15")
    assert len(alert_messages()) == 2
    assert alert_messages()[1].startswith("Blocked: work order Digest is at its cap of $1.00 a day")


def alert_messages() -> list[str]:
    return list(Alert.objects.order_by("id").values_list("message", flat=True))


def test_an_alert_is_of_one_amount(desk: Desk) -> None:
    """A limit that was raised has its thresholds before it."""
    limit = set_limit("global", "day", "usd", "10.00", alert_percents=[80])
    desk.start(usd="8.00", confirm=True)
    assert Alert.objects.count() == 1
    assert alerts.sweep() == 0
    limit.amount = Decimal("20.00")
    limit.save()
    desk.start(usd="8.00", confirm=True)
    assert [alert.meta["amount"] for alert in Alert.objects.order_by("id")] == ["10.00", "20.00"]


def test_a_hundred_and_fifty_refused_users_are_one_report(desk: Desk) -> None:
    """As it was: 150 alerts, and 450 messages to three people."""
    set_clock(None)
    for name in ("op", "other", "third"):
        make_user(name, groups=["operations"])
    set_limit("user", "day", "tokens", "10", subject="*", alert_percents=[100])
    for number in range(150):
        answer = desk.start(usd="0.01", user_id=f"user-{number}", estimated_input_tokens=11)
        assert answer.denial == "user_quota"
    wait_until(tasks.flush_refusals)  # (groups are written once their second is over)
    now = timezone.now()
    assert refusals.report(now=now) == 1
    (alert,) = Alert.objects.filter(kind=Alert.Kind.REFUSALS)
    assert alert.meta["times"] == 150
    assert alert.message.startswith("150 asks refused by the quota of each user since ")
    assert refusals.report(now=now + timedelta(seconds=60)) == 0
    alerts.tell()
    assert OutboxMessage.objects.filter(topic="refusals").count() == 3


def test_asks_beyond_the_cost_cap_of_a_feature_are_reported(desk: Desk) -> None:
    """$1.00 of $1.50 is committed: two asks for $1.00 do not fit, and switch nothing off."""
    set_clock(None)
    features.change("chat", {"cost_cap_usd": Decimal("1.50")}, reason="test", by="ops")
    desk.start(usd="1.00", feature="chat")
    for agent in ("a", "b"):
        assert desk.start(usd="1.00", feature="chat", agent=agent).denial == "feature_rate"
    wait_until(tasks.flush_refusals)
    assert refusals.report(now=timezone.now()) == 1
    (alert,) = Alert.objects.filter(kind=Alert.Kind.REFUSALS)
    assert alert.message.startswith(
        "2 asks refused by the cost cap of feature chat of $1.50 an hour"
    )


@pytest.mark.parametrize(
    ("reports", "minutes"), [(0, 0), (1, 15), (2, 30), (3, 60), (4, 120), (5, 240), (50, 240)]
)
def test_refusals_that_go_on_are_reported_less_and_less(reports: int, minutes: int) -> None:
    assert refusals.pause_after(reports, 15) == timedelta(minutes=minutes)


@pytest.mark.parametrize("over_midnight", [False, True])
def test_a_report_counts_what_came_since_the_last(desk: Desk, over_midnight: bool) -> None:
    set_clock(None)
    make_work_order("w2", title="Digest", usd_per_day="1.00")
    for _ in range(3):
        desk.start("w2", usd="2.00")
    now = timezone.now()
    refusals.report(now=now)
    for _ in range(2):
        desk.start("w2", usd="2.00")
    assert refusals.report(now=now + timedelta(minutes=1)) == 0
    # (The events are of this moment: the report looks at the last minutes before its own.)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    reported = day - timedelta(minutes=1) if over_midnight else now - timedelta(minutes=16)
    Alert.objects.filter(kind="refusals").update(created_at=reported)
    assert refusals.report(now=timezone.now()) == 1
    times = (
        Alert.objects.filter(kind="refusals").order_by("id").values_list("meta__times", flat=True)
    )
    assert list(times) == [3, 2]
    assert Alert.objects.filter(kind="refusals").last() is not None


def test_toggles_of_a_switch_within_a_minute_are_one_message(desk: Desk) -> None:
    make_user("op", groups=["operations"])
    for enabled in (True, False, True):
        kill_switch.switch("Global", "", enabled=enabled, reason="a test", by="anna")
        alerts.tell()
    (message,) = OutboxMessage.objects.filter(topic="kill_switch")
    assert message.severity == "critical"
    assert "By: anna" in message.text
    assert "Kill switch of global turned off" in message.text.partition(EARLIER)[2]


def test_many_users_at_the_same_threshold_are_one_message(desk: Desk) -> None:
    make_user("op", groups=["operations"])
    set_limit("user", "day", "tokens", "10", subject="*", alert_percents=[80, 100])
    for number in range(20):
        desk.start(usd="0.01", user_id=f"user-{number}", estimated_input_tokens=8)
        if number % 5 == 0:
            alerts.tell()
    alerts.tell()
    assert Alert.objects.count() == 20
    assert OutboxMessage.objects.filter(topic="budget_threshold").count() == 1


def test_a_jump_over_several_thresholds_is_one_message(desk: Desk) -> None:
    make_user("op", groups=["operations"])
    set_limit("global", "day", "usd", "10.00", warning_amount="2.00", alert_percents=[80, 100])
    desk.start(usd="10.00", confirm=True)
    alerts.tell()
    (message,) = OutboxMessage.objects.filter(topic="budget_threshold")
    assert message.subject.startswith(
        "Blocked: everything together is at its limit of $10.00 a day"
    )
    assert "Change: below 100% → $10.00 of $10.00" in message.text
