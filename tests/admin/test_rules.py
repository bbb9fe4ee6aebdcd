"""The form of the approval rules, and the pages of grants and break-glass."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from budgets import approvals
from budgets.models import ApprovalRule, Grant
from opslog.models import OperationsEvent, OutboxMessage
from tests.admin.pages import log_in
from tests.admin.scene import Scene, ask
from workorders.models import WorkOrder

TWO_RULES = [("0.01", "5.00", {"operations": 1}), ("5.01", "", {"director": 1, "vp": 1})]


def post_rules(client: Client, rows: Any, reason: str = "tighter") -> str:
    rule = ApprovalRule.objects.filter(measure="usd_per_day")[0]
    form = {"rules-TOTAL_FORMS": len(rows), "rules-INITIAL_FORMS": 0, "reason": reason}
    for number, (low, high, slots) in enumerate(rows):
        form |= {f"rules-{number}-minimum": low, f"rules-{number}-maximum": high}
        form |= {f"rules-{number}-slot_{name}": count for name, count in slots.items()}
    answer = client.post(reverse("admin:budgets_approvalrule_replace", args=[rule.pk]), form)
    assert answer.status_code == 200
    return answer.content.decode()


def usd_rules() -> list[str]:
    return [str(rule) for rule in ApprovalRule.objects.filter(measure="usd_per_day")]


def test_rules_are_replaced_and_shown_before_and_after(scene: Scene) -> None:
    html = post_rules(log_in(scene, "administrator"), TWO_RULES)
    assert "The rules are changed" in html
    for phrase in ("$10.00 to $50.00", "$5.01 and more", "director and vp", "finance and vp"):
        assert phrase in html
    assert usd_rules() == ["USD/day from 0.01 to 5.00", "USD/day from 5.01"]
    assert OperationsEvent.objects.get(kind="APPROVAL_RULES_CHANGE").actor == "administrator"


@pytest.mark.parametrize(
    ("rows", "reason", "message"),
    [
        (
            [("0.01", "5.00", {"operations": 1}), ("6.00", "7.00", {"vp": 9})],
            "x",
            ["From 5.01 to 5.99 there is no rule", "Above 7.00", "nobody left to sign for vp"],
        ),
        ([("0.01", "", {})], "x", ["nobody is asked"]),
        (TWO_RULES, "", ["This field is required"]),
        ([("", "5.00", {"operations": 1})], "x", ["This field is required"]),
    ],
)
def test_every_reason_of_a_refusal_is_shown(
    scene: Scene, rows: Any, reason: str, message: list[str]
) -> None:
    before = usd_rules()
    html = post_rules(log_in(scene, "administrator"), rows, reason)
    for text in message:
        assert text in html
    assert usd_rules() == before
    assert not OperationsEvent.objects.filter(kind="APPROVAL_RULES_CHANGE").exists()


def test_a_superuser_changes_no_rules_by_being_one(scene: Scene) -> None:
    rule = ApprovalRule.objects.all()[0]
    address = reverse("admin:budgets_approvalrule_replace", args=[rule.pk])
    assert log_in(scene, "root").post(address, {}).status_code == 403


def test_impossible_requests_are_listed(scene: Scene) -> None:
    approvals.cancel(scene.request.pk, by=scene.people["asker"])
    ask(scene.work_order, scene.people["asker"], usd="60.00")
    client = log_in(scene, "administrator")
    why = "nobody left to sign for vp"
    assert why not in client.get(reverse("admin:index")).content.decode()
    scene.people["vp"].groups.clear()
    for name in ("index", "budgets_approvalrule_changelist"):
        assert why in client.get(reverse(f"admin:{name}")).content.decode()
    assert why not in log_in(scene, "director").get(reverse("admin:index")).content.decode()


def test_break_glass_from_the_work_order_to_its_review(scene: Scene) -> None:
    director, vp = log_in(scene, "director"), log_in(scene, "vp")
    approvals.review(int(scene.ids["budgets_grant"]), by=scene.people["vp"], text="was right")
    page = reverse("admin:workorders_workorder_change", args=["w1"])
    address = reverse("admin:workorders_workorder_break_glass", args=["w1"])
    assert address in director.get(page).content.decode()
    assert address not in vp.get(page).content.decode()
    text = director.get(address).content.decode()
    assert "up to $49.70 more could be spent today" in text
    bad = director.post(address, {"usd_per_day": "60", "minutes": 61, "reason": "x"})
    assert "less than or equal to 60" in bad.content.decode()
    nothing = director.post(address, {"minutes": 30, "reason": "x"}).content.decode()
    assert "Nothing would change" in nothing
    director.post(address, {"usd_per_day": "20", "minutes": 30, "reason": "night"})
    grant = Grant.objects.get(measure="usd_per_day")
    link = reverse("admin:budgets_grant_change", args=[grant.pk])
    assert set(
        OutboxMessage.objects.filter(topic="break_glass", key__endswith=str(grant.pk)).values_list(
            "link", flat=True
        )
    ) == {link}
    assert link in vp.get(reverse("admin:index")).content.decode()
    review = reverse("admin:budgets_grant_review", args=[grant.pk])
    assert review not in director.get(link).content.decode()
    assert "Nobody reviews their own" in director.post(review, {"review": "ok"}).content.decode()
    assert review in vp.get(link).content.decode()
    assert vp.post(review, {"review": "was right"}).status_code == 302
    assert "was right" in director.get(link).content.decode()
    assert link not in vp.get(reverse("admin:index")).content.decode()


def test_an_overdue_review_is_red(scene: Scene) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(created_at) + interval '24 hours' FROM cap_grants")
        due = cursor.fetchone()[0]
    client = log_in(scene, "vp")
    assert "review due in" in client.get(reverse("admin:index")).content.decode()
    with time_machine.travel(due + timedelta(seconds=1), tick=False):
        assert (
            "review overdue since"
            in log_in(scene, "vp").get(reverse("admin:index")).content.decode()
        )


def test_a_grant_is_ended_with_a_reason(scene: Scene) -> None:
    grant = Grant.objects.get()
    address = reverse("admin:budgets_grant_end", args=[grant.pk])
    client = log_in(scene, "operations")
    assert client.post(address, {"reason": ""}).status_code == 200
    assert client.post(address, {"reason": "enough"}).status_code == 302
    grant.refresh_from_db()
    assert grant.ends_at <= timezone.now()
    assert "ended already" in client.post(address, {"reason": "again"}).content.decode()
    assert WorkOrder.objects.get(pk="w1").max_concurrent_runs == 2
