"""Hours that cost far more, or far less, than their hour of the day usually does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Final

from opslog.forecasting.methods import DAY, ZERO
from opslog.forecasting.outlook import HOUR, Series

COMPARED: Final = 14  # days before it that an hour is compared with
FEWEST: Final = 5  # such days
SPREADS: Final = Decimal(4)  # this many spreads away, and
SHARE: Final = Decimal("0.5")  # by at least half of the usual, and
WORTH: Final = Decimal("0.01")  # by at least this share of a usual day
GAP: Final = timedelta(hours=3)  # between hours of one stretch
# Median absolute deviation to standard deviation, for what is distributed normally.
SIGMA: Final = Decimal("1.4826")
LEAST_SPREAD: Final = Decimal("0.1")  # of the usual: hours that are all alike are not exact


@dataclass(frozen=True, slots=True)
class Unusual:
    """One hour. `usual_usd` is the median of the same hour of the days before; `spreads` says how
    many times the usual spread it is away, negative where it cost less."""

    hour: datetime
    usd: Decimal
    usual_usd: Decimal
    spreads: Decimal


@dataclass(frozen=True, slots=True)
class Stretch:
    """Unusual hours close to each other, all more expensive or all cheaper: one occurrence.

    The sums are those of the unusual hours in it; `spreads` is that of the farthest one.
    """

    first: datetime
    last: datetime
    hours: int
    usd: Decimal
    usual_usd: Decimal
    spreads: Decimal

    @property
    def difference_usd(self) -> Decimal:
        return self.usd - self.usual_usd

    @property
    def times(self) -> Decimal | None:
        """How many times the usual; None where it is usually free."""
        return self.usd / self.usual_usd if self.usual_usd else None


def unusual_hours(series: Series, *, last: int) -> list[Unusual]:
    """Among the `last` hours, oldest first.

    Days of the same kind (Monday to Friday, or the weekend) where there are enough of them, else
    all days.
    """
    return list(_found(series, max(len(series.hours) - last, 0)))


def stretches(found: Sequence[Unusual]) -> list[Stretch]:
    """Hours (oldest first) put together where no more than GAP lies between them."""
    joined: list[Stretch] = []
    for dearer in (True, False):
        open_one: Stretch | None = None
        for each in (hour for hour in found if (hour.spreads > 0) is dearer):
            if open_one and each.hour - open_one.last <= GAP:
                joined.pop()
                open_one = Stretch(
                    open_one.first,
                    each.hour,
                    open_one.hours + 1,
                    open_one.usd + each.usd,
                    open_one.usual_usd + each.usual_usd,
                    max(open_one.spreads, each.spreads, key=abs),
                )
            else:
                open_one = Stretch(each.hour, each.hour, 1, each.usd, each.usual_usd, each.spreads)
            joined.append(open_one)
    return joined


def _found(series: Series, start: int) -> Iterator[Unusual]:
    hours = series.hours
    for index in range(start, len(hours)):
        at = series.first + HOUR * index
        before = [index - DAY * ago for ago in range(1, COMPARED + 1) if index >= DAY * ago]
        alike = [
            hours[each]
            for each in before
            if ((series.first + HOUR * each).weekday() < 5) == (at.weekday() < 5)
        ]
        compared = alike if len(alike) >= FEWEST else [hours[each] for each in before]
        if len(compared) < FEWEST:
            continue
        usual = median(compared)
        usual_day = sum(hours[max(index - DAY * COMPARED, 0) : index], ZERO) / len(before)
        away = hours[index] - usual
        if abs(away) < max(SHARE * usual, WORTH * usual_day) or not away:
            continue
        mad = SIGMA * median([abs(each - usual) for each in compared])
        spread = max(mad, LEAST_SPREAD * usual, WORTH * usual_day / SPREADS)
        if not spread or abs(away) < SPREADS * spread:
            continue
        yield Unusual(at, hours[index], usual, away / spread)
