"""Asking for a cap change and deciding on it, through the pages."""

from datetime import timedelta

from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from budgets.models import ChangeRequest, Vote
from tests import factories
from tests.admin.pages import decide, form, log_in
from tests.admin.scene import Scene
from workorders.models import WorkOrder


def test_checking_says_who_must_approve_and_asks_nobody(scene: Scene) -> None:
    factories.make_work_order("w2")
    client = log_in(scene, "operations")
    text = form(client, "w2", usd_per_day="60", runs_per_day=1000, check="1")
    assert "It will need <strong>director</strong> and <strong>finance</strong>" in text
    assert not ChangeRequest.objects.filter(subject_id="w2").exists()
    assert "Nothing would change" in form(client, "w2", check="1")


def test_from_the_form_to_the_caps(scene: Scene) -> None:
    factories.make_work_order("w2")
    text = form(log_in(scene, "asker"), "w2", usd_per_day="12.00", send="1")
    request = ChangeRequest.objects.get(subject_id="w2")
    assert f"Request #{request.pk} is sent" in text
    assert "$2.00 → $12.00" in strip_tags(text)
    assert "+500 %" in text
    director = log_in(scene, "director")
    shown = director.get(reverse("admin:budgets_changerequest_change", args=[request.pk]))
    assert "Your decision" in shown.content.decode()
    assert shown.context["form"]["decision"].value() is None, "nothing is chosen beforehand"
    assert "approved and applied" in decide(director, request)
    assert WorkOrder.objects.get(pk="w2").usd_per_day == 12
    vote = Vote.objects.get(request=request)
    assert vote.evidence["lines"] == {"usd_per_day": {"old": "2.00", "new": "12.00"}}
    assert len(vote.evidence["days"]) == 30
    assert vote.evidence["answers"]["optimise"] == {"answer": "unsure", "note": ""}


def test_lowering_takes_effect_at_once(scene: Scene) -> None:
    factories.make_work_order("w2")
    assert "is applied" in form(log_in(scene, "operations"), "w2", usd_per_day="1.00", send="1")
    assert WorkOrder.objects.get(pk="w2").usd_per_day == 1
    factories.make_work_order("w3")
    text = form(log_in(scene, "director"), "w3", usd_per_day="1.00", send="1")
    assert "Caps are lowered by operations" in text


def test_what_the_domain_refuses_is_said(scene: Scene) -> None:
    assert "Nobody approves their own request" in decide(log_in(scene, "asker"), scene.request)
    assert "This needs operations" in decide(log_in(scene, "vp"), scene.request)
    stale = decide(log_in(scene, "operations"), scene.request, seen_revision=7)
    assert "changed since you saw it" in stale
    scene.request.refresh_from_db()
    assert scene.request.status == "pending"
    assert "is being decided already" in form(
        log_in(scene, "operations"), "w1", usd_per_day="3.00", send="1"
    )


def test_a_superuser_has_no_vote_by_being_one(scene: Scene) -> None:
    assert "This needs operations" in decide(log_in(scene, "root"), scene.request)
    assert not Vote.objects.exists()


def test_a_decision_needs_a_choice_and_a_comment(scene: Scene) -> None:
    client = log_in(scene, "operations")
    assert "This field is required" in decide(client, scene.request, comment=" ")
    assert "This field is required" in decide(client, scene.request, decision="")
    assert not Vote.objects.exists()


def test_one_refusal_ends_it(scene: Scene) -> None:
    text = decide(log_in(scene, "operations"), scene.request, decision="refuse", comment="no need")
    assert f"Request #{scene.request.pk} is refused" in text
    assert "no need" in text
    assert WorkOrder.objects.get(pk="w1").usd_per_day == 2


def test_withdrawing_is_for_who_asked(scene: Scene) -> None:
    url = reverse("admin:budgets_changerequest_withdraw", args=[scene.request.pk])
    refused = log_in(scene, "operations").post(url, follow=True)
    assert "Only who asked can withdraw" in refused.content.decode()
    assert log_in(scene, "asker").post(url).status_code == 302
    scene.request.refresh_from_db()
    assert scene.request.status == "cancelled"


def test_an_overdue_request_is_shown_as_expired(scene: Scene) -> None:
    past = timezone.now() - timedelta(minutes=1)
    ChangeRequest.objects.filter(pk=scene.request.pk).update(expires_at=past)
    shown = log_in(scene, "operations").get(
        reverse("admin:budgets_changerequest_change", args=[scene.request.pk])
    )
    text = shown.content.decode()
    assert "expired" in text
    assert "Your decision" not in text


def test_a_rule_that_is_gone_breaks_no_page(scene: Scene) -> None:
    from budgets.models import ApprovalRule, ApprovalSlot

    ApprovalSlot.objects.all().delete()
    ApprovalRule.objects.all().delete()
    client = log_in(scene, "operations")
    for name, args in (
        ("index", []),
        ("budgets_changerequest_change", [scene.request.pk]),
        ("workorders_workorder_change", ["w1"]),
    ):
        assert client.get(reverse(f"admin:{name}", args=args)).status_code == 200, name
