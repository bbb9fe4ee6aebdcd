"""Each check of the decision, its answer and its event."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection

from budgets.models import CircuitBreaker, CostStatistic, Counter, IdempotencyRecord
from opslog.models import OperationsEvent
from opslog.price_book import prices
from tests.admission.desk import Desk, body, last_event, run_of
from tests.factories import (
    lift_limits,
    make_agent,
    make_price,
    make_work_order,
    set_caps,
    set_limit,
)
from workorders import directory
from workorders.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Desk:
    prices.forget_book()
    make_work_order()
    return Desk()


def test_admitted(desk: Desk) -> None:
    decision = desk.start(usd="0.05", user_id="u1", surface="cli", feature="digest")
    answer = body(decision)
    assert decision.status == 201
    assert answer["reservedUsd"] == "0.05"
    assert answer["caps"] == {"runsPerDay": 100, "usdPerDay": 2.0}
    assert answer["usage"] == {"runsToday": 1, "usdToday": "0.05", "openRuns": 1}
    run = Run.objects.get()
    assert str(run.id) == answer["runId"]
    assert (run.status, run.reserved_usd, run.surface) == ("running", Decimal("0.05"), "cli")
    assert not run.agent_known
    event = last_event()
    assert event.kind == "WORK_ORDER_START"
    assert {"woId", "woTitle", "agentName", "runId", "sourceIp"} <= event.meta.keys()
    assert event.db_user == connection.settings_dict["USER"]


def test_a_known_agent_is_not_flagged(desk: Desk) -> None:
    make_agent("agent-1")
    desk.start()
    assert Run.objects.get().agent_known


def refused(decision, status: int, denial: str, error: str = "") -> None:
    assert (decision.status, decision.denial) == (status, denial)
    if error:
        assert decision.error == error
    assert not Run.objects.exists()
    assert not Counter.objects.filter(runs__gt=0).exists()


def test_unknown_token(desk: Desk) -> None:
    events = OperationsEvent.objects.count()
    desk.token = "tg_nobody"
    refused(desk.start(), 401, "token")
    assert OperationsEvent.objects.count() == events  # no floods from strangers


def test_unknown_work_order(desk: Desk) -> None:
    events = OperationsEvent.objects.count()
    refused(desk.start("nope"), 404, "unknown_work_order", "unknown work order")
    assert OperationsEvent.objects.count() == events


def test_suspended(desk: Desk) -> None:
    directory.suspend("w1", by="ops", reason="looks odd")
    refused(desk.start(), 409, "suspended")
    assert last_event().kind == "START_REFUSED"
    directory.resume("w1", by="ops", reason="was fine")
    assert desk.start().status == 201


def test_unknown_agent_where_refused(desk: Desk) -> None:
    make_work_order("strict", refuse_unknown_agents=True)
    refused(desk.start("strict"), 403, "unknown_agent")
    make_agent("agent-1", is_active=False)
    refused(desk.start("strict"), 403, "unknown_agent")
    make_agent("agent-2")
    assert desk.start("strict", agent="agent-2").status == 201


def test_concurrent_runs_of_the_work_order(desk: Desk) -> None:
    runs = [run_of(desk.start()) for _ in range(2)]
    decision = desk.start()
    assert (decision.status, decision.denial, decision.retry_after) == (429, "concurrency", 5)
    assert decision.error == "concurrency limit reached"
    desk.finish(runs[0])
    assert desk.start().status == 201


def test_concurrent_runs_in_all(desk: Desk) -> None:
    set_limit("global", "open", "runs", 3)
    make_work_order("w2")
    for wo in ("w1", "w1", "w2"):
        assert desk.start(wo).status == 201
    assert desk.start("w2").denial == "concurrency"


def test_runs_a_day(desk: Desk) -> None:
    make_work_order("two", runs_per_day=2, max_concurrent_runs=9)
    desk.start("two")
    desk.start("two")
    decision = desk.start("two")
    assert (decision.status, decision.denial) == (429, "runs_per_day")
    assert (decision.error, decision.retry_after) == ("runs/day cap reached", 86400)
    assert decision.reset_at is not None
    meta = last_event().meta
    assert last_event().kind == "RATE_LIMIT_429"
    assert (meta["reason"], meta["runsToday"], meta["cap"]) == ("runs_per_day", 2, "2")


def test_dollars_a_day_to_the_cent(desk: Desk) -> None:
    make_work_order("exact", usd_per_day="1.00", max_concurrent_runs=9)
    assert desk.start("exact", usd="0.99").status == 201
    decision = desk.start("exact", usd="0.010000001", key="ask-1")
    assert (decision.status, decision.denial, decision.error) == (
        429,
        "usd_per_day",
        "budget cap reached",
    )
    meta = last_event().meta
    assert meta["usdToday"] == "0.99"
    assert meta["estimatedUsd"] == "0.010000001"
    assert meta["askKey"] == "ask-1"
    assert desk.start("exact", usd="0.01").status == 201
    assert desk.start("exact", usd="0.000000001").status == 429


def test_calls_of_one_address(desk: Desk) -> None:
    set_limit("address", "minute", "requests", 1)
    assert desk.start().status == 201
    decision = desk.start()
    assert (decision.status, decision.denial, decision.error) == (
        429,
        "address_rate",
        "quota reached",
    )
    assert decision.retry_after is not None
    assert 0 < decision.retry_after <= 60
    desk.address = "127.0.0.2"
    assert desk.start().status == 201


def test_the_budget_of_all(desk: Desk) -> None:
    set_limit("global", "day", "usd", "0.15")
    make_work_order("w2")
    assert desk.start("w1", usd="0.10").status == 201
    decision = desk.start("w2", usd="0.06")
    assert (decision.status, decision.denial) == (429, "budget:global:day")
    assert decision.error == "global budget reached"
    assert desk.start("w2", usd="0.05").status == 201


def test_model_without_a_price_is_no_free_ride(desk: Desk) -> None:
    decision = desk.start(usd=None, model="nobody-knows")
    refused(decision, 422, "unpriced_model")
    assert desk.start(usd="0.01", model="nobody-knows").status == 201


def test_priced_by_tokens(desk: Desk) -> None:
    make_price("m", "1.00", "2.00")
    decision = desk.start(
        usd=None, model="m", estimated_input_tokens=10_000, estimated_output_tokens=5_000
    )
    assert body(decision)["reservedUsd"] == "0.02"


def test_a_price_that_changed_a_moment_ago_is_used(desk: Desk) -> None:
    price = make_price("m", "1.00", "2.00")
    ask: dict[str, Any] = {"usd": None, "model": "m", "estimated_input_tokens": 10_000}
    assert body(desk.start(**ask))["reservedUsd"] == "0.01"
    price.input_per_mtok = Decimal("3.00")
    price.save()
    assert body(desk.start(**ask))["reservedUsd"] == "0.03"


def test_costly_only_on_purpose(desk: Desk) -> None:
    lift_limits()
    make_work_order("rich", usd_per_day="40.00")
    refused(desk.start("rich", usd="5.01"), 428, "confirm")
    assert desk.start("rich", usd="5.01", confirm=True).status == 201
    assert desk.start("rich", usd="5.00").status == 201


def test_the_first_refusal_of_the_order_wins(desk: Desk) -> None:
    """Everything is wrong at once; curing one shows the next."""
    make_work_order(
        "all", runs_per_day=1, usd_per_day="0.10", max_concurrent_runs=1, refuse_unknown_agents=True
    )
    make_agent("known")
    first = desk.start("all", usd="0.10", agent="known")
    set_limit("address", "minute", "requests", 1)
    set_limit("global", "day", "usd", "0.10")
    ask: dict[str, Any] = {"wo": "all", "usd": None, "model": "nobody-knows"}
    directory.suspend("all", by="ops", reason="test")
    assert desk.start(**ask).denial == "suspended"
    directory.resume("all", by="ops", reason="test")
    assert desk.start(**ask).denial == "unknown_agent"
    ask["agent"] = "known"
    assert desk.start(**ask).denial == "concurrency"
    desk.finish(run_of(first))
    work_order = Run.objects.get().wo
    assert desk.start(**ask).denial == "runs_per_day"
    set_caps(work_order, 100, "0.10")
    assert desk.start(**ask).denial == "usd_per_day"
    set_caps(work_order, 100, "40.00")
    assert desk.start(**ask).denial == "address_rate"
    set_limit("address", "minute", "requests", None)
    assert desk.start(**ask).denial == "budget:global:day"
    set_limit("global", "day", "usd", None)
    assert desk.start(**ask).denial == "unpriced_model"
    set_limit("global", "rolling_minute", "usd", "6.05")
    set_limit("global", "rolling_hour", "usd", "6.10")
    ask["usd"] = "6.00"
    assert desk.start(**ask).denial == "confirm"
    assert desk.start(**ask, confirm=True).denial == "breaker_open"
    set_limit("global", "rolling_minute", "usd", None)
    CircuitBreaker.objects.update(state="closed", half_open_at=None)
    assert desk.start(**ask, confirm=True).status == 201


def test_dry_run_writes_nothing(desk: Desk) -> None:
    events, counters = OperationsEvent.objects.count(), Counter.objects.count()
    decision = desk.start(usd="0.05", dry_run=True, key="k")
    assert decision.status == 200
    assert body(decision) == {"decision": "admit", "reason": None, "wouldReserveUsd": "0.05"}
    refusal = body(desk.start(usd="2.01", dry_run=True))
    assert (refusal["decision"], refusal["reason"]) == ("refuse", "usd_per_day")
    assert (OperationsEvent.objects.count(), Counter.objects.count()) == (events, counters)
    assert not Run.objects.exists()
    assert not IdempotencyRecord.objects.exists()


def test_no_estimate_and_no_history(desk: Desk) -> None:
    assert body(desk.start(usd=None))["reservedUsd"] == "0.02"  # $2.00 / 100 runs


def settle(desk: Desk, *costs: str) -> None:
    for cost in costs:
        assert desk.finish(run_of(desk.start(usd=cost)), cost).status == 200


def test_no_estimate_takes_the_recent_p95(desk: Desk) -> None:
    lift_limits()
    settle(desk, *["0.01"] * 9, "0.03")
    assert body(desk.start(usd=None))["reservedUsd"] == "0.03"


def test_low_estimates_are_lifted_to_the_median_of_twenty(desk: Desk, settings) -> None:
    lift_limits()
    settle(desk, *["0.01"] * 19)
    assert body(desk.start(usd="0.000001"))["reservedUsd"] == "0.000001"
    settle(desk, "0.01")
    assert CostStatistic.objects.get().settled_runs == 20
    assert body(desk.start(usd="0.000001"))["reservedUsd"] == "0.01"
    for run in Run.objects.filter(status="running"):
        desk.finish(str(run.id), "0.01")
    assert CostStatistic.objects.get().median_usd == Decimal("0.01")
    settings.TOLLGATE_LIFT_ESTIMATES = False
    assert body(desk.start(usd="0.000001"))["reservedUsd"] == "0.000001"


def test_retry_after_until_midnight(desk: Desk, settings) -> None:
    settings.TOLLGATE_RETRY_AFTER = "midnight"
    decision = desk.start(usd="3.00")
    assert decision.retry_after is not None
    assert 0 < decision.retry_after <= 86400


def test_replay(desk: Desk) -> None:
    first = desk.start(key="k1")
    again = desk.start(key="k1")
    assert (again.status, again.replayed) == (201, True)
    assert body(again) == body(first) | {"replayed": True, "settlement": None}
    assert Run.objects.count() == 1
    other = desk.start(key="k1", usd="0.11")
    assert (other.status, other.denial) == (422, "idempotency_key")


def test_a_replay_answers_whatever_has_changed_since(desk: Desk) -> None:
    first = desk.start(key="k1")
    directory.suspend("w1", by="ops", reason="test")
    assert run_of(desk.start(key="k1")) == run_of(first)


def test_a_replay_says_what_its_run_is_now(desk: Desk) -> None:
    first = desk.start(key="k1", usd="0.10")
    run = run_of(first)
    extended = body(desk.extend(run, "0.05", lease=3600))
    now = body(desk.start(key="k1", usd="0.10"))
    assert now == body(first) | {
        "status": "running",
        "reservedUsd": "0.15",
        "leaseExpiresAt": extended["leaseExpiresAt"],
        "replayed": True,
        "settlement": None,
    }
    finished = body(desk.finish(run, "0.04"))
    now = body(desk.start(key="k1", usd="0.10"))
    assert (now["status"], now["settlement"]) == ("success", finished)
    assert finished["costUsd"] == "0.04"
    assert now["usage"] == body(first)["usage"]


def test_a_refusal_is_not_stored(desk: Desk) -> None:
    directory.suspend("w1", by="ops", reason="test")
    assert desk.start(key="k1").denial == "suspended"
    directory.resume("w1", by="ops", reason="test")
    assert desk.start(key="k1").status == 201


def test_a_key_belongs_to_its_token(desk: Desk) -> None:
    assert not desk.start(key="k1").replayed
    assert not Desk().start(key="k1").replayed


def test_caps_cannot_be_written_past_the_workflow(desk: Desk) -> None:
    """The owner's role too: the trigger asks for the row of an applied change."""
    with (
        connection.cursor() as cursor,
        pytest.raises(IntegrityError, match="an applied cap change"),
    ):
        cursor.execute("UPDATE work_orders SET usd_per_day = 1000 WHERE id = 'w1'")


def test_a_change_row_for_other_values_is_no_proof(desk: Desk) -> None:
    set_caps(Run(wo_id="w1").wo, 200, "2.00")
    with pytest.raises(IntegrityError, match="applied cap change"), connection.cursor() as cursor:
        cursor.execute("UPDATE work_orders SET runs_per_day = 300 WHERE id = 'w1'")


def test_a_work_order_begins_with_the_default_caps() -> None:
    sql = "INSERT INTO work_orders (id, title, runs_per_day) VALUES ('x', 'x', 101)"
    with connection.cursor() as cursor, pytest.raises(IntegrityError, match="default caps"):
        cursor.execute(sql)


def test_sql_may_suspend_and_not_resume(desk: Desk) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE work_orders SET status = 'suspended' WHERE id = 'w1'")
        assert last_event().kind == "WORK_ORDER_SUSPENDED"
        assert desk.start().denial == "suspended"
    with pytest.raises(IntegrityError, match="do it in the admin"), connection.cursor() as cursor:
        cursor.execute("UPDATE work_orders SET status = 'draft' WHERE id = 'w1'")
