"""The breach playbook: what is used of each limit, a tree of questions, and undo as it says."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from budgets import approvals
from budgets.admission import direct_spend
from budgets.controls import breaker, features, kill_switch, limits
from budgets.exceptions import NotYours, Refused
from budgets.models import (
    Budget,
    CircuitBreaker,
    Deployment,
    DimensionBudget,
    FeatureControl,
    KillSwitch,
)
from tests import factories
from tests.admission.desk import Desk, run_of
from tests.runbooks.pages import page

ROOT = Path(__file__).resolve().parents[2]
WHY = "it burns"


@pytest.fixture
def ops(db: None) -> User:
    return factories.make_user("olga", groups=["operations"])


def text_of(html: str) -> str:
    html = re.sub(r"</?data[^>]*>", "", html)  # a figure stands within its sentence
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.mark.usefixtures("committed_db")
class TestFigures:
    """Two runs of $0.40 and $0.50, one of them open; two reported calls of $0.25 and $0.05."""

    @pytest.fixture
    def ops_client(self) -> Client:
        made = Client()
        made.force_login(
            factories.make_user("ops", groups=["operations"], is_staff=True),
            backend="django.contrib.auth.backends.ModelBackend",
        )
        return made

    def test_limits_with_their_use_and_direct_spend_apart(self, ops_client: Client) -> None:
        factories.make_work_order("w1")
        desk = Desk(factories.make_token(["start", "admin"])[1])
        run = run_of(desk.start(usd="0.40"))
        desk.finish(run, "0.40")
        desk.start(usd="0.50")
        for usd in ("0.25", "0.05"):
            direct_spend.spend(
                caller=desk.caller, who=direct_spend.Attribution(), cost_usd=Decimal(usd)
            )
        text = text_of(page(ops_client, "budget-breach"))
        assert "$0.90 by 2 runs, and $0.30 of direct spend in 2 calls" in text
        # $1.20 of everything: 12 % of the hour's $10, 2.4 % of the day's $50.
        assert "$1.20 of $10.00 used (12.0 %)" in text
        assert "$1.20 of $50.00 used (2.4 %)" in text
        assert text.index("$1.20 of $5.00 used (24.0 %)") < text.index("$1.20 of $10.00 used")
        assert "Is it direct spend? $0.30 of $1.20 today" in text


def test_a_monthly_budget_with_its_use(client: Client) -> None:
    DimensionBudget.objects.filter(dimension="compute").update(monthly_usd=30)
    assert "$0.00 of $30.00 used (0.0 %)" in text_of(page(client, "budget-breach"))


def test_the_tree_has_four_branches(client: Client) -> None:
    text = page(client, "budget-breach")
    for name in ("LLM", "Logging", "Compute", "Storage"):
        branch = text.split(f">{name}</h3>")[1].split("<h3")[0]
        assert branch.count("<strong>") >= 4, name
        assert "None of these" in branch, name
        assert "Hotspot: " in branch, name
    assert "Are metrics exported more often? Yes: export less often" in text_of(text)


# --- undoing, as phase 3 says: each step is taken and undone ---


def step_text(client: Client, number: int) -> str:
    phase = page(client, "budget-breach").split("Phase 3")[1].split("Phase 4")[0]
    steps = text_of(phase).split("Undo:")
    return steps[number]


def test_a_lowered_limit_is_not_raised_by_oneself(client: Client, ops: User) -> None:
    assert "Raising it is a request that others approve" in step_text(client, 1)
    day = Budget.objects.get(scope="global", window="day", measure="usd")
    limits.lower(day.pk, Decimal(20), reason=WHY, by="olga")
    with pytest.raises(Refused, match="requested, and approved by others"):
        limits.lower(day.pk, Decimal(50), reason=WHY, by="olga")
    asked = approvals.ask(
        str(day.pk),
        kind="budget",
        new={"shared_limit": Decimal(50)},
        justification="over",
        expected_cost_impact="$30 a day",
        by=ops,
    )
    assert asked.status == "pending"


def test_levers_are_put_back_but_for_throttle_and_cost_cap(client: Client, ops: User) -> None:
    assert "on the same page, at once. A throttle or a cost cap is the exception" in step_text(
        client, 2
    )
    looser: dict[str, Any] = {"max_rounds": 5, "max_context_messages": 10, "substitute_model": ""}
    tight = {"max_rounds": 1, "max_context_messages": 2, "substitute_model": "small"}
    features.change("chat", tight, reason=WHY, by="olga")
    features.change("chat", looser, reason="over", by="olga")
    assert FeatureControl.objects.filter(**looser).exists()
    features.change(
        "chat", {"requests_per_period": 5, "cost_cap_usd": Decimal(1)}, reason=WHY, by="olga"
    )
    for back in ({"requests_per_period": None}, {"requests_per_period": 9}, {"cost_cap_usd": None}):
        with pytest.raises(Refused, match="asked for, not set"):
            features.change("chat", back, reason="over", by="olga")


def test_a_feature_is_switched_on_again(client: Client, ops: User) -> None:
    assert "on the same page, at once" in step_text(client, 3)
    features.change("chat", {"enabled": False}, reason=WHY, by="olga")
    features.change("chat", {"enabled": True}, reason="over", by="olga")
    assert FeatureControl.objects.get().enabled


@pytest.mark.parametrize(
    ("step", "scope", "target"),
    [(4, "Surface", "web"), (4, "Identity", "user:u1"), (6, "Global", "")],
)
def test_a_person_lifts_a_stop(
    client: Client, ops: User, step: int, scope: str, target: str
) -> None:
    assert "lifts it on its page, at once" in step_text(client, step)
    kill_switch.switch(scope, target, enabled=True, reason=WHY, by="olga", person=ops)
    token, _ = factories.make_token(["admin"])
    with pytest.raises(NotYours):
        kill_switch.switch(scope, target, enabled=False, reason="over", by="svc", token_id=token.pk)
    kill_switch.switch(scope, target, enabled=False, reason="over", by="olga", person=ops)
    assert not KillSwitch.objects.get(scope=scope).enabled


def test_the_breaker_closes_at_once_on_its_page(client: Client, ops: User) -> None:
    assert "closes by itself after one good run, or at once on its page" in step_text(client, 5)
    breaker.trip("global", "", reason=WHY, by="olga")
    breaker.reset("global", "", reason="over", by="olga")
    assert CircuitBreaker.objects.get(scope="global").state == "closed"


# --- before a production run; code that spends ---


def test_before_a_production_run(client: Client) -> None:
    text = text_of(page(client, "production-run"))
    assert "database is stamped development" in text
    assert "No work order has a name of test data" in text
    assert "It warns over 10 tasks and $20.00, and is an error over 50 tasks and $50.00" in text
    factories.make_work_order("w1", title="Test sample")
    factories.make_work_order("w2", title="The latest contest")
    Deployment.objects.update(environment="production")
    kill_switch.switch("Surface", "web", enabled=True, reason="fire", by="ops")
    text = text_of(page(client, "production-run"))
    assert "They differ: stop here" in text
    assert "Test sample w1" in text
    assert "The latest contest" not in text
    assert "Stopped now" in text
    assert "0 of 20 runs used (0.0 %)" in text


def test_the_six_questions_stand_in_the_pull_request_template(client: Client) -> None:
    text = page(client, "spending-code")
    questions = re.findall(r"<strong>([^<]+)</strong>", text[text.index("Six questions") :])
    assert len(questions) == 6
    template = (ROOT / ".github/pull_request_template.md").read_text()
    assert re.findall(r"^- \[ \] (.+)$", template, re.MULTILINE) == questions
