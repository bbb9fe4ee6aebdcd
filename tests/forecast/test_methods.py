"""Ways to guess, their backtest, and what is unusual: on series whose future is known."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opslog.forecasting.backtest import Trial, backtest
from opslog.forecasting.methods import (
    DAY,
    WAYS,
    WEEK,
    daily_shape,
    flat,
    same_hour_last_week,
    same_hour_yesterday,
    weekly_shape,
)
from opslog.forecasting.outlook import Series, day_trials, filled, forecast, month_trials
from opslog.forecasting.unusual import Unusual, stretches, unusual_hours

D = Decimal
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)


def day(level: str = "1") -> list[Decimal]:
    """Nothing at night, twice the level by day."""
    return [D(0)] * 12 + [2 * D(level)] * 12


def days(*levels: str) -> list[Decimal]:
    return [hour for level in levels for hour in day(level)]


def test_naive_ways_repeat() -> None:
    hours = days("1", "2", "3", "4", "5", "6", "7", "8")
    assert same_hour_yesterday(hours, 2 * DAY) == days("8", "8")
    assert same_hour_last_week(hours, DAY) == days("2")
    assert flat(days("1", "3"), 3) == [D(2)] * 3


def test_a_shape_that_repeats_is_found() -> None:
    assert daily_shape(days(*"1111"), DAY, half_life=1) == days("1")
    assert sum(daily_shape(days(*"2222"), 3 * DAY, half_life=4)) == 3 * sum(day("2"))


def test_one_day_that_ran_away_bends_no_shape() -> None:
    wild = days(*"1111")
    wild[DAY + 3] = D(100)  # at night, three days ago
    result = daily_shape(wild, DAY, half_life=1)
    assert result[3] == 0


def test_the_level_follows_the_last_days() -> None:
    fast, slow = (sum(daily_shape(days(*"1111111133"), DAY, half_life=half)) for half in (1, 4))
    assert sum(day("1")) < slow < fast < sum(day("3"))


def test_a_week_has_its_own_shape() -> None:
    hours = days(*("1111100" * 4))
    results = [round(each, 9) for each in weekly_shape(hours, WEEK, half_life=1)]
    assert results == days(*"1111100")


def test_from_any_hour_of_the_day() -> None:
    """Methods count from the end: they need no calendar."""
    hours = days(*"1111")
    for cut in range(DAY):
        known = hours[: len(hours) - cut] if cut else hours
        assert daily_shape(known, DAY, half_life=1)[cut:] == day("1")[: DAY - cut]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@given(seed=st.integers(), more=st.integers(0, 30), ahead=st.integers(0, 50), idle=st.booleans())
@settings(max_examples=20)
def test_a_guess_is_never_negative_and_scales_with_money(
    way: Any, seed: int, more: int, ahead: int, idle: bool
) -> None:
    """`idle`: nothing in most hours."""
    draw = random.Random(seed)
    least = -(10**7) if idle else 0
    hours = [D(max(draw.randint(least, 10**6), 0)) / 100 for _ in range(way.needs + more)]
    result = way(hours, ahead)
    assert len(result) == ahead
    assert all(each >= 0 for each in result)
    scaled = way([each * 8 for each in hours], ahead)
    assert all(
        abs(s - 8 * t) <= D("1e-12") * (1 + abs(s)) for s, t in zip(scaled, result, strict=True)
    )


def test_the_backtest_knows_nothing_of_what_comes() -> None:
    """Changing hours from a moment on changes no guess that was made before it."""
    hours = days(*"12345678")
    trials = [Trial(index, 6) for index in range(2 * DAY, 6 * DAY, 6)]
    seen: list[list[Decimal]] = []
    for tail in ("1", "9"):
        series = hours[: 6 * DAY] + days(tail, tail)
        seen.append([sum(WAYS[1](series[: trial.at], trial.ahead), D(0)) for trial in trials])
    assert seen[0] == seen[1]
    assert backtest(hours[: 6 * DAY], trials) == backtest(hours[: 6 * DAY], trials)


def test_what_repeats_exactly_has_no_error() -> None:
    series = Series(MONDAY, tuple(days(*"111111111")))
    result = backtest(series.hours, day_trials(series))
    assert result is not None
    assert result.chosen.wape == 0
    assert not result.best.naive


def test_the_choice_is_judged_by_what_was_known_then() -> None:
    """A way that is best in all trials together, but was not at first, earns the choice no credit
    for the trials before it showed."""
    hours = days("1", "5", "1", "5", "1", "5", "1", "5", "1", "5", "1", "5")
    series = Series(MONDAY, tuple(hours))
    result = backtest(series.hours, day_trials(series))
    assert result is not None
    best = min(score.wape or D(0) for score in result.scores)
    assert result.chosen.wape is not None
    assert result.chosen.wape >= best


@pytest.mark.parametrize(("spent", "wape"), [("0", "0.5"), ("20", "0.25")])
def test_the_error_is_of_the_whole_and_the_reach_of_what_was_guessed(spent: str, wape: str) -> None:
    """Each day costs twice the one before: yesterday is off by half of it, by a quarter where as
    much was spent before, and always by all of what it guessed."""
    hours = [D(10) / DAY * 2**day for day in range(4) for _ in range(DAY)]
    yesterday = [way for way in WAYS if way.name == "same hour yesterday"]
    trials = [Trial(DAY * day, DAY, D(spent) * 2 ** (day - 1)) for day in (1, 2, 3)]
    result = backtest(hours, trials, yesterday)
    assert result is not None
    assert result.chosen.wape == pytest.approx(D(wape))
    assert result.chosen.mape == pytest.approx(D(wape))
    assert result.chosen.reach == pytest.approx(D(1))


def test_trials_end_where_history_does() -> None:
    series = Series(MONDAY + timedelta(hours=7), tuple(days(*"1111")))
    trials = day_trials(series)
    assert trials
    for trial in trials:
        assert trial.at + trial.ahead <= len(series.hours)
        assert (trial.at + 7 + trial.ahead) % DAY == 0
    assert all(trial.ahead == 2 * DAY for trial in month_trials(series, 2))


def test_day_and_month() -> None:
    """The 16th, noon, of a November that costs 24 a day: nothing was to be guessed wrong."""
    first = datetime(2026, 11, 1, tzinfo=UTC)
    hours = days(*("1" * 15)) + [D(0)] * 12
    result = forecast(Series(first, tuple(hours)))
    assert result.at == datetime(2026, 11, 16, 12, tzinfo=UTC)
    day, month = result.day, result.month
    assert [day.spent_usd, day.forecast_usd, day.low_usd, day.high_usd] == [D(0), *[D(24)] * 3]
    assert [month.spent_usd, month.forecast_usd] == [D(15 * 24), D(30 * 24)]
    assert (result.month.ends, result.month.tried_days) == (datetime(2026, 12, 1, tzinfo=UTC), 5)
    assert result.month.beyond
    assert [usd for _, usd in result.hours] == [D(2)] * 12


@pytest.mark.parametrize("hours", [1, 5, 24, 30, 47, 49, 72, 167, 170])
def test_with_any_history_there_is_an_answer(hours: int) -> None:
    result = forecast(filled(MONDAY, MONDAY + timedelta(hours=hours), {MONDAY: D(3)}))
    assert result.day.forecast_usd >= result.day.spent_usd
    assert result.month.forecast_usd >= result.month.spent_usd
    if hours < DAY:
        assert result.day.tested is None
        assert result.day.low_usd is None


def test_hours_without_a_sum_cost_nothing() -> None:
    series = filled(MONDAY, MONDAY + timedelta(hours=3), {MONDAY + timedelta(hours=2): D(1)})
    assert list(series.hours) == [D(0), D(0), D(1)]


def flat_series(count: int, last: str) -> Series:
    return Series(MONDAY, (*([D(1)] * (count - 1)), D(last)))


@pytest.mark.parametrize(
    ("last", "found"),
    [("1", False), ("1.3", False), ("1.6", True), ("5", True), ("0", True), ("0.8", False)],
)
def test_an_hour_far_from_its_usual(last: str, found: bool) -> None:
    result = unusual_hours(flat_series(14 * DAY, last), last=WEEK)
    assert [each.usd for each in result] == ([D(last)] if found else [])
    if found:
        assert result[0].usual_usd == 1
        assert (result[0].spreads > 0) == (D(last) > 1)


def test_cents_at_night_are_not_unusual() -> None:
    """Ten times nothing is nothing: less than one per cent of a usual day."""
    hours = [D("0.001") if index % DAY < 12 else D(2) for index in range(14 * DAY)]
    hours[-15] = D("0.2")
    assert unusual_hours(Series(MONDAY, tuple(hours)), last=DAY) == []


def test_a_noisy_hour_has_a_wide_usual() -> None:
    noisy = Series(MONDAY, (*(D(1 + index // DAY % 5) for index in range(14 * DAY)), D(7)))
    calm = Series(MONDAY, (*([D(3)] * 14 * DAY), D(7)))
    assert unusual_hours(noisy, last=1) == []
    assert len(unusual_hours(calm, last=1)) == 1


def test_too_few_days_say_nothing() -> None:
    assert unusual_hours(flat_series(4 * DAY, "50"), last=DAY) == []


def test_hours_close_to_each_other_are_one_stretch() -> None:
    hours = [
        Unusual(MONDAY + timedelta(hours=at), D(usd), D(2), D(usd) - 2)
        for at, usd in ((0, "9"), (1, "8"), (2, "0"), (4, "7"), (8, "6"))
    ]
    results = [
        ((each.first - MONDAY) / timedelta(hours=1), each.hours, each.usd, each.spreads)
        for each in stretches(hours)
    ]
    assert results == [(0, 3, D(24), D(7)), (8, 1, D(6), D(4)), (2, 1, D(0), D(-2))]
