"""`GET /api/forecast`: spend by the hour, the forecast with its error, and what is unusual."""

import re
from typing import Annotated, Any, Self

from drf_spectacular.utils import OpenApiParameter
from msgspec import Meta, field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from opslog.api.answers import Answer, Moment, Usd
from opslog.api.errors import BadRequest
from opslog.api.requests import PRINTABLE
from opslog.api.schema import DENIAL, operation
from opslog.forecasting.outlook import HOUR
from opslog.telemetry import spend_hours

HOURS_SENT = 7 * 24
LONGEST_NAME = 200
Ratio = Annotated[float | None, Meta(description="0.1 is ten per cent.")]


class Score(Answer):
    name: str = field(name="way")
    naive: bool
    trials: int
    wape: Ratio
    mape: Ratio

    def __post_init__(self) -> None:
        self.wape = None if self.wape is None else round(self.wape, 4)
        self.mape = None if self.mape is None else round(self.mape, 4)


class Window(Answer):
    ends: Moment
    spent_usd: Usd
    forecast_usd: Usd
    low_usd: Usd | None
    high_usd: Usd | None
    way: str
    tried_days: int = field(name="testedDaysAhead")
    error: Score | None
    tried: list[Score]

    @classmethod
    def of(cls, source: Any, **computed: Any) -> Self:
        tested = source.tested
        error, tried = (tested.chosen, tested.scores) if tested else (None, ())
        return super().of(source, error=error, tried=tried)


class Category(Answer):
    name: str
    day_usd: Usd = field(name="last24hUsd")
    day_before_usd: Usd = field(name="before24hUsd")
    week_usd: Usd = field(name="last7dUsd")
    week_requests: int = field(name="last7dRequests")
    unpriced: int


class Hour(Answer):
    hour: Moment
    usd: Usd


class Unusual(Answer):
    first: Moment
    last: Moment
    hours: int
    model: Annotated[str, Meta(description="Empty: all together.")]
    usd: Usd
    usual_usd: Usd
    spreads: float

    def __post_init__(self) -> None:
        self.spreads = round(self.spreads, 1)


class Forecast(Answer):
    at: Moment
    history_days: int
    day: Window | None
    month: Window | None
    hours: list[Hour]
    forecast_hours: list[Hour]
    unusual: list[Unusual]
    models: list[Category]
    features: list[Category]
    triggers: list[Category]

    @classmethod
    def of(cls, source: Any, **computed: Any) -> Self:
        series, forecast = source.series, source.forecast
        start = max(len(series.hours) - HOURS_SENT, 0)
        spent = enumerate(series.hours[start:], start)
        return super().of(
            source,
            at=series.ends,
            history_days=forecast.days if forecast else 0,
            day=Window.of(forecast.day) if forecast else None,
            month=Window.of(forecast.month) if forecast else None,
            hours=[{"hour": series.first + HOUR * index, "usd": usd} for index, usd in spent],
            forecast_hours=[
                {"hour": hour, "usd": usd} for hour, usd in (forecast.hours if forecast else ())
            ],
            unusual=[Unusual.of(each.found, model=each.model) for each in source.unusual],
        )


class ForecastView(APIView):
    required_scope = "read"
    concerns_everything = True

    @operation(
        "forecast",
        "Spend by the hour, and what it comes to",
        "Of telemetry, not of budgets. Between `low` and `high` nine in "
        "ten such forecasts of the past would have ended; `error` is that of having chosen "
        "a way by what was known then, `tried` that of each way. `hours` are the last seven days.",
        tag="reading",
        parameters=[
            OpenApiParameter(
                "model",
                {"type": "string", "maxLength": LONGEST_NAME},
                description="Hours and forecast of this model alone.",
            ),
            DENIAL,
        ],
        answers={200: ("As of the last whole hour.", Forecast)},
    )
    def get(self, request: Request) -> Response:
        if unknown := sorted(set(request.query_params) - {"model"}):
            raise BadRequest("bad input", {name: ["Unknown parameter"] for name in unknown[:10]})
        model = request.query_params.get("model", "")
        if len(model) > LONGEST_NAME or not re.match(PRINTABLE, model):
            raise BadRequest("bad input", {"model": [f"At most {LONGEST_NAME} characters"]})
        return Response(Forecast.of(spend_hours.spend(model=model)))
