"""What was spent hour by hour, from the sums that are kept of each hour (`inference_hours`).

Money of telemetry: calls that reported no cost and have no price are not in it, and are counted.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from opslog.forecasting import outlook, unusual
from opslog.forecasting.outlook import Forecast, Series
from opslog.forecasting.unusual import Stretch
from opslog.models import InferenceHour

ZERO: Final = Decimal(0)
HISTORY: Final = timedelta(weeks=8)
WATCHED: Final = 7 * 24  # hours that are looked through for unusual ones
MOST_MODELS: Final = 50  # that are read, the costliest first
MOST_CATEGORIES: Final = 20


@dataclass(frozen=True, slots=True)
class Category:
    """What one feature, trigger or model cost: in the last 24 whole hours, the 24 before them, and
    the last 7 days."""

    name: str
    day_usd: Decimal
    day_before_usd: Decimal
    week_usd: Decimal
    week_requests: int
    unpriced: int

    @property
    def per_request_usd(self) -> Decimal | None:
        """Of the calls whose cost is known; None where no call's is."""
        priced = self.week_requests - self.unpriced
        return self.week_usd / priced if priced else None


@dataclass(frozen=True, slots=True)
class OfModel:
    """Unusual hours of one model; "" stands for all models together."""

    model: str
    found: Stretch


@dataclass(frozen=True, slots=True)
class Spend:
    series: Series
    forecast: Forecast | None  # None: nothing was reported in the last eight weeks
    unusual: tuple[OfModel, ...]
    models: tuple[Category, ...]
    features: tuple[Category, ...]
    triggers: tuple[Category, ...]
    unpriced: int  # calls of the last 7 days, of all models: those without a price cost least


def hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def series_of(rows: QuerySet[InferenceHour], ends: datetime) -> Series:
    """From the first hour that has a sum to the last whole one before `ends`."""
    sums: dict[datetime, Decimal] = {
        hour.astimezone(UTC): usd
        for hour, usd in rows.values_list("hour").annotate(usd=Sum("cost_usd"))
    }
    return outlook.filled(min(sums, default=ends), ends, sums)


def spend(*, model: str = "", now: datetime | None = None) -> Spend:
    """All that the forecast shows; `model`: the series and the forecast of that one alone."""
    ends = hour_of(now or timezone.now())
    kept = InferenceHour.objects.filter(hour__gte=ends - HISTORY, hour__lt=ends)
    series = series_of(kept.filter(model=model) if model else kept, ends)
    models = by_category(kept, "model", ends, most=MOST_MODELS)
    return Spend(
        series,
        outlook.forecast(series) if series.hours else None,
        tuple(_unusual(kept, [each.name for each in models], ends)),
        models[:MOST_CATEGORIES],
        by_category(kept, "feature", ends),
        by_category(kept, "trigger_type", ends),
        _unpriced(kept, ends),
    )


def _unpriced(kept: QuerySet[InferenceHour], ends: datetime) -> int:
    week = kept.filter(hour__gte=ends - timedelta(days=7), unpriced__gt=0)
    return int(week.aggregate(calls=Sum("unpriced"))["calls"] or 0)


def by_category(
    kept: QuerySet[InferenceHour], column: str, ends: datetime, *, most: int = MOST_CATEGORIES
) -> tuple[Category, ...]:
    """The costliest of the last seven days."""
    day, two_days = ends - timedelta(days=1), ends - timedelta(days=2)
    rows = (
        kept.filter(hour__gte=ends - timedelta(days=7))
        .values_list(column)
        .annotate(
            day=Sum("cost_usd", filter=Q(hour__gte=day)),
            before=Sum("cost_usd", filter=Q(hour__gte=two_days, hour__lt=day)),
            week=Sum("cost_usd"),
            count=Sum("requests"),
            free=Sum("unpriced"),
        )
        .order_by("-week", column)[:most]
    )
    return tuple(
        Category(name, of_day or ZERO, before or ZERO, week, count, free)
        for name, of_day, before, week, count, free in rows
    )


def _unusual(kept: QuerySet[InferenceHour], models: list[str], ends: datetime) -> list[OfModel]:
    """Of all together and of each model; what cost most above its usual first.

    Where there is one model only, it is all together.
    """
    all_of_them = {"": series_of(kept, ends)}
    if len(models) > 1:
        since = ends - timedelta(days=unusual.COMPARED, hours=WATCHED)
        sums: dict[str, dict[datetime, Decimal]] = {name: {} for name in models}
        rows = kept.filter(model__in=models, hour__gte=since).values_list("model", "hour")
        for name, hour, usd in rows.annotate(usd=Sum("cost_usd")):
            sums[name][hour.astimezone(UTC)] = usd
        for name, of_model in sums.items():
            series = outlook.filled(min(of_model, default=ends), ends, of_model)
            all_of_them[name or "not reported"] = series
    found = [
        OfModel(name, each)
        for name, series in all_of_them.items()
        for each in unusual.stretches(unusual.unusual_hours(series, last=WATCHED))
    ]
    return sorted(found, key=lambda each: -each.found.difference_usd)
