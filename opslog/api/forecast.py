"""`GET /api/forecast`: spend by the hour, the forecast with its error, and what is unusual."""

import re
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from opslog.api.errors import BadRequest
from opslog.api.requests import PRINTABLE
from opslog.api.schema import COMMON, DENIAL, TIME, record, said
from opslog.forecasting.backtest import Score
from opslog.forecasting.outlook import HOUR, Outlook
from opslog.pricing.money import usd, usd_text
from opslog.telemetry import spend_hours
from opslog.telemetry.spend_hours import Category, Spend

HOURS_SENT = 7 * 24
LONGEST_NAME = 200
MONEY = {"type": "string"}
RATIO = {"type": ["number", "null"], "description": "0.1 is ten per cent."}
SCORE = record(
    way={"type": "string"},
    naive={"type": "boolean"},
    trials={"type": "integer"},
    wape=RATIO,
    mape=RATIO,
)
OUTLOOK = record(
    ends=TIME,
    spentUsd=MONEY,
    forecastUsd=MONEY,
    lowUsd={"type": ["string", "null"]},
    highUsd={"type": ["string", "null"]},
    way={"type": "string"},
    testedDaysAhead={"type": "integer"},
    error={"anyOf": [SCORE, {"type": "null"}]},
    tried={"type": "array", "items": SCORE},
)
CATEGORY = record(
    name={"type": "string"},
    last24hUsd=MONEY,
    before24hUsd=MONEY,
    last7dUsd=MONEY,
    last7dRequests={"type": "integer"},
    unpriced={"type": "integer"},
)
ANSWER = record(
    at=TIME,
    historyDays={"type": "integer"},
    day={"anyOf": [OUTLOOK, {"type": "null"}]},
    month={"anyOf": [OUTLOOK, {"type": "null"}]},
    hours={"type": "array", "items": record(hour=TIME, usd=MONEY)},
    forecastHours={"type": "array", "items": record(hour=TIME, usd=MONEY)},
    unusual={
        "type": "array",
        "items": record(
            first=TIME,
            last=TIME,
            hours={"type": "integer"},
            model={"type": "string", "description": "Empty: all together."},
            usd=MONEY,
            usualUsd=MONEY,
            spreads={"type": "number"},
        ),
    },
    models={"type": "array", "items": CATEGORY},
    features={"type": "array", "items": CATEGORY},
    triggers={"type": "array", "items": CATEGORY},
)


class ForecastView(APIView):
    required_scope = "read"
    concerns_everything = True

    @extend_schema(
        operation_id="forecast",
        summary="Spend by the hour, and what it comes to",
        description="Of telemetry, not of budgets. Between `low` and `high` nine in "
        "ten such forecasts of the past would have ended; `error` is that of having chosen "
        "a way by what was known then, `tried` that of each way. `hours` are the last seven days.",
        tags=["reading"],
        parameters=[
            OpenApiParameter(
                "model",
                {"type": "string", "maxLength": LONGEST_NAME},
                description="Hours and forecast of this model alone.",
            ),
            DENIAL,
        ],
        responses={200: said("As of the last whole hour.", ANSWER), **COMMON},
    )
    def get(self, request: Request) -> Response:
        if unknown := sorted(set(request.query_params) - {"model"}):
            raise BadRequest("bad input", {name: ["Unknown parameter"] for name in unknown[:10]})
        model = request.query_params.get("model", "")
        if len(model) > LONGEST_NAME or not re.match(PRINTABLE, model):
            raise BadRequest("bad input", {"model": [f"At most {LONGEST_NAME} characters"]})
        return Response(as_json(spend_hours.spend(model=model)))


def as_json(spend: Spend) -> dict[str, Any]:
    series, told = spend.series, spend.forecast
    start = max(len(series.hours) - HOURS_SENT, 0)
    return {
        "at": moment(series.ends),
        "historyDays": told.days if told else 0,
        "day": outlook(told.day) if told else None,
        "month": outlook(told.month) if told else None,
        "hours": [
            {"hour": moment(series.first + HOUR * index), "usd": usd_text(series.hours[index])}
            for index in range(start, len(series.hours))
        ],
        "forecastHours": [
            {"hour": moment(hour), "usd": dollars(amount)}
            for hour, amount in (told.hours if told else ())
        ],
        "unusual": [
            {
                "first": moment(each.found.first),
                "last": moment(each.found.last),
                "hours": each.found.hours,
                "model": each.model,
                "usd": dollars(each.found.usd),
                "usualUsd": dollars(each.found.usual_usd),
                "spreads": round(float(each.found.spreads), 1),
            }
            for each in spend.unusual
        ],
        "models": [category(each) for each in spend.models],
        "features": [category(each) for each in spend.features],
        "triggers": [category(each) for each in spend.triggers],
    }


def moment(at: Any) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def dollars(amount: Any) -> str | None:
    return None if amount is None else usd_text(usd(amount))


def outlook(of: Outlook) -> dict[str, Any]:
    return {
        "ends": moment(of.ends),
        "spentUsd": dollars(of.spent_usd),
        "forecastUsd": dollars(of.forecast_usd),
        "lowUsd": dollars(of.low_usd),
        "highUsd": dollars(of.high_usd),
        "way": of.way,
        "testedDaysAhead": of.tried_days,
        "error": score(of.tested.chosen) if of.tested else None,
        "tried": [score(each) for each in of.tested.scores] if of.tested else [],
    }


def score(of: Score) -> dict[str, Any]:
    return {
        "way": of.name,
        "naive": of.naive,
        "trials": of.trials,
        "wape": None if of.wape is None else round(float(of.wape), 4),
        "mape": None if of.mape is None else round(float(of.mape), 4),
    }


def category(of: Category) -> dict[str, Any]:
    return {
        "name": of.name,
        "last24hUsd": dollars(of.day_usd),
        "before24hUsd": dollars(of.day_before_usd),
        "last7dUsd": dollars(of.week_usd),
        "last7dRequests": of.week_requests,
        "unpriced": of.unpriced,
    }
