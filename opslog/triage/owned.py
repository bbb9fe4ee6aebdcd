"""Hours that belong to an incident which is over, taken out as if it had not happened.

They are neither a spike again nor a part of what is normal. Each is replaced by the same hour of
the nearest other day, so that the curve of a day stays; dropping them would look like a fall in
cost.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from opslog.triage.data import Cell, HourTotal, Rollups, ToolCell

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Row = TypeVar("Row", Cell, ToolCell)


@dataclass(frozen=True, slots=True)
class Owned:
    """[start, end), whole hours, of a feature; of all features where it is empty."""

    feature: str
    start: datetime
    end: datetime

    def hours(self) -> Iterator[datetime]:
        hour = self.start
        while hour < self.end:
            yield hour
            hour += HOUR


def without(rollups: Rollups, owned: Sequence[Owned]) -> Rollups:
    """Hours without another day to take are left as they are."""
    if not owned or not rollups.cells:
        return rollups
    first = min(cell.hour for cell in rollups.cells)
    features = {cell.feature for cell in rollups.cells}
    taken: dict[str, set[datetime]] = {feature: set() for feature in features}
    for each in owned:
        for feature in [each.feature] if each.feature else features:
            if feature in taken:
                taken[feature].update(each.hours())
    source = {
        (feature, hour): found
        for feature, hours in taken.items()
        for hour in hours
        if (found := _other_day(hour, hours, first, rollups.until)) is not None
    }
    cells = list(_moved(rollups.cells, source))
    return Rollups(
        rollups.until,
        cells,
        list(_moved(rollups.tools, source)),
        _totals(rollups, cells, {hour for _, hour in source}),
    )


def _other_day(
    hour: datetime, taken: set[datetime], first: datetime, until: datetime
) -> datetime | None:
    """The same hour of the last day before that nobody owns, else of the first one after."""
    for step in (-DAY, DAY):
        other = hour + step
        while first <= other < until:
            if other not in taken:
                return other
            other += step
    return None


def _moved(rows: Iterable[Row], source: dict[tuple[str, datetime], datetime]) -> Iterator[Row]:
    wanted: defaultdict[tuple[str, datetime], list[datetime]] = defaultdict(list)
    for (feature, hour), other in source.items():
        wanted[feature, other].append(hour)
    for row in rows:
        if (row.feature, row.hour) not in source:
            yield row
        for hour in wanted.get((row.feature, row.hour), ()):
            yield replace(row, hour=hour)


def _totals(rollups: Rollups, cells: Sequence[Cell], changed: set[datetime]) -> list[HourTotal]:
    sums = dict.fromkeys(changed, 0.0)
    for cell in cells:
        if cell.hour in sums:
            sums[cell.hour] += cell.cost_usd
    kept = [total for total in rollups.totals if total.hour not in changed]
    if not rollups.totals:
        return []  # they are summed from the cells
    return [*kept, *(HourTotal(*each) for each in sorted(sums.items()))]
