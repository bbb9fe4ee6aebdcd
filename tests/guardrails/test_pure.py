"""Rules that are plain functions: paces and projections, words of test data, batches."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from budgets.admission.preflight_checks import (
    Rule,
    Task,
    TaskOutcome,
    hold_together,
    judged,
    lines_of,
    looks_like_test_data,
)
from budgets.usage.burn_rate import (
    at_this_pace,
    projected,
    seconds_until,
    seconds_until_rolling,
    window_ends,
)
from opslog.pricing.money import usd_shown

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("name", "is_test"),
    [
        ("test", True), ("Test task 4", True), ("TestRun_2", True), ("my-test", True),
        ("tests", True), ("sample.csv", True), ("An EXAMPLE", True), ("placeholder", True),
        ("mockData", True), ("TODO: write", True), ("HTTPTest", True),
        ("latest", False), ("Contest", False), ("attestation", False), ("protest march", False),
        ("testimony", False), ("resample", False), ("mockingbird", False), ("", False),
    ],
)  # fmt: skip
def test_words_not_letters(name: str, is_test: bool) -> None:
    assert looks_like_test_data(name) is is_test


@pytest.mark.parametrize(
    ("value", "severity"), [(10, "info"), (11, "warning"), (50, "warning"), (51, "error")]
)
def test_thresholds_are_over_not_at(value: int, severity: str) -> None:
    line = judged("tasks", value, Rule(Decimal(10), Decimal(50)), "")
    assert (line.severity, line.passed) == (severity, severity == "info")


def test_a_batch_is_held_together() -> None:
    def outcome(wo: str, usd: str) -> TaskOutcome:
        return TaskOutcome(Task(wo, "x"), Decimal(usd))

    batch = [outcome("a", "1"), outcome("a", "1.50"), outcome("a", "1"), outcome("b", "9")]
    left = {"a": (2, Decimal(2)), "b": (5, Decimal(100))}
    hold_together(batch, left, {"day": Decimal(10)})
    assert [each.reason for each in batch] == [None, "usd_per_day", None, "budget:global:day"]


@pytest.mark.parametrize(
    ("used", "amount", "pace", "left", "seconds"),
    [
        ("10", "50", "20", None, 120),
        ("50", "50", "0", None, 0),
        ("51", "50", "1", HOUR, 0),
        ("10", "50", "0", None, None),
        ("10", "50", "0.5", HOUR, None),  # 80 minutes: the window ends before
        ("10", "50", "1", HOUR, 2400),
    ],
)
def test_time_until_a_limit(
    used: str, amount: str, pace: str, left: timedelta | None, seconds: int | None
) -> None:
    assert seconds_until(Decimal(used), Decimal(amount), Decimal(pace), left) == seconds


def test_a_month_is_projected_from_its_own_days() -> None:
    """Ten days of thirty at $100 are $300 at its end, whatever yesterday was."""
    days = timedelta(days=1)
    assert projected(Decimal(100), 10 * days, 30 * days) == Decimal("300.00")
    assert projected(Decimal(100), 30 * days, 30 * days) == Decimal(100)
    assert projected(Decimal(0), days, 30 * days) == 0
    assert at_this_pace(Decimal(10), Decimal("0.5"), HOUR) == Decimal("40.00")


def test_windows_end() -> None:
    at = datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC)
    new_year = datetime(2027, 1, 1, tzinfo=UTC)
    assert {window_ends(w, at) for w in ("minute", "hour", "day", "month")} == {new_year}
    assert window_ends("rolling_hour", at) is None
    assert window_ends("month", datetime(2026, 2, 3, tzinfo=UTC)) == datetime(
        2026, 3, 1, tzinfo=UTC
    )


NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("slots", "pace", "seconds"),
    [
        # $1.42 an hour never fills $10 in any 60 minutes, with or without what is held already.
        ({}, "0.0237", None),
        ({59: "0.10"}, "0.0237", None),
        ({}, "0.20", 3000),  # $12 an hour: after 50 minutes
        ({}, "0.165", None),  # $9.90 an hour
        ({0: "4"}, "0.20", 1800),  # what was spent a moment ago counts all the time
        ({41: "4"}, "0.20", 3000),  # $4 leave after 20 minutes, before it is full
        ({1: "10"}, "0", 0),
        ({1: "9.99"}, "0", None),
    ],
)
def test_a_rolling_hour_loses_what_is_older(
    slots: dict[int, str], pace: str, seconds: int | None
) -> None:
    held = [(NOON - timedelta(minutes=ago), Decimal(usd)) for ago, usd in slots.items()]
    assert seconds_until_rolling(held, Decimal(10), Decimal(pace), NOON) == seconds


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "0.00"), ("56.028", "56.03"), ("10", "10.00"), ("1234.5", "1,234.50"),
        ("0.01", "0.01"), ("0.00999", "0.0100"), ("0.004", "0.0040"),
        ("0.000000001", "0.0000000010"),
    ],
)  # fmt: skip
def test_two_decimals_and_never_nothing_for_something(amount: str, shown: str) -> None:
    assert usd_shown(Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("each", "left", "estimate", "budget"),
    [
        # 70 tasks at $0.8004 are $56.028.
        ("0.8004", "10.00", "estimated at $56.03", "$10.00 left, $56.03 needed: $46.03 short"),
        # 70 tasks at $0.00005 are $0.0035.
        ("0.00005", "10.00", "estimated at $0.0035", "$10.00 left, $0.0035 needed"),
        # 70 tasks at $0.1 are $7.00, and $6.999 are left.
        ("0.1", "6.999", "estimated at $7.00", "$7.00 left, $7.00 needed: $0.0010 short"),
    ],
)
def test_money_in_the_lines_of_a_pre_flight(
    each: str, left: str, estimate: str, budget: str
) -> None:
    batch = [TaskOutcome(Task("w1", "x"), Decimal(each)) for _ in range(70)]
    rules = {
        "estimated_cost": Rule(Decimal(20), Decimal(50)),
        "budget_left": Rule(None, Decimal(0)),
    }
    found = lines_of(rules, batch, Decimal(left), ("development", "development"))
    assert [line.message for line in found] == [estimate, budget]
