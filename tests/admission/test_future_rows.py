"""The clock of the database was ahead and has been put right: what was written then blocks nothing
until its time has come, and is reported."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from budgets import tasks
from budgets.admission import counters
from budgets.controls import breaker, features
from budgets.models import CostStatistic, RefusalGroup
from opslog.models import OperationsEvent
from tests.admission.desk import Desk, body, install_clock, run_of, set_clock
from tests.factories import lift_limits, make_work_order, set_limit
from workorders.models import Run

NOON = datetime(2026, 3, 14, 12, 0, 2, tzinfo=UTC)
AHEAD = NOON + timedelta(hours=2)


@pytest.fixture
def desk(committed_db: str) -> Iterator[Desk]:
    install_clock()
    lift_limits()
    set_clock(AHEAD)
    make_work_order(runs_per_day=1000, usd_per_day="1000.00", max_concurrent_runs=2)
    yield Desk()
    set_clock(None)


WINDOWS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("global", "rolling_minute", "usd", {}),
    ("global", "rolling_hour", "usd", {}),
    ("user", "rolling_minute", "requests", {"user_id": "u"}),
    ("user", "rolling_hour", "tokens", {"user_id": "u"}),
    ("address", "rolling_minute", "requests", {}),
    ("address", "minute", "requests", {}),
    ("feature", "rolling_hour", "usd", {"feature": "f"}),
    ("agent", "hour", "usd", {}),
]


@pytest.mark.parametrize(("scope", "window", "measure", "ask"), WINDOWS)
def test_windows_end_now(
    desk: Desk, scope: str, window: str, measure: str, ask: dict[str, Any]
) -> None:
    set_limit(scope, window, measure, {"usd": "1.00", "requests": "1", "tokens": "100"}[measure])
    ask = {"usd": "1.00", **ask}
    if measure == "tokens":
        ask |= {"model": "m", "estimated_input_tokens": 100}
    desk.finish(run_of(desk.start(**ask)), "1.00")
    refused = desk.start(**ask)
    assert refused.status in (429, 503)
    breaker_reset()
    set_clock(NOON)
    assert body(desk.start(**ask, dry_run=True))["decision"] == "admit"
    assert desk.start(**ask).status == 201
    refused = desk.start(**ask)
    assert refused.status in (429, 503)
    assert refused.retry_after is not None
    assert refused.retry_after <= 3_660  # by the slots that count, not by those to come


def breaker_reset() -> None:
    for each in breaker.not_closed():
        breaker.reset(each.scope, each.subject, reason="test", by="ops")


def test_the_throttle_and_the_cost_cap_of_a_feature_end_now(desk: Desk) -> None:
    values = {"requests_per_period": 1, "period": "rolling_hour", "cost_cap_usd": Decimal("1.00")}
    features.change("f", values, reason="test", by="ops")
    desk.finish(run_of(desk.start(usd="0.99", feature="f")), "0.99")
    set_clock(NOON)
    assert desk.start(usd="0.99", feature="f").status == 201


def test_errors_from_the_future_hide_no_later_ones(desk: Desk) -> None:
    for _ in range(10):
        desk.finish(run_of(desk.start(usd="0.01")), "0.01")
    set_clock(NOON)
    for _ in range(10):
        desk.finish(run_of(desk.start(usd="0.01")), "0.01", "error")
    assert desk.start(usd="0.01").denial == "breaker_open"


def test_costs_from_the_future_are_no_evidence_yet(desk: Desk) -> None:
    for _ in range(25):
        desk.finish(run_of(desk.start(usd="0.01")), "3.00")
    breaker_reset()
    set_clock(NOON)
    desk.finish(run_of(desk.start(usd="0.01")), "0.03")
    assert (CostStatistic.objects.get().settled_runs, CostStatistic.objects.get().p95_usd) == (
        1,
        Decimal("0.03"),
    )


def test_no_lease_outlives_its_length(desk: Desk) -> None:
    """Both slots are held by runs whose leases end in two hours; from now on they have 60 s."""
    first = run_of(desk.start(usd="0.01", lease_seconds=60))
    desk.start(usd="0.01", lease_seconds=60)
    set_clock(NOON)
    assert desk.start(usd="0.01").denial == "concurrency"
    set_clock(NOON + timedelta(seconds=30))
    assert desk.extend(first).status == 200
    set_clock(NOON + timedelta(seconds=60))
    assert desk.start(usd="0.01").status == 201
    assert Run.objects.filter(status="expired").count() == 1
    set_clock(NOON + timedelta(seconds=90))
    assert tasks.expire_leases() == 1
    assert not list(counters.differences())


def test_refusals_that_wait_in_a_group_are_written(desk: Desk) -> None:
    for _ in range(2):
        desk.start(usd="0.01")
    for _ in range(5):
        assert desk.start(usd="0.01").denial == "concurrency"
    assert RefusalGroup.objects.exists()
    set_clock(NOON)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT tollgate.flush_refusals_v1(100)")
    assert not RefusalGroup.objects.exists()


def test_an_idempotency_key_is_replayed_all_the_same(desk: Desk) -> None:
    run = run_of(desk.start(usd="0.01", key="k"))
    set_clock(NOON)
    again = desk.start(usd="0.01", key="k")
    assert (again.replayed, run_of(again)) == (True, run)
    assert Run.objects.count() == 1


def test_rows_from_the_future_are_reported(desk: Desk) -> None:
    set_limit("global", "rolling_hour", "usd", "90.00")
    set_clock(NOON)
    assert counters.from_the_future() == []
    set_clock(AHEAD)
    run = run_of(desk.start(usd="0.10"))
    desk.extend(run, "0.10")
    set_clock(NOON)
    found = {each.table: each for each in counters.from_the_future()}
    assert set(found) == {"work_order_runs", "run_charges", "counters"}
    assert (found["work_order_runs"].rows, found["work_order_runs"].latest) == (1, AHEAD)
    assert found["run_charges"].rows == 1
    with pytest.raises(CommandError, match="dated in the future"):
        call_command("verify_counters", stdout=io.StringIO())
    set_clock(AHEAD)
    assert counters.from_the_future() == []
    assert OperationsEvent.objects.exists()
