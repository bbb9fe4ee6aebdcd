"""Ways to guess the hours that come from the hours that were.

A method takes hourly sums, oldest first and without gaps, and returns the next `ahead` hours. The
last sum is the hour just before the first one guessed, so an hour of the day is found by counting
back from the end and no method needs a calendar.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from statistics import median
from typing import Final

Hours = Sequence[Decimal]
Method = Callable[[Hours, int], list[Decimal]]

DAY: Final = 24
WEEK: Final = 7 * DAY
ZERO: Final = Decimal(0)
LONGEST: Final = 8 * WEEK  # older hours say nothing about the next ones


def same_hour_yesterday(hours: Hours, ahead: int) -> list[Decimal]:
    """The last 24 hours again. Naive: what everything else is held against."""
    return _again(hours, ahead, DAY)


def same_hour_last_week(hours: Hours, ahead: int) -> list[Decimal]:
    """The last 168 hours again. Naive."""
    return _again(hours, ahead, WEEK)


def flat(hours: Hours, ahead: int) -> list[Decimal]:
    """The average of the last four weeks, every hour. Naive: the mean so far, carried on."""
    recent = hours[-4 * WEEK :]
    return [sum(recent, ZERO) / len(recent)] * ahead


def daily_shape(hours: Hours, ahead: int, *, half_life: int) -> list[Decimal]:
    """How a day usually runs, at the level of the last days.

    The shape is the median, over the days, of each hour against the average of its day: a day that
    ran away does not bend it. The level is the average of the days, each one `half_life` days older
    counting half.
    """
    return _shaped(hours, ahead, DAY, half_life)


def weekly_shape(hours: Hours, ahead: int, *, half_life: int) -> list[Decimal]:
    """As `daily_shape`, with weeks for days. Needs three of them."""
    return _shaped(hours, ahead, WEEK, half_life)


def halfway(hours: Hours, ahead: int) -> list[Decimal]:
    """The middle between yesterday and the daily shape: two guesses that err apart."""
    shaped = daily_shape(hours, ahead, half_life=1)
    return [
        (one + other) / 2
        for one, other in zip(shaped, same_hour_yesterday(hours, ahead), strict=True)
    ]


def _again(hours: Hours, ahead: int, period: int) -> list[Decimal]:
    start = len(hours) - period
    return [hours[start + step % period] for step in range(ahead)]


def _shaped(hours: Hours, ahead: int, period: int, half_life: int) -> list[Decimal]:
    """The shape of a period (a day or a week) against its average, at the level of the last ones;
    `half_life` in periods."""
    hours = hours[-LONGEST:]
    end, count = len(hours), len(hours) // period
    blocks = [hours[end - period * (ago + 1) : end - period * ago] for ago in range(count)]
    levels = [sum(block, ZERO) / period for block in blocks]
    alike = [
        [hour / level for hour in block]
        for block, level in zip(blocks, levels, strict=True)
        if level
    ]
    if not alike:
        return [ZERO] * ahead
    shape = [median(ratios) for ratios in zip(*alike, strict=True)]
    average = sum(shape, ZERO) / period
    weights = [
        Decimal(2) ** (Decimal(-ago) / half_life) for ago in range(min(count, 4 * half_life))
    ]
    level = sum((weight * levels[ago] for ago, weight in enumerate(weights)), ZERO) / sum(weights)
    if not average:
        return [level] * ahead
    return [level * shape[step % period] / average for step in range(ahead)]


class Way:
    """A method by its name, with the hours of history that it needs."""

    def __init__(self, name: str, method: Method, needs: int, *, naive: bool = False) -> None:
        self.name, self.method, self.needs, self.naive = name, method, needs, naive

    def __call__(self, hours: Hours, ahead: int) -> list[Decimal]:
        return self.method(hours, ahead)


# Before anything is known of which is best, the first that has the history it needs is taken.
WAYS: Final = (
    Way("daily shape, slow", lambda h, n: daily_shape(h, n, half_life=4), 4 * DAY),
    Way("daily shape", lambda h, n: daily_shape(h, n, half_life=1), 2 * DAY),
    Way("yesterday and daily shape", halfway, 2 * DAY),
    Way("weekly shape", lambda h, n: weekly_shape(h, n, half_life=1), 3 * WEEK),
    Way("same hour yesterday", same_hour_yesterday, DAY, naive=True),
    Way("same hour last week", same_hour_last_week, WEEK, naive=True),
    Way("flat", flat, DAY, naive=True),
)
