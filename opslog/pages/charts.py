"""Charts and bars as plain numbers.

`charts.js` draws charts, and a table below each has the same. A bar is a box in a row of HTML, with
its number beside it, and needs no script.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_DOWN, Decimal
from itertools import accumulate
from typing import Any

ZERO = Decimal(0)
FAR = 3  # a limit more than so many times as high as the highest column is not drawn
NEAR = Decimal("0.8")  # of a limit: from here on a bar warns
TENTH = Decimal("0.1")
DAY = timedelta(days=1)
Moment = tuple[datetime, str]  # of a change, and its text


@dataclass(frozen=True, slots=True)
class Series:
    """One color of a chart: a value for each of its columns."""

    name: str
    values: Sequence[Decimal]
    drawn: str = "bar"  # bar | step


@dataclass(frozen=True, slots=True)
class Cell:
    name: str
    value: Decimal


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
    """`unit`: usd, or what is counted."""

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
        """Whether its series have names of their own; a chart of one series has its label."""
        return any(each.name for each in self.series)

    @property
    def busiest(self) -> Column | None:
        return max(self.columns, key=lambda column: column.value, default=None)

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
                    "values": [float(value) for value in each.values],
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
            sum((each.values[index] for each in series if each.drawn == "bar"), ZERO),
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


def per_cent(share: Decimal) -> Decimal:
    """A share in per cent with one decimal, rounded down: 100.0 is shown only for what is full. A
    share shown in several places (page, file, message) is rounded here."""
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
        return f"{self._of_limit(self.settled):.2f}"

    @property
    def held_width(self) -> str:
        room = 100 - self._of_limit(self.settled)
        return f"{min(self._of_limit(self.held), room):.2f}"

    def _of_limit(self, amount: Decimal) -> Decimal:
        return min(Decimal(100), amount / self.limit * 100) if self.limit else Decimal(0)


def runs_meter(runs: int, running: int, cap: int) -> Meter:
    """Runs of a day, and how many of these have not ended."""
    return Meter(Decimal(runs - running), Decimal(running), Decimal(cap), "runs")


@dataclass(frozen=True, slots=True)
class Bar:
    """One part of a sum; `left` and `width` are per cent of a scale that has zero inside of it."""

    label: str
    value: Decimal
    left: str
    width: str

    @property
    def falls(self) -> bool:
        return self.value < 0


def waterfall(parts: Sequence[tuple[str, Decimal]]) -> list[Bar]:
    """In order of size; the bars start where the one before ended, so that they end at the sum."""
    ordered = sorted(parts, key=lambda part: -part[1])
    ends = list(accumulate((value for _, value in ordered), initial=ZERO))
    lowest, scale = min(ends), (max(ends) - min(ends)) or Decimal(1)
    return [
        Bar(
            label,
            value,
            f"{(min(begin, end) - lowest) / scale * 100:.2f}",
            f"{max(abs(value) / scale * 100, Decimal('0.4')):.2f}",
        )
        for (label, value), begin, end in zip(ordered, ends, ends[1:], strict=False)
    ]
