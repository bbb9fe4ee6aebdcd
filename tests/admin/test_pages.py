"""What the pages say, what they cost, and what they must never say."""

import logging
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.utils import quote
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from budgets import clock
from budgets.models import ChangeRequest
from budgets.usage import overview, today
from opslog.models import ModelPrice, OperationsEvent
from tests import factories
from tests.admin.pages import log_in, page, queries
from tests.admin.permissions import address, expected
from tests.admin.scene import FORMULA, HOSTILE, Scene, ask, make_run, make_scene, refuse, use
from workorders.models import Agent, ServiceToken, TokenPolicy, TokenUse, WorkOrder


def crowd(scene: Scene, number: int) -> None:
    for index in range(number):
        work_order = factories.make_work_order(f"more-{index}", title=f"More {index}")
        use(work_order, runs=90 + index % 10, settled="1.95")
        make_run(work_order)
        ask(work_order, scene.people["asker"])
        refuse(work_order)


# The first page is made of all floors: it asks for more than a list may.
MOST_QUERIES = {"index": 51}


@pytest.mark.parametrize(
    "name",
    [
        "index",
        "workorders_workorder_changelist",
        "workorders_run_changelist",
        "budgets_changerequest_changelist",
        "ops-logs",
        "workorders_servicetoken_changelist",
        "auth_user_changelist",
    ],
)
def test_queries_do_not_grow(scene: Scene, name: str) -> None:
    client = log_in(scene, "root" if name.startswith("auth") else "director")
    url = reverse(name if "-" in name else f"admin:{name}")
    few = queries(client, url)
    crowd(scene, 12)
    many = queries(client, url)
    assert len(many) <= len(few) + 2, "\n".join(many)  # in a crowd a page may ask one thing more
    assert len(many) <= MOST_QUERIES.get(name, 40)


@pytest.mark.parametrize("name", ["admin:workorders_run_changelist"])
def test_large_tables_are_not_counted(scene: Scene, name: str) -> None:
    client = log_in(scene, "auditor")
    for query in ("", "?day=2026-01-31", "?q=digest", "?p=3"):
        for sql in queries(client, reverse(name) + query):
            assert "COUNT(*)" not in sql.upper(), sql
            assert "DISTINCT" not in sql.upper(), sql


@pytest.mark.parametrize("role", ["operations", "auditor", "root"])
def test_what_people_type_is_text(db: None, role: str) -> None:
    scene = make_scene(f"{HOSTILE} {FORMULA}")
    client = log_in(scene, role)
    seen = 0
    urls = [address(scene, name) for name in expected() if not name.endswith("_delete")]
    for url in [reverse("admin:index"), *urls]:
        answer = client.get(url)
        if answer.status_code == 200:
            text = answer.content.decode()
            assert HOSTILE not in text, url
            seen += "&lt;script&gt;alert(1)" in text
    assert seen >= 10


def test_use_is_what_the_counters_say(scene: Scene) -> None:
    work_order = overview.with_use(
        WorkOrder.objects.filter(pk=scene.work_order.pk), clock.midnight()
    ).get()
    usage = today.usage_today(scene.work_order)
    meter = overview.usd_meter_of(work_order)
    assert (meter.settled, meter.held) == (usage.settled_usd, usage.reserved_usd)
    assert overview.runs_meter_of(work_order).used == usage.runs == 3
    assert work_order.share == Decimal("0.15")


def test_the_first_page_tells_what_is_blocked(scene: Scene) -> None:
    full = factories.make_work_order("full", title="Full one")
    use(full, runs=100, settled="0.10")
    tight = factories.make_work_order("tight", title="Tight one")
    use(tight, runs=1, settled="1.99")
    stopped = factories.make_work_order("stopped", title="Stopped one", status="suspended")
    found = {each.work_order.pk: each for each in overview.blocked(clock.midnight(), at_most=9)}
    assert set(found) == {"full", "tight", "stopped"}
    assert found["full"].why == "runs/day cap reached"
    assert found["tight"].why == "no room for a run of its usual cost"
    assert found["stopped"].until is None
    text = page(log_in(scene, "auditor"), "index")
    for item in (full.title, tight.title, stopped.title, "until somebody resumes it"):
        assert item in text


def test_an_empty_installation_says_what_to_do(db: None) -> None:
    person = factories.make_user("ops", groups=["operations"], is_staff=True)
    client = Client()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    text = page(client, "index")
    for phrase in ("Nothing can be spent yet", "Nothing needs you", "There is no work order yet"):
        assert phrase in text
    assert "Nothing is blocked" not in text


def test_suspend_and_resume_need_a_reason(scene: Scene) -> None:
    client = log_in(scene, "operations")
    url = reverse("admin:workorders_workorder_suspend", args=["w1"])
    assert "Open runs: 0" in client.get(url).content.decode()
    assert client.post(url, {"reason": "  "}).status_code == 200
    assert WorkOrder.objects.get(pk="w1").status == "draft"
    assert client.post(url, {"reason": "it loops"}).status_code == 302
    assert WorkOrder.objects.get(pk="w1").status == "suspended"
    event = OperationsEvent.objects.filter(kind="WORK_ORDER_SUSPENDED").latest("id")
    assert (event.actor, event.meta["reason"]) == ("operations", "it loops")
    again = client.post(url, {"reason": "once more"})
    assert "the work order is suspended" in again.content.decode()
    back = reverse("admin:workorders_workorder_resume", args=["w1"])
    assert client.post(back, {"reason": "fixed"}).status_code == 302
    assert WorkOrder.objects.get(pk="w1").status == "draft"


def test_a_work_order_begins_with_the_defaults(scene: Scene) -> None:
    client = log_in(scene, "operations")
    asked = {"title": "New", "id": "a_20b", "max_concurrent_runs": "2", "usd_per_day": "99"}
    answer = client.post(reverse("admin:workorders_workorder_add"), asked)
    assert answer.status_code == 302
    assert client.get(answer["Location"]).status_code == 200
    made = WorkOrder.objects.get(pk="a_20b")
    assert (made.runs_per_day, made.usd_per_day) == (100, Decimal("2.00"))


def test_settings_leave_the_caps_alone(scene: Scene) -> None:
    client = log_in(scene, "operations")
    url = reverse("admin:workorders_workorder_settings", args=["w1"])
    data = {"title": "Other", "refuse_unknown_agents": "on", "usd_per_day": "99"}
    assert client.post(url, data).status_code == 302
    now = WorkOrder.objects.get(pk="w1")
    assert (now.title, now.refuse_unknown_agents) == ("Other", True)
    assert now.usd_per_day == Decimal("2.00")
    assert OperationsEvent.objects.filter(kind="WORK_ORDER_CHANGED").count() == 1


def test_a_token_is_shown_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    client = log_in(scene, "administrator")
    data = {
        "name": "nightly",
        "owner": scene.people["operations"].pk,
        "scopes": ["start", "read"],
        "networks": "10.0.0.0/8\n192.0.2.7",
        "work_orders": "w1",
    }
    with caplog.at_level(logging.DEBUG):
        shown = client.post(reverse("admin:workorders_servicetoken_add"), data)
    assert shown.status_code == 200
    assert "no-store" in shown["Cache-Control"]
    made = ServiceToken.objects.get(name="nightly")
    assert made.networks == ["10.0.0.0/8", "192.0.2.7/32"]
    text = shown.context["text"]
    assert shown.content.decode().count(text) == 1
    assert text not in caplog.text
    assert "messages" not in shown.cookies
    assert text not in str([session.get_decoded() for session in Session.objects.all()])
    assert text not in str(list(OperationsEvent.objects.values_list("message", "meta")))
    for url in ("admin:workorders_servicetoken_changelist", "admin:index"):
        assert text not in client.get(reverse(url)).content.decode()
    assert text not in page(client, "workorders_servicetoken_change", made.pk)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"networks": "10.0.0.1/8"}, "is not a network"),
        ({"work_orders": "no-such"}, "There is no work order no-such"),
        ({"scopes": ["root"]}, "Select a valid choice"),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "in the past"),
    ],
)
def test_a_wrong_token_is_not_made(scene: Scene, wrong: dict[str, object], message: str) -> None:
    client = log_in(scene, "administrator")
    data = {"name": "x", "owner": scene.people["operations"].pk, "scopes": ["start"], **wrong}
    answer = client.post(reverse("admin:workorders_servicetoken_add"), data)
    assert message in answer.content.decode()
    assert not ServiceToken.objects.filter(name="x").exists()


def test_revoking_a_token(scene: Scene) -> None:
    client = log_in(scene, "operations")
    url = reverse("admin:workorders_servicetoken_revoke", args=[scene.token.pk])
    assert client.post(url, {"reason": "leaked"}).status_code == 302
    scene.token.refresh_from_db()
    assert scene.token.revoked_at is not None
    assert "revoked already" in client.post(url, {"reason": "leaked"}).content.decode()


def test_a_token_is_rotated_and_the_new_text_shown_once(scene: Scene) -> None:
    client = log_in(scene, "administrator")
    url = reverse("admin:workorders_servicetoken_rotate", args=[scene.token.pk])
    assert "expires in 90 days" in client.get(url).content.decode()
    shown = client.post(url, {"overlap_hours": "2", "reason": "quarterly"})
    assert "no-store" in shown["Cache-Control"]
    text = shown.context["text"]
    assert shown.content.decode().count(text) == 1
    new = ServiceToken.objects.get(predecessor=scene.token)
    scene.token.refresh_from_db()
    assert scene.token.expires_at is not None
    assert scene.token.expires_at < new.created_at + timedelta(hours=2, minutes=1)
    for token, other in ((scene.token, new), (new, scene.token)):
        page_text = page(client, "workorders_servicetoken_change", token.pk)
        assert "Its line" in page_text
        assert other.prefix in page_text
        assert text not in page_text
    assert "Rotate its successor" in client.post(
        url, {"overlap_hours": "2", "reason": "again"}
    ).content.decode()  # fmt: skip
    assert "Rotate…" not in page(client, "workorders_servicetoken_change", scene.token.pk)
    revoke = reverse("admin:workorders_servicetoken_revoke", args=[scene.token.pk])
    assert "which keep working: 1" in client.get(revoke).content.decode()
    client.post(revoke, {"line": "on", "reason": "leaked"})
    assert not ServiceToken.objects.filter(revoked_at=None, lineage=new.lineage).exists()


def test_tokens_that_expire_soon_are_found(scene: Scene) -> None:
    client = log_in(scene, "operations")
    assert "1 expires within" not in page(client, "workorders_servicetoken_changelist")
    ServiceToken.objects.filter(pk=scene.token.pk).update(
        expires_at=timezone.now() + timedelta(days=5)
    )
    text = page(client, "workorders_servicetoken_changelist")
    assert "1 expires within 14 days" in text
    found = client.get(reverse("admin:workorders_servicetoken_changelist"), {"state": "soon"})
    assert scene.token.prefix in found.content.decode()
    TokenUse.objects.update(last_used_at=timezone.now(), last_address="192.0.2.9")
    assert "from 192.0.2.9" in page(client, "workorders_servicetoken_changelist")
    assert "192.0.2.9" in page(client, "workorders_servicetoken_change", scene.token.pk)


def test_lists_are_sorted_by_moments(scene: Scene) -> None:
    client = log_in(scene, "auditor")
    tokens = client.get(reverse("admin:workorders_servicetoken_changelist")).context["cl"]
    assert tokens.get_ordering_field("created") == "created_at"
    assert tokens.get_ordering_field("expiry") == "expires_at"


def test_never_is_said_on_purpose(scene: Scene) -> None:
    client = log_in(scene, "administrator")
    data = {"name": "x", "owner": scene.people["operations"].pk, "scopes": ["start"]}
    client.post(reverse("admin:workorders_servicetoken_add"), data)
    assert ServiceToken.objects.get(name="x").expires_at is not None
    data |= {"name": "y", "never_expires": "on"}
    client.post(reverse("admin:workorders_servicetoken_add"), data)
    assert ServiceToken.objects.get(name="y").expires_at is None
    both = {**data, "name": "z", "expires_at_0": "2100-01-01", "expires_at_1": "00:00"}
    answer = client.post(reverse("admin:workorders_servicetoken_add"), both)
    assert "Choose a date or never" in answer.content.decode()


def test_the_token_policy_is_changed_with_a_reason(scene: Scene) -> None:
    client = log_in(scene, "administrator")
    url = reverse("admin:workorders_tokenpolicy_change_policy", args=[1])
    data = {"lifetime_days": "30", "overlap_hours": "24"}
    assert client.post(url, data).status_code == 200  # no reason
    assert client.post(url, {**data, "reason": "shorter"}).status_code == 302
    assert TokenPolicy.objects.get().lifetime_days == 30
    assert "30 days" in page(client, "workorders_tokenpolicy_change", 1)
    assert OperationsEvent.objects.filter(kind="TOKEN_POLICY_CHANGE").count() == 1


def test_agents_leave_events(scene: Scene) -> None:
    client = log_in(scene, "operations")
    assert "Ran in the last 24 hours without being registered" not in page(
        client, "workorders_agent_changelist"
    )
    make_run(scene.work_order, agent="stray", agent_known=False)
    assert "stray" in page(client, "workorders_agent_changelist")
    data = {"name": "stray", "description": "", "is_active": "on"}
    assert client.post(reverse("admin:workorders_agent_add"), data).status_code == 302
    url = reverse("admin:workorders_agent_change", args=[quote("stray")])
    assert client.post(url, {"description": "gone"}).status_code == 302
    assert not Agent.objects.get(pk="stray").is_active
    kinds = OperationsEvent.objects.filter(owner_id="stray").order_by("id")
    assert [event.kind for event in kinds] == ["AGENT_REGISTERED", "AGENT_CHANGED"]


def test_own_prices_change_and_imported_ones_do_not(scene: Scene) -> None:
    client = log_in(scene, "administrator")
    data = {
        "model": "house-model",
        "effective_from_0": "2026-01-01",
        "effective_from_1": "00:00",
        "tier": "small",
        "input_per_mtok": "1.5",
        "output_per_mtok": "2",
        "tiers": "[]",
        "reason": "our own contract",
    }
    assert client.post(reverse("admin:opslog_modelprice_add"), data).status_code == 302
    made = ModelPrice.objects.get(model="house-model")
    assert made.source == "own"
    event = OperationsEvent.objects.filter(kind="PRICE_BOOK_UPDATE").latest("id")
    assert event.meta["after"]["input_per_mtok"] == "1.5"
    more = {
        "cache_write_1h_per_mtok": "3",
        "audio_input_per_mtok": "20",
        "image_output_per_mtok": "40",
        "service_tiers": '{"batch": {"factor": "0.5", "source": "our contract"}}',
        "tool_prices": '{"web_search": "0.02"}',
        "tiers": "",
    }
    url = reverse("admin:opslog_modelprice_change", args=[made.pk])
    assert client.post(url, {**data, **more}).status_code == 302
    made.refresh_from_db()
    assert (made.cache_write_1h_per_mtok, made.audio_input_per_mtok) == (3, 20)
    assert made.service_tiers["batch"]["factor"] == "0.5"
    assert made.tiers == []
    event = OperationsEvent.objects.filter(kind="PRICE_BOOK_UPDATE").latest("id")
    assert event.meta["before"]["tool_prices"] == {}
    assert event.meta["after"]["tool_prices"] == {"web_search": "0.02"}
    for wrong in ({"service_tiers": '{"batch": {}}'}, {"tool_prices": '{"web_search": "-1"}'}):
        (column,) = wrong
        page_with_error = client.post(url, {**data, **more, **wrong})
        assert page_with_error.status_code == 200
        assert f"{column}: " in page_with_error.content.decode()
    ModelPrice.objects.filter(pk=made.pk).update(source="genai-prices")
    url = reverse("admin:opslog_modelprice_change", args=[made.pk])
    assert client.post(url, data).status_code == 403
    assert client.get(url).status_code == 200


def test_people_change_with_an_event(scene: Scene) -> None:
    """Into a group that only reads at once; into one that decides by a second administrator."""
    client = log_in(scene, "administrator")
    person = scene.people["nobody"]
    url = reverse("admin:auth_user_change", args=[person.pk])
    groups = [scene.people[role].groups.get().pk for role in ("auditor", "finance")]
    data = {"username": "nobody", "groups": groups, "is_active": "on", "is_staff": "on"}
    answer = client.post(url, data, follow=True)
    assert "waiting for a second administrator to confirm (root)" in answer.content.decode()
    event = OperationsEvent.objects.filter(kind="USER_CHANGED").latest("id")
    assert event.meta["changes"]["groups"] == {"old": [], "new": ["auditor"]}
    assert event.actor == "administrator"
    assert "Add nobody to finance" in client.get(url).content.decode()


def test_pending_requests_stand_on_the_page_of_the_work_order(scene: Scene) -> None:
    assert f"Open request #{scene.request.pk}" in page(
        log_in(scene, "auditor"), "workorders_workorder_change", "w1"
    )
    assert ChangeRequest.objects.get().status == "pending"
