"""The audit finds what was admitted over a limit, and nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from budgets.demo.replay.audit import EVERYTHING, Limits, RecordedRun, Sums, exceeded

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def run(start: int, end: int | None, reserved: str, cost: str | None = None) -> RecordedRun:
    """Of work order w, started and ended so many seconds after noon."""
    started = NOON + timedelta(seconds=start)
    return RecordedRun(
        work_order_id="w",
        day=started.date(),
        reserved_usd=Decimal(reserved),
        cost=None if cost is None else Decimal(cost),
        started_at=started,
        finished_at=None if end is None else NOON + timedelta(seconds=end),
    )


ONE_EACH = [run(0, 10, "1", "1"), run(20, 30, "1", "1")]


@pytest.mark.parametrize(
    ("runs", "limits", "measures"),
    [
        ([], Limits(0, Decimal(0), 0), []),
        (ONE_EACH, Limits(), []),
        (ONE_EACH, Limits(2, Decimal(2), 1), []),
        (ONE_EACH, Limits(runs_per_day=1), ["runs/day"]),
        (ONE_EACH, Limits(usd_per_day=Decimal("1.99")), ["USD/day"]),
        # Open at the same time, even if the end and the next start are the same moment: not.
        ([run(0, 10, "1", "1"), run(10, 30, "1", "1")], Limits(concurrent_runs=1), []),
        ([run(0, 11, "1", "1"), run(10, 30, "1", "1")], Limits(concurrent_runs=1), ["concurrent"]),
        ([run(0, None, "1"), run(10, None, "1")], Limits(concurrent_runs=1), ["concurrent"]),
        # Admitted above the cap, and settled far below it afterwards.
        ([run(0, 90, "3", "0"), run(10, 90, "3", "0")], Limits(usd_per_day=Decimal(5)), ["USD"]),
        # Given back before the next one: rightly admitted.
        ([run(0, 5, "3", "1"), run(10, 90, "3", "1")], Limits(usd_per_day=Decimal(5)), []),
        # The last run cost more than it had reserved: nothing was admitted after it.
        ([run(0, 5, "3", "9")], Limits(usd_per_day=Decimal(5)), []),
        ([run(0, 5, "3", "9"), run(10, 15, "1", "0")], Limits(usd_per_day=Decimal(5)), ["USD"]),
        # A day begins anew.
        ([run(0, 5, "3", "3"), run(86400, 86405, "3", "3")], Limits(1, Decimal(5), 1), []),
    ],
)
def test_what_is_over(runs: list[RecordedRun], limits: Limits, measures: list[str]) -> None:
    found = exceeded(runs, {"w": limits})
    assert len(found) == len(measures)
    for each, measure in zip(found, measures, strict=True):
        assert each.measure.startswith(measure)
        assert each.used > each.limit


def test_what_all_share_is_judged_over_all() -> None:
    runs = [*ONE_EACH, *(replace(each, work_order_id="v") for each in ONE_EACH)]
    limits = {"w": Limits(2), "v": Limits(2), EVERYTHING: Limits(usd_per_day=Decimal(3))}
    (found,) = exceeded(runs, limits)
    assert (found.subject, found.used) == (EVERYTHING, Decimal(4))


def test_what_was_admitted_under_other_limits_counts_and_is_not_judged() -> None:
    limits = {"w": Limits(runs_per_day=1)}
    after = NOON + timedelta(seconds=25)
    assert exceeded(ONE_EACH, limits, admitted_from=after) == []
    (found,) = exceeded([*ONE_EACH, run(40, 50, "1", "1")], limits, admitted_from=after)
    assert found.used == 3


@pytest.mark.parametrize(
    ("counters", "everything", "agree"),
    [
        ("1.000000001", "3.000000001", True),
        ("1.000000002", "3.000000001", False),
        ("1.000000001", "3.000000000", False),
    ],
)
def test_the_counters_add_up_to_the_ninth_decimal(
    counters: str, everything: str, agree: bool
) -> None:
    found = Sums(Decimal("1.000000001"), Decimal(2), Decimal(counters), Decimal(everything))
    assert found.agree is agree
