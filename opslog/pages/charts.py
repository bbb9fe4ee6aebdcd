"""Charts as plain numbers: `charts.js` draws them, and a table below each has the same."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

ZERO = Decimal(0)
FAR = 3  # a limit more than so many times as high as the highest column is not drawn
DAY = timedelta(days=1)
Moment = tuple[datetime, str]  # of a change, and its text


@dataclass(frozen=True, slots=True)
class Series:
    """One color of a chart: a value for each of its columns. None: nothing was measured."""

    name: str
    values: Sequence[Decimal | None]
    drawn: str = "bar"  # bar | line | step


@dataclass(frozen=True, slots=True)
class Cell:
    name: str
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Column:
    """One day of a chart, or a shorter span where `at` is a moment."""

    at: date
    cells: tuple[Cell, ...]
    value: Decimal  # of all bars
    over: bool
    guessed: bool

    @property
    def label(self) -> str:
        if isinstance(self.at, datetime):
            return f"{self.at.astimezone(UTC):%Y-%m-%d %H:%M}"
        return f"{self.at:%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A change, drawn as an upright line; `x` is its share of the width."""

    at: datetime
    text: str
    x: float
    style: str = "change"  # change | start


@dataclass(frozen=True, slots=True)
class Line:
    """A limit drawn across a chart."""

    label: str
    value: Decimal
    style: str  # now | asked
    beyond: bool  # too far above the columns to be drawn


@dataclass(frozen=True, slots=True)
class Chart:
    """`unit`: usd, ms, or what is counted."""

    unit: str
    columns: tuple[Column, ...]
    series: tuple[Series, ...] = ()
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    step: timedelta = field(default=DAY)

    @property
    def span(self) -> str:
        """What one column is, as the head of the table says it."""
        minutes = int(self.step.total_seconds() // 60)
        return {1: "Minute", 60: "Hour", 1440: "Day"}.get(minutes, f"{minutes // 60} hours from")

    @property
    def named(self) -> bool:
        """Whether its series have names of their own; a chart of one thing has its label."""
        return any(each.name for each in self.series)

    @property
    def busiest(self) -> Column | None:
        return max(self.columns, key=lambda column: column.value, default=None)

    @property
    def total(self) -> Decimal:
        return sum((column.value for column in self.columns), ZERO)

    @property
    def is_empty(self) -> bool:
        return not any(cell.value for column in self.columns for cell in column.cells)

    @property
    def drawn(self) -> dict[str, Any]:
        """What the script needs, as JSON has it."""
        return {
            "unit": self.unit,
            "labels": [column.label for column in self.columns],
            "days": self.step >= DAY,
            "series": [
                {
                    "name": each.name,
                    "drawn": each.drawn,
                    "values": [None if value is None else float(value) for value in each.values],
                }
                for each in self.series
            ],
            "over": [column.over for column in self.columns],
            "guessed": [column.guessed for column in self.columns],
            "lines": [
                {"label": line.label, "value": float(line.value), "style": line.style}
                for line in self.lines
                if not line.beyond
            ],
            "marks": [{"x": mark.x, "text": mark.text, "style": mark.style} for mark in self.marks],
        }


def chart(
    days: Sequence[tuple[date, Decimal]],
    limits: Sequence[tuple[str, Decimal, str]],
    *,
    unit: str,
    markers: Sequence[Moment] = (),
    guessed: int = 0,
) -> Chart:
    """One series. `limits` are (label, value, style); the first is the one that a day is held
    against. Hours instead of days where `days` are moments. `markers` are changes; those outside
    the chart are left out. The last `guessed` columns are a forecast.

    A limit far above the busiest day is named and not drawn: the days would be too flat to read.
    """
    values = [value for _, value in days]
    busiest = max(values, default=ZERO)
    over = [bool(limits) and value >= limits[0][1] for value in values]
    return of_series(
        [day for day, _ in days],
        [Series("", values)],
        unit=unit,
        lines=tuple(
            Line(label, value, style, bool(busiest) and value > FAR * busiest)
            for label, value, style in limits
        ),
        markers=markers,
        over=over,
        guessed=guessed,
    )


def of_series(
    moments: Sequence[date],
    series: Sequence[Series],
    *,
    unit: str,
    lines: tuple[Line, ...] = (),
    markers: Sequence[Moment] = (),
    starts: Sequence[Moment] = (),
    over: Sequence[bool] = (),
    guessed: int = 0,
) -> Chart:
    """Columns at these moments, evenly spaced. `starts`: markers of another style."""
    columns = tuple(
        Column(
            at,
            tuple(Cell(each.name, each.values[index]) for each in series),
            sum((each.values[index] or ZERO for each in series if each.drawn == "bar"), ZERO),
            bool(over) and over[index],
            index >= len(moments) - guessed,
        )
        for index, at in enumerate(moments)
    )
    begins = [
        at if isinstance(at, datetime) else datetime.combine(at, time(), UTC) for at in moments
    ]
    step = begins[1] - begins[0] if len(begins) > 1 else DAY
    marks = [
        Mark(at, text, share, style)
        for style, changes in (("start", starts), ("change", markers))
        for at, text in sorted(changes)
        if begins and 0 <= (share := (at - begins[0]) / (step * len(begins))) < 1
    ]
    return Chart(unit, columns, tuple(series), lines, tuple(marks), step)
