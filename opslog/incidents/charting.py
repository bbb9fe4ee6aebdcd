"""The chart of an incident and the bars of its contributions, as plain numbers to be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from opslog.incidents.finding import Contribution
from opslog.incidents.rules import Hour, is_normal

ROOM = Decimal("1.08")  # above the highest column
ZERO = Decimal(0)
LEAST = Decimal(6)  # so that a small hour is seen at all


@dataclass(frozen=True, slots=True)
class Column:
    """One hour; coordinates are per mille of width and height, from the top left."""

    at: datetime
    usd: Decimal
    baseline_usd: Decimal
    x: str
    y: str
    width: str
    height: str
    over: bool  # in the spike, and above what is normal


@dataclass(frozen=True, slots=True)
class Line:
    """A moment: when the spike began, or something was changed."""

    x: str
    at: datetime
    label: str
    style: str  # start | change


@dataclass(frozen=True, slots=True)
class Chart:
    columns: tuple[Column, ...]
    baseline: str  # points of a polyline
    lines: tuple[Line, ...]

    @property
    def is_empty(self) -> bool:
        return not any(column.usd for column in self.columns)


def chart(
    hours: Sequence[Hour], *, started_at: datetime, changes: Sequence[tuple[datetime, str]]
) -> Chart:
    """Hours in order of time, without gaps; changes as `opslog.changes.for_chart` has them."""
    if not hours:
        return Chart((), "", ())
    highest = max(max(hour.usd, hour.baseline_usd) for hour in hours) or Decimal(1)
    top = highest * ROOM
    pitch = Decimal(1000) / len(hours)
    columns, points = [], []
    for index, hour in enumerate(hours):
        height = hour.usd / top * 1000
        normal = 1000 - hour.baseline_usd / top * 1000
        left = index * pitch
        columns.append(
            Column(
                hour.at,
                hour.usd,
                hour.baseline_usd,
                f"{left + pitch * Decimal('0.14'):.1f}",
                f"{1000 - max(height, LEAST if hour.usd else ZERO):.1f}",
                f"{pitch * Decimal('0.72'):.1f}",
                f"{max(height, LEAST) if hour.usd else ZERO:.1f}",
                hour.at >= started_at.replace(minute=0, second=0, microsecond=0)
                and not is_normal(hour),
            )
        )
        points += [f"{left:.1f},{normal:.1f}", f"{left + pitch:.1f},{normal:.1f}"]
    begins, ends = hours[0].at, hours[-1].at + timedelta(hours=1)

    def place(at: datetime) -> str:
        return f"{(at - begins) / (ends - begins) * 1000:.1f}"

    lines = [Line(place(started_at), started_at, "the spike begins", "start")]
    lines += [Line(place(at), at, said, "change") for at, said in changes]
    shown = tuple(line for line in lines if begins <= line.at <= ends)
    return Chart(tuple(columns), " ".join(points), shown)


@dataclass(frozen=True, slots=True)
class Bar:
    """One contribution; `left` and `width` are per cent of a scale that has zero inside of it."""

    label: str
    usd_per_hour: Decimal
    left: str
    width: str
    share: Decimal  # of the change
    falls: bool


def bars(parts: Sequence[Contribution]) -> list[Bar]:
    """In order of size; the bars start where the one before ended, so that they end at the sum."""
    total = sum((part.usd_per_hour for part in parts), ZERO)
    ordered = sorted(parts, key=lambda part: -part.usd_per_hour)
    ends = [ZERO]
    for part in ordered:
        ends.append(ends[-1] + part.usd_per_hour)
    lowest, highest = min(ends), max(ends)
    scale = (highest - lowest) or Decimal(1)
    return [
        Bar(
            part.label,
            part.usd_per_hour,
            f"{(min(begin, end) - lowest) / scale * 100:.2f}",
            f"{max(abs(end - begin) / scale * 100, Decimal('0.4')):.2f}",
            part.usd_per_hour / total if total else ZERO,
            part.usd_per_hour < 0,
        )
        for part, begin, end in zip(ordered, ends, ends[1:], strict=False)
    ]
