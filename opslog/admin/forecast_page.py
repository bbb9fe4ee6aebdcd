"""Spend by the hour, what the day and the month will come to, and which hours stand out."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from opslog.admin.base import page_of
from opslog.pages.charts import Chart, chart
from opslog.telemetry import change_markers, spend_hours
from opslog.telemetry.spend_hours import Category, Spend

HOURS_SHOWN = 72
UNUSUAL_SHOWN = 20


@require_safe
@permission_required("opslog.view_inferencehour", raise_exception=True)
def forecast_page(request: HttpRequest) -> HttpResponse:
    model = request.GET.get("model", "")[:200].replace("\x00", "")
    spend = spend_hours.spend(model=model)
    categories = [
        ("By feature", "feature", linked(spend.features, "feature")),
        ("By model", "model", linked(spend.models, "model")),
        ("By trigger", "trigger", linked(spend.triggers, "trigger_type")),
    ]
    context: dict[str, Any] = {
        "title": "Forecast",
        "spend": spend,
        "model": model,
        "models": [each.name for each in spend.models],
        "chart": hours_chart(spend) if spend.forecast else None,
        "categories": categories,
        "unusual": [
            (each, rows_url(each.found.first.date(), model=each.model or None))
            for each in spend.unusual[:UNUSUAL_SHOWN]
        ],
        "unusual_more": max(len(spend.unusual) - UNUSUAL_SHOWN, 0),
        "today_url": rows_url(spend.series.ends.date(), model=model or None),
        "month_url": rows_url(None, model=model or None),
        "unpriced": spend.unpriced,
    }
    return page_of(request, "tollgate/forecast.html", **context)


def hours_chart(spend: Spend) -> Chart:
    """The last three days and the rest of this one, with the changes that were reported."""
    series, forecast = spend.series, spend.forecast
    guessed = list(forecast.hours) if forecast else []
    past = min(HOURS_SHOWN, len(series.hours))
    starts = series.ends - timedelta(hours=past)
    known = [(starts + timedelta(hours=step), usd) for step, usd in enumerate(series.hours[-past:])]
    ends = series.ends + timedelta(hours=len(guessed))
    return chart(
        known + guessed,
        [],
        unit="usd",
        markers=change_markers.for_chart(starts, ends),
        guessed=len(guessed),
    )


def linked(categories: Sequence[Category], column: str) -> list[tuple[Category, str]]:
    return [(each, rows_url(None, **{column: each.name})) for each in categories]


def rows_url(day: date | datetime | None, **chosen: str | None) -> str:
    """The rows behind a figure."""
    query = {name: value for name, value in chosen.items() if value is not None}
    if day:
        query["day"] = day.isoformat()
    return reverse("admin:opslog_inferencehour_changelist") + f"?{urlencode(query)}"
