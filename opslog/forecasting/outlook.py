"""The spend of the whole day and of the whole month, with the error that the past shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from opslog.forecasting.backtest import Backtest, Trial, backtest
from opslog.forecasting.methods import DAY, WAYS, WEEK, ZERO, Hours, Way

HOUR: Final = timedelta(hours=1)
DAYS_TRIED: Final = 28
FIRST_TRIED: Final = 2 * DAY  # before that there is nothing to choose between
MOMENTS: Final = (0, 6, 12, 18)  # of each day tried


@dataclass(frozen=True, slots=True)
class Series:
    """Sums of whole hours in US dollars, oldest first, none left out. `first` is UTC."""

    first: datetime
    hours: tuple[Decimal, ...]

    @property
    def ends(self) -> datetime:
        """Where the hour begins that is not over yet."""
        return self.first + HOUR * len(self.hours)

    def since(self, moment: datetime) -> Decimal:
        start = max(int((moment - self.first) / HOUR), 0)
        return sum(self.hours[start:], ZERO)


@dataclass(frozen=True, slots=True)
class Outlook:
    """One window: what it cost so far, and what it will have cost at its end.

    Between `low` and `high` nine in ten such forecasts of the past would have ended. They and
    `tested` are None where history is too short to test anything. `tried_days` is how far ahead the
    backtest guessed; for a month with more days left than that (`beyond`), the error is larger.
    """

    ends: datetime
    spent_usd: Decimal
    forecast_usd: Decimal
    low_usd: Decimal | None
    high_usd: Decimal | None
    way: str
    tested: Backtest | None
    tried_days: int
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Forecast:
    at: datetime  # the hours before this moment are counted, later ones are guessed
    days: int  # of history
    day: Outlook
    month: Outlook
    hours: tuple[tuple[datetime, Decimal], ...]  # the guessed ones, to the end of the day


def filled(first: datetime, ends: datetime, sums: dict[datetime, Decimal]) -> Series:
    """A series of all hours from `first` to before `ends`; hours without a sum cost nothing."""
    count = max(int((ends - first) / HOUR), 0)
    return Series(first, tuple(sums.get(first + HOUR * step, ZERO) for step in range(count)))


def forecast(series: Series) -> Forecast:
    """For the day and the month in which the series ends. Needs no more than one hour of it."""
    at = series.ends
    midnight = at.replace(hour=0)
    tomorrow = midnight + timedelta(days=1)
    month = midnight.replace(day=1)
    next_month = (month + timedelta(days=32)).replace(day=1)
    tested = backtest(series.hours, day_trials(series))
    day, guessed = _outlook(series, midnight, tomorrow, tested, 1)
    left = -(-(next_month - at) // timedelta(days=1))
    tried = longest_tried(series, left)
    whole = backtest(series.hours, month_trials(series, tried)) if tried else None
    return Forecast(
        at,
        len(series.hours) // DAY,
        day,
        _outlook(series, month, next_month, whole, tried)[0],
        tuple((at + HOUR * step, usd) for step, usd in enumerate(guessed)),
    )


def day_trials(series: Series) -> list[Trial]:
    """Four moments of each of the last days that are over: the rest of the day was to be guessed,
    and the miss is counted against the whole day."""
    trials = []
    for index in range(FIRST_TRIED, len(series.hours)):
        hour = (series.first + HOUR * index).astimezone(UTC).hour
        if hour in MOMENTS and index - hour + DAY <= len(series.hours):
            spent = sum(series.hours[index - hour : index], ZERO)
            trials.append(Trial(index, DAY - hour, spent))
    return trials[-DAYS_TRIED * len(MOMENTS) :]


def month_trials(series: Series, days: int) -> list[Trial]:
    """From each midnight so many days ahead."""
    ahead = days * DAY
    return [
        Trial(index, ahead)
        for index in range(FIRST_TRIED, len(series.hours) - ahead + 1)
        if (series.first + HOUR * index).hour == 0
    ][-DAYS_TRIED:]


def longest_tried(series: Series, left: int) -> int:
    """How many days ahead the month's backtest guesses: those that are left of the month, or a
    third of the history where that is less."""
    return min(left, len(series.hours) // DAY // 3)


def _outlook(
    series: Series, begins: datetime, ends: datetime, tested: Backtest | None, tried: int
) -> tuple[Outlook, Sequence[Decimal]]:
    spent = series.since(begins)
    way = tested.best if tested else _fallback(series.hours)
    ahead = int((ends - series.ends) / HOUR)
    guessed = way(series.hours, ahead) if way else [ZERO] * ahead
    rest = sum(guessed, ZERO)
    whole = spent + rest
    error = tested.chosen.reach if tested else None
    margin = None if error is None else rest * error
    return (
        Outlook(
            ends,
            spent,
            whole,
            None if margin is None else max(spent, whole - margin),
            None if margin is None else whole + margin,
            way.name if way else "none: nothing is known yet",
            tested,
            tried,
            ends - series.ends > timedelta(days=tried),
        ),
        guessed,
    )


def _fallback(hours: Hours) -> Way | None:
    """Without a backtest: the same hours of last week or of yesterday; on the first day the average
    so far."""
    ways = {way.name: way for way in WAYS}
    if len(hours) >= WEEK:
        return ways["same hour last week"]
    if len(hours) >= DAY:
        return ways["same hour yesterday"]
    return ways["flat"] if hours else None
