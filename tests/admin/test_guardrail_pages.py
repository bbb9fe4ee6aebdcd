"""The pages of the guardrails do what their buttons say, with a reason, and say what happened."""

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from budgets.models import (
    Budget,
    ChangeRequest,
    CircuitBreaker,
    FeatureControl,
    KillSwitch,
    Vote,
)
from opslog.models import OperationsEvent
from tests.admin.pages import log_in
from tests.admin.scene import Scene
from tests.factories import make_user


def post(client: Client, name: str, pk: object, **fields: object) -> str:
    answer = client.post(reverse(f"admin:{name}", args=[pk] if pk else []), fields, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_limit_is_lowered_and_never_raised(scene: Scene) -> None:
    client = log_in(scene, "operations")
    day = Budget.objects.get(scope="global", window="day", measure="usd")
    response = post(client, "budgets_budget_lower", day.pk, amount="40.00", reason="a quiet week")
    assert "holds from the next start on" in response
    day.refresh_from_db()
    assert day.amount == Decimal(40)
    event = OperationsEvent.objects.filter(kind="LIMIT_CHANGE").latest()
    assert (event.actor, event.meta["reason"]) == ("operations", "a quiet week")
    assert event.meta["changes"]["amount"] == {"old": 50.00, "new": 40.00}
    assert "would not lower it" in post(
        client, "budgets_budget_lower", day.pk, amount="41.00", reason="more"
    )
    assert "required" in post(client, "budgets_budget_lower", day.pk, amount="1.00", reason=" ")


def test_a_limit_is_added_where_there_was_none(scene: Scene) -> None:
    client = log_in(scene, "director")
    row = {"scope": "surface", "subject": "chat", "window": "day", "measure": "usd"}
    post(client, "budgets_budget_add", None, **row, amount="5.00", reason="pilot")
    assert Budget.objects.get(scope="surface").amount == 5
    wrong = {"scope": "surface", "subject": "chat", "window": "open", "measure": "usd"}
    response = post(client, "budgets_budget_add", None, **wrong, amount="5.00", reason="pilot")
    assert "cannot be kept" in response
    vip = {"scope": "user", "subject": "vip", "window": "day", "measure": "tokens"}
    response = post(client, "budgets_budget_add", None, **vip, amount="200000", reason="vip")
    assert "is a raise" in response


def test_a_raise_is_asked_for_read_and_signed(scene: Scene) -> None:
    tokens = Budget.objects.get(scope="user", window="day", measure="tokens")
    client = log_in(scene, "operations")
    add = reverse("admin:budgets_changerequest_add") + f"?budget={tokens.pk}"
    page = client.get(reverse("admin:budgets_budget_change", args=[tokens.pk]))
    assert add in page.content.decode()
    assert "Tokens, requests, runs: 1 and more" in client.get(add).content.decode()
    data = {
        "shared_limit": "90000",
        "justification": "a launch",
        "expected_cost_impact": "$1 a day",
    }
    assert "on its own page" in client.post(add, data).content.decode()
    answer = client.post(add, {**data, "shared_limit": "200000"}, follow=True)
    assert "sent to those who decide" in answer.content.decode()
    made = ChangeRequest.objects.get(subject_type="budget")
    page = client.get(reverse("admin:budgets_budget_change", args=[tokens.pk]))
    assert f"Request #{made.pk} waits" in page.content.decode()
    edit = reverse("admin:budgets_changerequest_edit", args=[made.pk])
    client.post(edit, {**data, "shared_limit": "250000"})
    director = log_in(scene, "director")
    queue = director.get(reverse("admin:budgets_changerequest_changelist") + "?whose=me")
    assert "tokens a day (UTC), user of *" in queue.content.decode()
    assert "tokens a day" in director.get(reverse("admin:index")).content.decode()
    page = director.get(reverse("admin:budgets_changerequest_change", args=[made.pk]))
    assert "user_quota" in page.content.decode()
    decision = {"decision": "approve", "comment": "fine", "seen_revision": 2}
    decision |= dict.fromkeys(("legitimate", "reasonable", "optimise"), "yes")
    said_of_it = post(director, "budgets_changerequest_decide", made.pk, **decision)
    assert "approved and applied" in said_of_it
    assert "Verified by the first starts" in said_of_it
    tokens.refresh_from_db()
    assert tokens.amount == 250_000
    vote = Vote.objects.get(request=made)
    assert vote.evidence["lines"] == {"shared_limit": {"old": "100000.00", "new": "250000.00"}}
    assert vote.evidence["limit"]["denials"] == ["user_quota"]


@pytest.mark.parametrize("result", ["budget=0", "budget=x", "feature=999999", "budget=9" * 30])
def test_a_raise_of_nothing_is_not_found(scene: Scene, result: str) -> None:
    client = log_in(scene, "operations")
    assert client.get(reverse("admin:budgets_changerequest_add") + f"?{result}").status_code == 404


def test_who_stops_what(scene: Scene) -> None:
    everything = {"scope": "Global", "target": "", "reason": "runaway"}
    response = post(log_in(scene, "operations"), "budgets_killswitch_add", None, **everything)
    assert "A director switches everything" in response
    post(log_in(scene, "director"), "budgets_killswitch_add", None, **everything)
    assert KillSwitch.objects.get(scope="Global").enabled
    home = log_in(scene, "auditor").get(reverse("admin:index")).content.decode()
    assert "everything is stopped" in home
    assert "runaway" in home
    pk = KillSwitch.objects.get(scope="Global").pk
    operator = log_in(scene, "operations")
    address = reverse("admin:budgets_killswitch_switch", args=[pk])
    assert operator.post(address, {"reason": "over"}).status_code == 403
    post(log_in(scene, "director"), "budgets_killswitch_switch", pk, reason="over")
    assert not KillSwitch.objects.get(scope="Global").enabled


def test_the_breaker_is_tripped_and_reset(scene: Scene) -> None:
    client = log_in(scene, "operations")
    pk = CircuitBreaker.objects.get(scope="global").pk
    assert "nothing starts" in post(client, "budgets_circuitbreaker_trip", pk, reason="fire")
    assert CircuitBreaker.objects.get(pk=pk).state == "open"
    assert "start again" in post(client, "budgets_circuitbreaker_reset", pk, reason="out")
    assert CircuitBreaker.objects.get(pk=pk).state == "closed"
    kinds = set(OperationsEvent.objects.values_list("kind", flat=True))
    assert {"BREAKER_OPENED", "BREAKER_CLOSED", "BREAKER_SWITCHED"} <= kinds


def test_a_feature_is_registered_once(scene: Scene) -> None:
    """The form begins with the defaults: for one that is there it would set the levers back."""
    client = log_in(scene, "operations")
    url = reverse("admin:budgets_featurecontrol_add")
    initial = client.get(url).context["form"]
    told = {each.name: each.value() or "" for each in initial if each.value() not in (None, False)}
    told = {**told, "feature": "digest-2", "max_rounds": 3, "reason": "a new one"}
    assert client.post(url, told).status_code == 302
    for name in ("digest-2", "Digest-2"):
        answer = client.post(url, {**told, "feature": name, "max_rounds": 50})
        assert "digest-2 is registered already." in answer.content.decode()
    assert FeatureControl.objects.get(feature="digest-2").max_rounds == 3


def test_a_feature_is_switched_off(scene: Scene) -> None:
    client = log_in(scene, "operations")
    pk = FeatureControl.objects.get().pk
    post(client, "budgets_featurecontrol_switch", pk, reason="too dear")
    control = FeatureControl.objects.get()
    assert (control.enabled, control.reason, control.changed_by) == (
        False,
        "too dear",
        "operations",
    )


@pytest.mark.parametrize("role", ["auditor", "operations"])
def test_the_burn_rate_is_for_who_may_read(scene: Scene, role: str) -> None:
    page = log_in(scene, role).get(reverse("burn-rate-page"))
    assert page.status_code == 200
    assert "60 to 65 seconds" in page.content.decode()


def test_the_burn_rate_is_for_nobody_else(scene: Scene) -> None:
    assert log_in(scene, "nobody").get(reverse("burn-rate-page")).status_code == 403
    make_user("customer")
    assert Client().get(reverse("burn-rate-page")).status_code == 302
