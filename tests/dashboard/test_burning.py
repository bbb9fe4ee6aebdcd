"""The table of what burns: its rows, and the acts beside them, which go where they always went."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from budgets.controls import features, kill_switch
from budgets.models import FeatureControl, KillSwitch
from budgets.usage import burning
from budgets.usage.burning import Burner
from tests import factories
from tests.access.walking import logged_in
from tests.admin.scene import make_run
from tests.admission.desk import Desk

PAGE = "/admin/?by=agent"


@pytest.fixture
def operations(db: None) -> Client:
    return logged_in(factories.make_user("on-call", groups=["operations"], is_staff=True))


def test_rows_are_ranked_by_what_they_committed_in_the_window(committed_db: str) -> None:
    """In an hour w2 $0.60 of two runs, w1 $0.50; the minute and the day have the same rows."""
    factories.lift_limits()
    desk = Desk()
    for wo, usd in (("w1", "0.50"), ("w2", "0.20"), ("w2", "0.40")):
        if wo not in {"w2"} or usd == "0.20":
            factories.make_work_order(wo, max_concurrent_runs=5)
        assert desk.start(wo, usd, agent=f"of-{wo}").status == 201
    now = timezone.now()
    for window in burning.WINDOWS:
        found = burning.ranked("work_order", window, now)
        assert [(each.name, each.usd, each.runs, each.open_runs) for each in found.rows] == [
            ("w2", Decimal("0.60"), 2, 2),
            ("w1", Decimal("0.50"), 1, 1),
        ]
        assert (found.usd, found.more) == (Decimal("1.10"), 0)
        assert sum(found.rows[0].minutes) == Decimal("0.60")
    (first, _) = burning.ranked("work_order", "1h", now).rows
    assert first.usd_meter is not None
    assert (first.usd_meter.used, first.usd_meter.limit) == (Decimal("0.60"), Decimal("2.00"))
    agents = burning.ranked("agent", "1h", now).rows
    assert [each.name for each in agents] == ["of-w2", "of-w1"]
    assert agents[0].usd_meter is None


@pytest.mark.parametrize(
    ("usd", "usual", "unusual"),
    [
        ("1.00", None, False),  # too few days to compare with
        ("1.00", "0", True),
        ("1.00", "0.50", True),
        ("1.00", "0.51", False),
        ("0.04", "0", False),  # small change
    ],
)
def test_what_is_unusual(usd: str, usual: str | None, unusual: bool) -> None:
    row = Burner("x", Decimal(usd), 1, [], usual_usd=None if usual is None else Decimal(usual))
    assert row.is_unusual is unusual


def test_an_act_comes_back_to_the_page_it_was_on_and_to_no_other_site(operations: Client) -> None:
    for wo, way in (("w1", PAGE), ("w2", "https://elsewhere.example/"), ("w3", "")):
        factories.make_work_order(wo)
        answer = operations.post(
            f"/admin/workorders/workorder/{wo}/suspend/", {"reason": "it loops", "next": way}
        )
        own = f"/admin/workorders/workorder/{wo}/change/"
        assert answer["Location"] == (way if way == PAGE else own)
    answer = operations.post(
        "/admin/budgets/killswitch/add/",
        {"scope": "Identity", "target": "agent:a", "reason": "it loops", "next": PAGE},
    )
    assert answer["Location"] == PAGE
    assert KillSwitch.objects.get(target="agent:a").enabled


def test_a_second_click_does_not_turn_a_switch_back(operations: Client) -> None:
    made, _ = kill_switch.switch("Identity", "agent:a", enabled=True, reason="x", by="ops")
    lift = f"/admin/budgets/killswitch/{made.pk}/switch/"
    features.change("chat", {}, reason="x", by="ops")
    control = FeatureControl.objects.get(feature="chat")
    off = f"/admin/budgets/featurecontrol/{control.pk}/switch/"
    for address in (lift, off):
        sent = {"reason": "x", "was": "on"}
        assert operations.post(address, sent).status_code == 302
        again = operations.post(address, sent)
        assert "already" in again.content.decode()
    made.refresh_from_db()
    control.refresh_from_db()
    assert (made.enabled, control.enabled) == (False, False)


def test_only_who_may_stop_something_has_its_button(db: None) -> None:
    order = factories.make_work_order(title="Summaries")
    make_run(order, started_at=timezone.now() - timedelta(minutes=1))
    for group, buttons in (("operations", 1), ("director", 1), ("finance", 0), ("auditor", 0)):
        client = logged_in(factories.make_user(group, groups=[group], is_staff=True))
        page = client.get("/admin/").content.decode()
        assert "Summaries" in page
        assert page.count("/w1/suspend/") == buttons, group
        assert ("Ask for more" in page) is (group != "auditor")
