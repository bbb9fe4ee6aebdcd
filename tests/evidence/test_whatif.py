"""The replay of past asks under other caps."""

from dataclasses import dataclass, replace
from datetime import timedelta
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.evidence.whatif import (
    DAY,
    EPOCH,
    NEVER,
    Attempt,
    Caps,
    Columns,
    DayLog,
    Period,
    PeriodOutcome,
    Retried,
    periods_of,
    replay,
)

CENT = 10_000_000
SECOND = 1_000_000


@dataclass(frozen=True)
class Ask:
    """After a pause (s), for cents; it runs for seconds and costs cents, if admitted."""

    pause: int
    cents: int
    seconds: int = 10
    cost: int = 1
    key: str = ""
    extended: int = 0  # cents, half way


def recorded(days: list[list[Ask]], caps: Caps) -> list[DayLog]:
    """What admission under these caps leaves behind: the decision as the design words it."""
    logs, ran = [], dict[str, int]()
    for nth, asks in enumerate(days):
        at, used, runs = nth * DAY, 0, 0
        pending: list[tuple[int, int]] = []
        columns: tuple[list[int], ...] = ([], [], [], [])
        extensions, attempts, retried = {}, [], []
        for ask in asks:
            at += ask.pause * SECOND
            while pending and pending[0][0] <= at:
                used += heappop(pending)[1]
            if ask.key and at - ran.get(ask.key, -NEVER) <= 2 * DAY:
                continue  # answered by its idempotency record
            estimate = ask.cents * CENT
            if runs + 1 > caps.runs or used + estimate > caps.usd:
                attempts.append(Attempt(at, ask.key, estimate, runs, used))
                continue
            ends, cost = at + ask.seconds * SECOND, ask.cost * CENT
            middle, more = at + ask.seconds * SECOND // 2, ask.extended * CENT
            if more:
                extensions[len(columns[0])] = [(middle, more)]
                heappush(pending, (middle, more))
            for column, value in zip(columns, (at, ends, estimate + more, cost), strict=True):
                column.append(value)
            heappush(pending, (ends, cost - estimate - more))
            runs, used = runs + 1, used + estimate
            if ask.key:
                ran[ask.key] = at
                retried.append(Retried(at, ask.key, cost))
        logs.append(
            DayLog(
                EPOCH + timedelta(days=nth),
                runs,
                sum(columns[3]),
                sum(map(max, columns[2], columns[3])),
                attempts,
                retried,
                Columns(columns[0], columns[1], columns[2], columns[3], extensions),
            )
        )
    refused = {attempt.key for log in logs for attempt in log.attempts}
    return [
        replace(log, retried=[run for run in log.retried if run.key in refused]) for log in logs
    ]


def by_record(logs: list[DayLog]) -> list[DayLog]:
    return [replace(log, columns=None) for log in logs]


def under(
    logs: list[DayLog], runs: int, cents: int, rate: tuple[int, int] = (1, 1)
) -> PeriodOutcome:
    return replay(logs, [Period(0, Caps(runs, cents * CENT))], rate=rate)


ASKS = st.builds(
    Ask,
    pause=st.integers(1, 40),
    cents=st.integers(0, 30),
    seconds=st.integers(2, 60),
    cost=st.integers(0, 40),
    key=st.sampled_from(["", "", "k1", "k2", "k3"]),
    extended=st.sampled_from([0, 0, 0, 5]),
)
DAYS = st.lists(st.lists(ASKS, max_size=12), min_size=1, max_size=4)
RUNS = st.integers(1, 10)
CENTS = st.integers(1, 150)


@given(days=DAYS, runs=RUNS, cents=CENTS)
def test_under_the_caps_in_force_exactly_what_was_admitted(days, runs, cents) -> None:
    logs = recorded(days, Caps(runs, cents * CENT))
    for item in (logs, by_record(logs)):
        outcome = under(item, runs, cents)
        assert (outcome.would_run, outcome.displaced) == (0, 0)
        assert [day.runs for day in outcome.days] == [log.runs for log in logs]
        assert outcome.more_usd == 0


@given(days=DAYS, runs=RUNS, cents=CENTS, more_runs=st.integers(-9, 9), more=st.integers(-99, 99))
def test_by_record_is_exact_where_it_says_so(days, runs, cents, more_runs, more) -> None:
    logs = recorded(days, Caps(runs, cents * CENT))
    asked = max(1, runs + more_runs), max(1, cents + more)
    exact, quick = under(logs, *asked), under(by_record(logs), *asked)
    if not quick.doubtful:
        assert quick.would_run == exact.would_run
        assert quick.days == exact.days
        assert exact.displaced == 0
    # The days that it names, read in full, leave nothing to doubt.
    filled = [log if log.day in quick.doubtful else replace(log, columns=None) for log in logs]
    if not under(filled, *asked).doubtful:
        assert under(filled, *asked).days == exact.days


@given(days=DAYS, runs=RUNS, cents=CENTS, asked=st.tuples(RUNS, CENTS))
def test_never_over_the_runs_asked_for(days, runs, cents, asked) -> None:
    outcome = under(recorded(days, Caps(runs, cents * CENT)), *asked)
    assert all(day.runs <= asked[0] for day in outcome.days)
    assert sum(day.runs for day in outcome.days) + outcome.displaced >= sum(
        log.runs for log in recorded(days, Caps(runs, cents * CENT))
    )


@pytest.mark.parametrize("read", [list, by_record])
@pytest.mark.parametrize(
    ("runs", "cents", "would_run", "refused"),
    [(2, 100, 0, 3), (3, 100, 1, 2), (4, 100, 2, 1), (5, 100, 3, 0), (5, 40, 2, 1), (5, 49, 2, 1)],
)
def test_refused_asks_that_would_run(read, runs, cents, would_run, refused) -> None:
    """Five asks of ten cents, which cost ten, under two runs a day."""
    logs = recorded([[Ask(60, 10, cost=10)] * 5], Caps(2, 100 * CENT))
    outcome = under(read(logs), runs, cents)
    assert (outcome.would_run, outcome.still_refused) == (would_run, refused)
    assert outcome.would_cost_usd * 100 == would_run * 10
    assert outcome.worst_day is not None
    assert outcome.worst_day.runs == 2 + would_run
    assert outcome.worst_day.usd * 100 == 20 + would_run * 10


def test_retries_of_one_key_count_once_and_those_without_each() -> None:
    asks = [Ask(1, 10), *[Ask(60, 10, key="k1")] * 4, *[Ask(60, 10)] * 3]
    logs = recorded([asks], Caps(1, 100 * CENT))
    assert under(logs, 1, 100).still_refused == 4
    assert under(logs, 9, 100).would_run == 4


@pytest.mark.parametrize("read", [list, by_record])
def test_an_ask_that_ran_later_anyway_runs_sooner_at_its_real_cost(read) -> None:
    days = [[Ask(1, 10), Ask(60, 10, key="k1")], [Ask(1, 10, cost=7, key="k1")]]
    outcome = under(read(recorded(days, Caps(1, 100 * CENT))), 2, 100)
    assert (outcome.would_run, outcome.sooner, outcome.still_refused) == (1, 1, 0)
    assert [day.runs for day in outcome.days] == [2, 0]
    assert outcome.would_cost_usd * 100 == 7
    assert outcome.more_usd == 0


def test_a_key_that_is_used_again_after_48_hours_is_another_ask() -> None:
    days = [[Ask(1, 10), Ask(60, 10, key="k1")], [], [], [Ask(1, 10, key="k1")]]
    outcome = under(recorded(days, Caps(1, 100 * CENT)), 2, 100)
    assert (outcome.would_run, outcome.sooner) == (1, 0)
    assert [day.runs for day in outcome.days] == [2, 0, 0, 1]


def test_costs_are_estimates_times_the_rate() -> None:
    logs = recorded([[Ask(1, 10), Ask(60, 10)]], Caps(1, 100 * CENT))
    assert under(logs, 2, 100, rate=(1, 2)).would_cost_usd * 100 == 5
    assert under(logs, 2, 100, rate=(0, 0)).would_cost_usd * 100 == 10


def test_a_refused_ask_that_runs_may_displace_one_that_ran() -> None:
    asks = [Ask(1, 50, cost=50), Ask(60, 30, cost=30), Ask(60, 20, cost=20)]
    logs = recorded([asks], Caps(9, 75 * CENT))
    assert under(by_record(logs), 9, 85).doubtful == (logs[0].day,)
    outcome = under(logs, 9, 85)
    assert (outcome.would_run, outcome.displaced) == (1, 1)
    assert outcome.more_usd * 100 == 10


def test_lowered_caps_displace() -> None:
    logs = recorded([[Ask(60, 10, cost=10)] * 5], Caps(9, 100 * CENT))
    assert under(by_record(logs), 2, 100).doubtful
    assert under(logs, 2, 100).displaced == 3


def test_caps_that_changed_and_grants() -> None:
    base = [Period(0, Caps(1, 100)), Period(50, Caps(3, 100))]
    grants = [("runs", 10, 60, 2), ("runs", 20, 30, 5), ("usd", 55, 70, 200)]
    assert periods_of(base, grants) == (
        Period(0, Caps(1, 100)),
        Period(10, Caps(2, 100)),
        Period(20, Caps(5, 100)),
        Period(30, Caps(2, 100)),
        Period(50, Caps(3, 100)),
        Period(55, Caps(3, 200)),
        Period(60, Caps(3, 200)),
        Period(70, Caps(3, 100)),
    )


def test_a_cap_that_was_raised_in_the_middle_of_a_day() -> None:
    day = recorded([[Ask(60, 10)] * 4], Caps(2, 100 * CENT))
    periods = [Period(0, Caps(2, 100 * CENT)), Period(200 * SECOND, Caps(3, 100 * CENT))]
    for item in (day, by_record(day)):
        assert replay(item, periods).would_run == 1
