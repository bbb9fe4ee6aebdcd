"""Bars and charts as plain numbers, ready to be drawn: the pages only place what is said here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_DOWN, Decimal

NEAR = Decimal("0.8")  # of a limit: from here on a bar warns
TENTH = Decimal("0.1")


def per_cent(share: Decimal) -> Decimal:
    """A share in per cent with one decimal, rounded down: 100.0 is said only of what is full. What
    is told of one share in several places (page, file, message) is rounded here."""
    return (share * 100).quantize(TENTH, ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class Meter:
    """Use against a limit. `limit` None: there is none, so the bar has nothing to fill.

    `held` is the part of the use that is reserved and not settled yet; for runs it is the part
    that is still open.
    """

    settled: Decimal
    held: Decimal
    limit: Decimal | None
    unit: str = "usd"

    @property
    def used(self) -> Decimal:
        return self.settled + self.held

    @property
    def share(self) -> Decimal:
        return self.used / self.limit if self.limit else Decimal(0)

    @property
    def percent(self) -> int:
        """Rounded down: a bar says 100 % only where nothing is left."""
        return int(self.share * 100)

    @property
    def level(self) -> str:
        if self.limit is None:
            return "none"
        return "full" if self.share >= 1 else "near" if self.share >= NEAR else "room"

    @property
    def settled_width(self) -> str:
        return self._width(self.settled)

    @property
    def held_width(self) -> str:
        room = 100 - self._of_limit(self.settled)
        return f"{min(self._of_limit(self.held), room):.2f}"

    def _width(self, amount: Decimal) -> str:
        return f"{self._of_limit(amount):.2f}"

    def _of_limit(self, amount: Decimal) -> Decimal:
        return min(Decimal(100), amount / self.limit * 100) if self.limit else Decimal(0)


def runs_meter(runs: int, running: int, cap: int) -> Meter:
    """Runs of a day, and how many of these have not ended."""
    return Meter(Decimal(runs - running), Decimal(running), Decimal(cap), "runs")


@dataclass(frozen=True, slots=True)
class Column:
    """One day of a chart, or one hour where `day` is a moment; coordinates are per mille of its
    width and height, from the top left."""

    day: date
    value: Decimal
    x: str
    y: str
    width: str
    height: str
    over: bool
    guessed: bool = False

    @property
    def label(self) -> str:
        if isinstance(self.day, datetime):
            return f"{self.day.astimezone(UTC):%Y-%m-%d %H:%M}"
        return f"{self.day:%Y-%m-%d}"

    @property
    def short(self) -> str:
        if isinstance(self.day, datetime):
            return f"{self.day.astimezone(UTC):%b} {self.day.day} {self.day:%H:%M}"
        return f"{self.day:%b} {self.day.day}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A change drawn as an upright line; `said` is its text."""

    at: datetime
    said: str
    x: str


@dataclass(frozen=True, slots=True)
class Line:
    """A limit drawn across a chart."""

    label: str
    value: Decimal
    y: str
    style: str  # now | asked
    beyond: bool  # too far above the days to be drawn


@dataclass(frozen=True, slots=True)
class Chart:
    """Use of each day against one or two limits."""

    unit: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    highest: Decimal
    marks: tuple[Mark, ...] = ()

    @property
    def span(self) -> str:
        return "Hour" if isinstance(self.columns[0].day, datetime) else "Day"

    @property
    def busiest(self) -> Column | None:
        return max(self.columns, key=lambda column: column.value, default=None)

    @property
    def total(self) -> Decimal:
        return sum((column.value for column in self.columns), Decimal(0))

    @property
    def is_empty(self) -> bool:
        return not any(column.value for column in self.columns)


def chart(
    days: Sequence[tuple[date, Decimal]],
    limits: Sequence[tuple[str, Decimal, str]],
    *,
    unit: str,
    markers: Sequence[tuple[datetime, str]] = (),
    guessed: int = 0,
) -> Chart:
    """`limits` are (label, value, style); the first is the one that a day is held against.

    Hours instead of days where `days` are moments. `markers` are changes, drawn at their moment;
    those outside the chart are left out. The last `guessed` columns are drawn as a forecast.

    A limit more than three times as high as the busiest day is not drawn, only told: days that are
    too flat to be read would say nothing.
    """
    values = [value for _, value in days]
    busiest = max(values, default=Decimal(0))
    near = [value for _, value, _ in limits if value <= 3 * busiest]
    highest = max([busiest, *near], default=Decimal(0)) or max(
        [value for _, value, _ in limits], default=Decimal(1)
    )
    top = highest * Decimal("1.08")
    pitch = Decimal(1000) / max(len(days), 1)
    columns = []
    for index, (day, value) in enumerate(days):
        height = value / top * 1000
        columns.append(
            Column(
                day,
                value,
                f"{index * pitch + pitch * Decimal('0.14'):.1f}",
                f"{1000 - height:.1f}",
                f"{pitch * Decimal('0.72'):.1f}",
                f"{max(height, Decimal(6)) if value else Decimal(0):.1f}",
                bool(limits) and value >= limits[0][1],
                index >= len(days) - guessed,
            )
        )
    lines = tuple(
        Line(label, value, f"{1000 - value / top * 1000:.1f}", style, value > top)
        for label, value, style in limits
    )
    return Chart(unit, tuple(columns), lines, highest, _marks([day for day, _ in days], markers))


def _marks(days: Sequence[date], markers: Sequence[tuple[datetime, str]]) -> tuple[Mark, ...]:
    """Where each change stands between the columns, which are evenly spaced."""
    if len(days) < 2:
        return ()
    starts = [
        day if isinstance(day, datetime) else datetime.combine(day, time(), UTC)
        for day in (days[0], days[1])
    ]
    whole = (starts[1] - starts[0]) * len(days)
    marks = []
    for at, said in sorted(markers):
        share = Decimal((at - starts[0]) / whole)
        if 0 <= share < 1:
            marks.append(Mark(at, said, f"{share * 1000:.1f}"))
    return tuple(marks)
