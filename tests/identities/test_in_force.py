"""Nobody passes a limit or a switch by spelling a name otherwise, whoever wrote it and how."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import Error, connection, transaction

from budgets.admission import Caller, counters, direct_spend
from budgets.controls import features, kill_switch, limits
from budgets.exceptions import Refused
from budgets.models import Budget, DirectSpend, FeatureControl, KillSwitch
from opslog.models import InferenceEvent
from opslog.price_book import prices
from opslog.telemetry.accepting import accept_inference
from opslog.telemetry.drafts import InferenceDraft, ToolDraft, shortened
from tests import factories
from tests.admission.desk import Desk, run_of
from tests.factories import make_price, set_limit
from tests.identities.spellings import EVIL, ONE_MODEL
from workorders import agents, tokens
from workorders.models import Agent, Run, ServiceToken, WorkOrder

pytestmark = pytest.mark.usefixtures("committed_db")


def sql(statement: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


@pytest.mark.parametrize("target", ["agent:evil", "Agent : EVIL", "agent:ｅｖｉｌ", "agent: evil "])
def test_a_switch_stops_every_spelling(desk: Desk, target: str) -> None:
    kill_switch.switch("Identity", target, enabled=True, reason="r", by="ops")
    assert KillSwitch.objects.get().target == "agent:evil"
    denials = {spelling: desk.start(agent=spelling).denial for spelling in EVIL}
    assert denials == dict.fromkeys(EVIL, "kill_switch")
    assert desk.start(agent="evil2").status == 201


@pytest.mark.parametrize(
    ("scope", "target"),
    [("Identity", "bot:evil"), ("Identity", "agent:"), ("Identity", "agent:\u200b"),
     ("Surface", "\u00a0"), ("Identity", "agent:evil\x1b[0m"), ("Global", "x")],
)  # fmt: skip
def test_a_target_that_matches_nothing_is_refused(scope: str, target: str) -> None:
    with pytest.raises(Refused):
        kill_switch.normalised(scope, target)


def test_switches_written_by_sql(desk: Desk) -> None:
    insert = (
        "INSERT INTO kill_switches (scope, target, enabled, reason, changed_by, changed_at) "
        "VALUES (%s, %s, true, 'r', 'dba', now())"
    )
    sql(insert, "Identity", "Agent: ＥＶＩＬ\u200b")
    sql(insert, "Surface", " Chat ")
    assert desk.start(agent="evil").denial == "kill_switch"
    assert desk.start(surface="CHAT").denial == "kill_switch"
    with pytest.raises(Error), transaction.atomic():
        sql(insert, "Identity", "bot:evil")
    with pytest.raises(Error), transaction.atomic():
        sql(insert, "Identity", "agent:\u200b")


def test_a_token_is_stopped_by_its_beginning(desk: Desk) -> None:
    prefix = ServiceToken.objects.get(digest=tokens.digest(desk.token)).prefix
    kill_switch.switch("Identity", f"token:{prefix}", enabled=True, reason="r", by="ops")
    assert desk.start().denial == "kill_switch"


@pytest.mark.parametrize("spelling", ["Chat", "chat ", "ｃｈａｔ", "c\u200bhat"])
def test_a_feature_that_is_off_is_off(desk: Desk, spelling: str) -> None:
    sql("INSERT INTO feature_flags (feature, enabled) VALUES ('CHAT', false)")
    assert FeatureControl.objects.get().feature == "chat"
    assert desk.start(feature=spelling).denial == "feature_off"
    assert features.control_of(spelling).pk is not None
    _, pinned = factories.make_token(feature=spelling)
    assert Desk(pinned).start(feature="other").denial == "feature_off"


def test_a_pin_written_by_sql(desk: Desk) -> None:
    features.change("chat", {"enabled": False}, reason="r", by="ops")
    sql("UPDATE service_tokens SET feature = 'Chat\u00a0'")
    assert desk.start().denial == "feature_off"


def test_a_quota_is_one_for_all_spellings_of_a_user(desk: Desk) -> None:
    set_limit("user", "day", "usd", "1.00")
    assert desk.start(usd="0.60", user_id="ann").status == 201
    for spelling in ("Ann", "ann ", "ａｎｎ", "a\u2060nn"):
        assert desk.start(usd="0.41", user_id=spelling).denial == "user_quota"
    assert list(counters.differences()) == []


@pytest.mark.parametrize("scope", ["surface", "feature", "agent", "user"])
def test_a_limit_on_one_name(desk: Desk, scope: str) -> None:
    for how in ("sql", "page"):
        Budget.objects.filter(scope=scope).delete()
        if how == "sql":
            sql(
                'INSERT INTO budgets (scope, subject, "window", measure, amount) '
                "VALUES (%s, 'Ｎame ', 'day', 'usd', 0.5)",
                scope,
            )
        else:
            limits.add(scope=scope, subject=" Name", window="day", measure="usd",
                       amount=Decimal("0.5"), reason="r", by="ops")  # fmt: skip
        field = {"agent": "agent", "user": "user_id"}.get(scope, scope)
        assert desk.start(usd="0.60", **{field: "NAME"}).status == 429


def test_a_limit_on_an_address(desk: Desk) -> None:
    desk.address = "2001:db8::1"
    add = (
        'INSERT INTO budgets (scope, subject, "window", measure, amount) VALUES (%s, %s, %s, %s, 1)'
    )
    sql(add, "address", "2001:DB8:0:0::1", "day", "requests")
    assert desk.start().status == 201
    assert desk.start().denial == "address_rate"
    with pytest.raises(Error), transaction.atomic():
        sql(add, "address", "10.0.0.0/8", "day", "requests")
    with pytest.raises(Refused):
        limits.subject_of("address", "10.0.0.0/8")


def test_what_was_sent_stays_to_be_seen(desk: Desk) -> None:
    make_price("gpt-4o")
    run = Run.objects.get(
        pk=run_of(desk.start(agent="Evil", user_id="ann", model="openai/GPT-4o-2024-08-06"))
    )
    assert (run.agent_name, run.user_id, run.model) == ("evil", "ann", "gpt-4o")
    assert run.sent_as == {"agentName": "Evil", "model": "openai/GPT-4o-2024-08-06"}
    assert Run.objects.get(pk=run_of(desk.start(agent="evil"))).sent_as is None


def test_the_same_ask_in_another_spelling_is_a_replay(desk: Desk) -> None:
    first = desk.start(agent="loop", model="", key="k")
    again = desk.start(agent="Loop ", model="", key="k")
    assert again.replayed
    assert run_of(again) == run_of(first)


def test_agents_have_one_name_and_keep_their_spelling() -> None:
    agent = agents.save(Agent(name=" Loop-8 ", description=""), new=True, by="ops")
    assert (agent.name, str(agent)) == ("loop-8", "Loop-8")
    sql("INSERT INTO agents (name, is_active) VALUES ('Ｌoop-9', true)")
    assert str(Agent.objects.get(pk="loop-9")) == "Ｌoop-9"
    with pytest.raises(Error), transaction.atomic():
        sql("INSERT INTO agents (name, is_active) VALUES ('LOOP-8', true)")
    with pytest.raises(Error), transaction.atomic():
        sql("INSERT INTO agents (name, is_active) VALUES ('\u200b', true)")


def test_a_known_agent_is_known_in_any_spelling(desk: Desk) -> None:
    factories.make_agent("Loop-8")
    assert Run.objects.get(pk=run_of(desk.start(agent="LOOP-8"))).agent_known


def test_a_team_has_one_name(desk: Desk) -> None:
    sql("UPDATE work_orders SET team = 'Ｇrowth '")
    set_limit("team", "day", "usd", "0.50", subject="GROWTH")
    assert desk.start(usd="0.60").status == 429


def test_a_title_has_no_control_characters() -> None:
    for bad in ("a\nb", "a\x1b[31mb", "a\r"):
        with pytest.raises(Error), transaction.atomic():
            WorkOrder.objects.create(id="w9", title=bad)


# Models


@pytest.fixture
def sold(desk: Desk) -> Desk:
    make_price("gpt-4o", "2.5", "10")
    prices.forget_book()
    return desk


@pytest.mark.parametrize("subject", ["gpt-4o", "openai/GPT-4o", "azure/gpt-4o-2024-08-06"])
@pytest.mark.parametrize("how", ["sql", "page"])
def test_a_model_budget_holds_all_its_spellings(sold: Desk, subject: str, how: str) -> None:
    if how == "sql":
        sql(
            'INSERT INTO budgets (scope, subject, "window", measure, amount) '
            "VALUES ('model', %s, 'day', 'usd', 0.5)",
            subject,
        )
    else:
        limits.add(scope="model", subject=subject, window="day", measure="usd",
                   amount=Decimal("0.5"), reason="r", by="ops")  # fmt: skip
    assert sold.start(usd="0.40", model="gpt-4o").status == 201
    denials = {name: sold.start(usd="0.20", model=name).denial for name in ONE_MODEL}
    assert denials == dict.fromkeys(ONE_MODEL, "budget:model:day")
    assert sold.start(usd="0.20", model="gpt-4o-mini").status == 201
    assert list(counters.differences()) == []


def test_direct_spend_and_advice_count_one_model(sold: Desk) -> None:
    set_limit("model", "day", "usd", "1.00", subject="gpt-4o")
    caller = Caller(tokens.digest(sold.token), "127.0.0.1")
    who = direct_spend.Attribution(user_id="Ann", agent_name="Evil")
    for name in ("azure/gpt-4o", "GPT-4o-2024-08-06"):
        result = direct_spend.spend(caller=caller, who=who, cost_usd=Decimal("0.6"), model=name)
        assert result.status == 200
    spent = DirectSpend.objects.get(sent_as__model="GPT-4o-2024-08-06")
    assert (spent.model, spent.user_id, spent.agent_name) == ("gpt-4o", "ann", "evil")
    assert spent.sent_as == {
        "model": "GPT-4o-2024-08-06", "userId": "Ann", "agentName": "Evil"
    }  # fmt: skip
    advice = direct_spend.check(
        caller=caller, who=who, estimated_usd=Decimal("0.1"), model="GPT-4O"
    )
    assert '"allowed" : false' in advice.body or '"allowed":false' in advice.body
    assert sold.start(model="openai/gpt-4o").denial == "budget:model:day"
    assert list(counters.differences()) == []


def test_tiers_go_by_the_model(desk: Desk) -> None:
    make_price("gpt-4o", tier="largest")
    set_limit("model_tier", "open", "runs", 1, subject="largest")
    assert desk.start(model="gpt-4o").status == 201
    for name in ONE_MODEL:
        assert desk.start(model=name).denial == "concurrency", name


def test_telemetry_has_one_name_of_each(sold: Desk) -> None:
    accept_inference(
        [
            InferenceDraft(
                model="azure/GPT-4o", user_id="Ann ", feature="ＣＨＡＴ", agent_name="Evil",
                surface="CLI", trigger_type="Retry",
            )
        ],
        source="api",
    )  # fmt: skip
    event = InferenceEvent.objects.get()
    assert (event.model, event.sent_model) == ("gpt-4o", "azure/GPT-4o")
    assert (event.user_id, event.feature, event.agent_name) == ("ann", "chat", "evil")
    assert (event.surface, event.trigger_type) == ("cli", "retry")


def test_telemetry_without_a_visible_name_is_refused() -> None:
    for field in ("user_id", "feature", "agent_name", "surface", "model"):
        with pytest.raises(ValueError, match="visible"):
            InferenceDraft(**{"model": "m", field: "\u200b"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="userId"):
        ToolDraft(tool_name="t", user_id=" ")
    # What others' instrumentation says is not lost with a name.
    assert shortened(InferenceDraft, model="m", user_id="\u200b").user_id is None


def test_limits_follow_the_price_book(desk: Desk) -> None:
    set_limit("model", "day", "usd", "0.50", subject="house-a")
    assert limits.follow_price_book() == 0
    make_price("house", match={"starts_with": "house"})
    prices.forget_book()
    assert limits.follow_price_book() == 1
    assert Budget.objects.get(scope="model").subject == "house"
    assert desk.start(usd="0.60", model="house-b").denial == "budget:model:day"
    assert limits.follow_price_book() == 0
