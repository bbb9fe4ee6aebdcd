"""The endpoints that spend. A view parses, calls, renders; the database decides."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets import admission
from budgets.admission import metrics
from budgets.api import answers, schema
from budgets.api.asks import Asked, Extend, Finish, Start
from budgets.usage import today
from opslog.api.errors import TokenDenied
from opslog.api.requests import RawJSONParser
from opslog.exceptions import Overloaded, Unavailable
from opslog.pricing.money import usd_text
from workorders import tokens
from workorders.api.auth import token_text
from workorders.api.views import as_json
from workorders.models import WorkOrder


class AlwaysJSON(DefaultContentNegotiation):
    """Answers are JSON whatever `Accept` says: weighing it took an eighth of the CPU of a start."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class SpendingView(APIView):
    """No authentication by DRF here: the token is judged inside the one round trip.

    `decides`: answered by processes that nothing else holds up (`config.server.lanes`).
    """

    decides = True
    authentication_classes = ()
    permission_classes = ()
    parser_classes = (RawJSONParser,)
    content_negotiation_class = AlwaysJSON

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """What cannot be a token is told so before the body is looked at: the server has not
        waited for it."""
        super().initial(request, *args, **kwargs)
        if not tokens.plausible(token_text(request._request)):
            metrics.REFUSALS.labels(tokens.UNKNOWN.denial).inc()
            raise TokenDenied(tokens.UNKNOWN.status, tokens.UNKNOWN.denial, tokens.UNKNOWN.error)

    def answer(self, asked: Asked) -> HttpResponse:
        decision = decide(asked.operation, asked.decide)
        asked.count(decision)
        return respond(answers.render(decision, operation=asked.operation))


def decide(operation: str, call: Callable[[], admission.Decision]) -> admission.Decision:
    """The decision, measured."""
    began = time.perf_counter()
    try:
        decision = call()
    except Unavailable as error:
        metrics.UNAVAILABLE.inc()
        if isinstance(error, Overloaded):
            metrics.OVERLOADED.inc()
        raise
    answers.measure(operation, decision, time.perf_counter() - began)
    return decision


def respond(reply: answers.Reply) -> HttpResponse:
    response = HttpResponse(reply.body, status=reply.status, content_type="application/json")
    for name, value in reply.headers.items():
        response.headers[name] = value
    return response


class StartView(SpendingView):
    @schema.start
    def post(self, request: Request) -> HttpResponse:
        return self.answer(Start.read(request.data, request.META))


class FinishView(SpendingView):
    @schema.finish
    def post(self, request: Request, run_id: UUID) -> HttpResponse:
        return self.answer(Finish.read(request.data, request.META, run_id))


class ExtendView(SpendingView):
    @schema.extend
    def post(self, request: Request, run_id: UUID) -> HttpResponse:
        return self.answer(Extend.read(request.data, request.META, run_id))


class UsageView(APIView):
    required_scope = "read"

    @schema.usage
    def get(self, request: Request, wo_id: str) -> Response:
        work_order = get_object_or_404(WorkOrder, pk=wo_id)
        usage = today.usage_today(work_order)
        calibration = today.calibration(wo_id)
        return Response(
            {
                "workOrderId": wo_id,
                "day": usage.day,
                "resetAt": usage.reset_at,
                "caps": {
                    "runsPerDay": work_order.runs_per_day,
                    "usdPerDay": float(work_order.usd_per_day),
                },
                "capsInForce": as_json(today.caps_in_force([wo_id])[wo_id]),
                "runsToday": usage.runs,
                "openRuns": usage.open_runs,
                "reservedUsd": usd_text(usage.reserved_usd),
                "settledUsd": usd_text(usage.settled_usd),
                "usdToday": usd_text(usage.used_usd),
                "calibration": {
                    "settledRuns": calibration.settled_runs,
                    "actualToReservedP50": calibration.ratio_p50,
                    "actualToReservedP95": calibration.ratio_p95,
                    "overruns": calibration.overruns,
                    "overrunUsd": usd_text(calibration.overrun_usd),
                },
            }
        )
