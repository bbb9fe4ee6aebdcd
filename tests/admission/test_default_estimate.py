"""What a run reserves where its caller names no amount, and what a used-up cap admits: nothing."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from budgets import admission, clock
from budgets.admission import counters
from budgets.admission.preflight_checks import Task, TaskOutcome, hold_together
from budgets.approvals import corrections
from budgets.evidence.whatif import EPOCH, NEVER, Attempt, Caps, Columns, DayLog, Period, replay
from budgets.models import CircuitBreaker, CostRule, CostStatistic, Counter
from budgets.usage import overview
from opslog.price_book import prices
from opslog.pricing import Usage
from tests.admission.desk import Desk, body, run_of
from tests.factories import lift_limits, make_price, make_user, make_work_order, set_limit
from workorders.models import Run

pytestmark = pytest.mark.django_db

UNKNOWN_USAGE = Usage(1_000, 1_000)


@pytest.fixture
def desk() -> Desk:
    prices.forget_book()
    lift_limits()
    CircuitBreaker.objects.update(error_percent=None)
    # $20.00 and 1,000 runs a day: $0.02 a run.
    make_work_order(max_concurrent_runs=50, runs_per_day=1000, usd_per_day="20.00")
    return Desk()


def reserved(desk: Desk, **ask: Any) -> Decimal:
    return Decimal(body(desk.start(**{"usd": None, **ask}))["reservedUsd"])


def ended(desk: Desk, cost: str, status: str, times: int = 1, usd: str = "0") -> None:
    for _ in range(times):
        assert desk.finish(run_of(desk.start(usd=usd)), cost, status).status == 200


def unpriced(desk: Desk) -> None:
    report = admission.FinishTold(status="success", model="nobody-knows", usage=UNKNOWN_USAGE)
    run = run_of(desk.start(usd="0.004"))
    assert admission.finish(UUID(run), report, caller=desk.caller).status == 200


@pytest.mark.parametrize(
    "history",
    [
        lambda desk: ended(desk, "0", "error"),
        lambda desk: ended(desk, "0", "cancelled"),
        lambda desk: ended(desk, "0", "success"),
        lambda desk: ended(desk, "0", "success", 20),
        lambda desk: ended(desk, "0.000001", "success", 19),
        lambda desk: ended(desk, "0.000001", "error", 30),
        unpriced,
    ],
    ids=["error", "cancelled", "success", "20 free", "19 cheap", "30 errors", "unpriced"],
)
def test_the_default_does_not_fall_below_the_floor(
    desk: Desk, history: Callable[[Desk], None]
) -> None:
    history(desk)
    assert reserved(desk) == Decimal("0.02")


def test_runs_that_prove_nothing_do_not_hide_those_that_do(desk: Desk) -> None:
    ended(desk, "0.05", "success", 3)
    ended(desk, "0", "error", 97)
    ended(desk, "0", "cancelled", 5)
    unpriced(desk)
    assert reserved(desk) == Decimal("0.05")


def test_errors_that_cost_something_are_evidence(desk: Desk) -> None:
    ended(desk, "0.07", "error")
    assert reserved(desk) == Decimal("0.07")


def test_twenty_successes_are_believed(desk: Desk) -> None:
    ended(desk, "0.001", "success", 20)
    assert reserved(desk) == Decimal("0.001")
    statistic = CostStatistic.objects.get()
    assert (statistic.settled_runs, statistic.successful_runs) == (20, 20)


def test_failures_do_not_pull_the_median_down(desk: Desk) -> None:
    """20 runs at $0.01, then 21 failures at $0: the median of what runs cost is still $0.01."""
    ended(desk, "0.01", "success", 20)
    ended(desk, "0", "error", 21)
    assert reserved(desk, usd="0.000001") == Decimal("0.01")


def test_a_cost_that_was_corrected_away_is_no_evidence(desk: Desk) -> None:
    ended(desk, "0.30", "success", usd="0.30")
    run = Run.objects.get()
    assert reserved(desk) == Decimal("0.30")
    corrections.ask(
        "run",
        run.pk,
        Decimal(0),
        seen=Decimal("0.30"),
        reason="the model was never called",
        by=make_user("op", ["operations"]),
    )
    assert reserved(desk) == Decimal("0.02")


def test_runs_without_an_estimate_do_not_share_one_cap(desk: Desk) -> None:
    """After a failure at $0 two began at once, reserved nothing, and spent $3.90 of $2.00. Now each
    holds its share, and what the first overran is seen by the next."""
    make_work_order("two", usd_per_day="2.00", runs_per_day=4, max_concurrent_runs=4)
    desk.finish(run_of(desk.start("two", usd="0")), "0", "error")
    runs = [run_of(desk.start("two", usd=None)) for _ in range(2)]
    assert [run.reserved_usd for run in Run.objects.filter(pk__in=runs)] == [Decimal("0.50")] * 2
    desk.finish(runs[0], "1.95")
    assert desk.start("two", usd=None).denial == "usd_per_day"
    assert not list(counters.differences())


@pytest.mark.parametrize(
    ("usd", "runs", "each"),
    [("2.00", 3, "0.666666666"), ("0.01", 100_000_000, "0.000000001"), ("5.00", 1, "5.00")],
)
def test_the_floor_is_the_share_of_one_run(desk: Desk, usd: str, runs: int, each: str) -> None:
    make_work_order("odd", usd_per_day=usd, runs_per_day=runs, max_concurrent_runs=9)
    assert reserved(desk, wo="odd") == Decimal(each)
    if runs == 3:
        assert desk.start("odd", usd=None).status == desk.start("odd", usd=None).status == 201


def test_the_floor_is_a_row(desk: Desk) -> None:
    CostRule.objects.update(floor_usd=Decimal("0.50"), floor_runs=2)
    assert reserved(desk) == Decimal("0.50")
    ended(desk, "0.01", "success", 2)
    assert reserved(desk) == Decimal("0.01")
    CostRule.objects.update(floor_usd=Decimal("9.00"))
    make_work_order("other", usd_per_day="2.00")
    assert reserved(desk, wo="other") == Decimal("2.00")  # never more than the cap


def test_a_model_and_no_tokens_name_no_amount(desk: Desk) -> None:
    make_price("m", "1.00", "2.00")
    assert reserved(desk, model="m") == Decimal("0.02")
    assert reserved(desk, model="m", estimated_input_tokens=0) == Decimal("0.02")
    assert reserved(desk, model="m", estimated_input_tokens=1_000) == Decimal("0.001")


def test_zero_is_honored_where_it_is_given(desk: Desk) -> None:
    assert reserved(desk, usd="0") == 0
    make_price("m", "1.00", "2.00")
    assert reserved(desk, usd="0", model="m") == 0


def test_a_preview_says_the_same(desk: Desk) -> None:
    ended(desk, "0", "error")
    answer = body(desk.start(usd=None, dry_run=True))
    assert answer == {"decision": "admit", "reason": None, "wouldReserveUsd": "0.02"}


@pytest.mark.parametrize("settled", [True, False], ids=["settled", "reserved"])
def test_at_a_used_up_cap_of_dollars_nothing_is_admitted(desk: Desk, settled: bool) -> None:
    run = run_of(desk.start(usd="20.00", confirm=True))
    if settled:
        desk.finish(run, "20.00")
    decision = desk.start(usd="0")
    assert (decision.status, decision.denial) == (429, "usd_per_day")
    answer = body(desk.start(usd="0", dry_run=True))
    assert (answer["decision"], answer["reason"]) == ("refuse", "usd_per_day")
    if not settled:
        assert desk.extend(run, "0.000000001").denial == "usd_per_day"
        assert desk.extend(run, lease=60).status == 200  # a renewal asks for no dollars


SHARED: list[tuple[str, str, str, dict[str, Any], str]] = [
    ("global", "day", "usd", {}, "budget:global:day"),
    ("global", "month", "usd", {}, "budget:global:month"),
    ("global", "rolling_hour", "usd", {}, "budget:global:rolling_hour"),
    ("global", "rolling_minute", "usd", {}, "breaker_open"),
    ("user", "day", "usd", {"user_id": "u"}, "user_quota"),
    ("address", "hour", "usd", {}, "address_rate"),
    ("feature", "day", "usd", {"feature": "f"}, "budget:feature:day"),
    ("agent", "month", "usd", {}, "budget:agent:month"),
    ("user", "day", "requests", {"user_id": "u"}, "user_quota"),
]


@pytest.mark.parametrize(("scope", "window", "measure", "ask", "denial"), SHARED)
def test_at_a_used_up_shared_limit_nothing_is_admitted(
    desk: Desk, scope: str, window: str, measure: str, ask: dict[str, Any], denial: str
) -> None:
    run = run_of(desk.start(usd="1.00", **ask))
    set_limit(scope, window, measure, "1.00" if measure == "usd" else 1)
    assert desk.start(usd="0", **ask).denial == denial
    CircuitBreaker.objects.update(state="closed", half_open_at=None)
    assert body(desk.start(usd="0", dry_run=True, **ask))["reason"] == denial
    if measure == "usd":
        assert desk.extend(run, "0.000000001").denial == denial
    CircuitBreaker.objects.update(state="closed", half_open_at=None)
    assert desk.extend(run, lease=60).status == 200


def test_a_batch_is_refused_at_a_used_up_cap() -> None:
    def outcomes() -> list[TaskOutcome]:
        tasks = [
            Task("w1", "one", "a", estimated_cost_usd=each) for each in (Decimal(2), Decimal(0))
        ]
        return [TaskOutcome(task, task.estimated_cost_usd or Decimal(0), None) for task in tasks]

    held = outcomes()
    hold_together(held, {"w1": (9, Decimal(2))}, {"day": Decimal(9)})
    assert [each.reason for each in held] == [None, "usd_per_day"]
    held = outcomes()
    hold_together(held, {"w1": (9, Decimal(3))}, {"day": Decimal(2)})
    assert [each.reason for each in held] == [None, "budget:global:day"]


def test_the_what_if_admits_nothing_at_a_used_up_cap() -> None:
    cap = 2_000_000_000
    noon = 12 * 3_600 * 1_000_000
    ask = Attempt(noon, "", 0, 1, cap)
    run = Columns([noon - 1], [NEVER], [cap], [cap])
    for columns in (None, run):
        log = DayLog(EPOCH, 1, cap, cap, [ask], [], columns)
        outcome = replay([log], [Period(0, Caps(100, cap))])
        assert (outcome.would_run, outcome.still_refused) == (0, 1)


@pytest.mark.parametrize(
    ("history", "used", "fits"),
    [
        # One cheap success is no evidence: a run reserves $0.02, and $0.015 are left.
        (1, "19.985", False),
        (1, "19.98", True),
        # Twenty are: it reserves $0.001.
        (20, "19.985", True),
        (20, "19.9995", False),
    ],
)
def test_pages_show_no_room_exactly_where_a_run_is_refused(
    desk: Desk, history: int, used: str, fits: bool
) -> None:
    ended(desk, "0.001", "success", history)
    begins = clock.midnight()
    Counter.objects.filter(subject="w1", window="day", starts_at=begins).update(settled_usd=used)
    listed = [each.why for each in overview.blocked(begins, at_most=9)]
    full = [each.pk for each in overview.at_cap("usd_per_day", begins, at_most=9)]
    assert desk.start(usd=None).denial == ("" if fits else "usd_per_day")
    assert listed == ([] if fits else ["no room for a run of its usual cost"])
    assert full == ([] if fits else ["w1"])


def test_the_floor_in_dollars_is_what_pages_go_by(desk: Desk) -> None:
    CostRule.objects.update(floor_usd="5.00")
    ended(desk, "0.001", "success")
    assert not overview.blocked(clock.midnight(), at_most=9)
    assert desk.start(usd="16", confirm=True).status == 201
    assert desk.start(usd=None).denial == "usd_per_day"
    (found,) = overview.blocked(clock.midnight(), at_most=9)
    assert found.why == "no room for a run of its usual cost"
