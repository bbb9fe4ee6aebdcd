"""The chart of an incident, and the bars of its contributions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from opslog.incidents.finding import Contribution
from opslog.incidents.rules import Hour, is_normal
from opslog.pages.charts import Chart, Moment, Series, of_series

ZERO = Decimal(0)


def chart(hours: Sequence[Hour], *, started_at: datetime, changes: Sequence[Moment]) -> Chart:
    """Hours in order of time, without gaps; changes as `change_markers.for_chart` has them."""
    begins = started_at.replace(minute=0, second=0, microsecond=0)
    return of_series(
        [hour.at for hour in hours],
        [
            Series("cost", [hour.usd for hour in hours]),
            Series("normal for that hour", [hour.baseline_usd for hour in hours], "step"),
        ],
        unit="usd",
        markers=changes,
        starts=[(started_at, "the spike begins")],
        over=[hour.at >= begins and not is_normal(hour) for hour in hours],
    )


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
