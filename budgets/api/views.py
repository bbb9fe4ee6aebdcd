"""The endpoints that spend. A view parses, calls, renders; the database decides."""

import time
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from msgspec import field
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets import admission
from budgets.admission import metrics
from budgets.api import answers
from budgets.api.asks import Asked, Extend, Finish, Start
from budgets.api.requests import ExtendBody, FinishBody, StartBody
from budgets.api.schema import (
    DENIAL,
    KEY,
    LIMIT,
    REFUSALS,
    REPLAYED,
    RESET_AT,
    RETRY_AFTER,
    Admitted,
    DryRun,
    Extended,
    Finished,
)
from budgets.usage import today
from opslog.api.answers import Answer, Moment, Usd
from opslog.api.errors import TokenDenied
from opslog.api.requests import RawJSONParser
from opslog.api.schema import NOT_FOUND, operation
from opslog.exceptions import Overloaded, Unavailable
from workorders import tokens
from workorders.api.auth import token_text
from workorders.api.views import Caps, CapsInForce
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
        """What cannot be a token is refused before the body is read: the server has not
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
    @operation(
        "work_order_start",
        "Ask to start a run",
        "Admits and reserves, or refuses and says why. With `dryRun` it only tells.",
        tag="spending",
        body=StartBody,
        parameters=[KEY, *LIMIT, RETRY_AFTER, RESET_AT, REPLAYED],
        answers={
            200: ("The dry run's answer.", DryRun),
            201: ("Admitted: the estimate is reserved.", Admitted),
        },
        errors={**REFUSALS, 428: "The estimate is high: send `confirm: true`."},
        examples={
            "In dollars": {
                "workOrderId": "nightly-digest",
                "agentName": "digest-1",
                "estimatedCostUsd": "0.05",
            },
            "By model and tokens": {
                "workOrderId": "nightly-digest",
                "agentName": "digest-1",
                "model": "gpt-4o-mini",
                "estimatedInputTokens": 12000,
                "estimatedOutputTokens": 800,
                "userId": "u-17",
                "feature": "digest",
            },
            "Only asking": {
                "workOrderId": "nightly-digest",
                "agentName": "digest-1",
                "dryRun": True,
            },
        },
    )
    def post(self, request: Request) -> HttpResponse:
        return self.answer(Start.read(request.data, request.META))


class FinishView(SpendingView):
    @operation(
        "run_finish",
        "Settle a run",
        "With what it cost, or with the usage of a model. Always possible; the same "
        "again gives the same answer. A run that had expired is corrected. A cost over the token's "
        "ceiling is 403 `cost_ceiling`: the run stays open for a token of scope `admin`.",
        tag="spending",
        body=FinishBody,
        parameters=[DENIAL, RETRY_AFTER, REPLAYED],
        answers={200: ("Settled.", Finished)},
        errors={**NOT_FOUND, 409: REFUSALS[409]},
        examples={
            "With a cost": {"status": "success", "costUsd": "0.031"},
            "With usage": {
                "status": "success",
                "usage": {
                    "model": "gpt-4o-mini",
                    "inputTokens": 11800,
                    "cachedInputTokens": 9000,
                    "cacheWriteTokens": 1200,
                    "outputTokens": 750,
                    "reasoningTokens": 0,
                },
            },
        },
    )
    def post(self, request: Request, run_id: UUID) -> HttpResponse:
        return self.answer(Finish.read(request.data, request.META, run_id))


class ExtendView(SpendingView):
    @operation(
        "run_extend",
        "Reserve more, or renew the lease",
        "Refused as a start would be; a refusal means that the work must stop.",
        tag="spending",
        body=ExtendBody,
        parameters=[KEY, *LIMIT, RETRY_AFTER, RESET_AT, REPLAYED],
        answers={200: ("Extended.", Extended)},
        errors=REFUSALS,
        examples={
            "More money and time": {"additionalUsd": "0.02", "leaseSeconds": 900},
            "Renewal": {},
        },
    )
    def post(self, request: Request, run_id: UUID) -> HttpResponse:
        return self.answer(Extend.read(request.data, request.META, run_id))


class Calibration(Answer):
    settled_runs: int
    ratio_p50: float | None = field(name="actualToReservedP50")
    ratio_p95: float | None = field(name="actualToReservedP95")
    overruns: int
    overrun_usd: Usd


class Usage(Answer):
    work_order_id: str
    day: date
    reset_at: Moment
    caps: Caps
    caps_in_force: CapsInForce
    runs: int = field(name="runsToday")
    open_runs: int
    reserved_usd: Usd
    settled_usd: Usd
    used_usd: Usd = field(name="usdToday")
    calibration: Calibration


class UsageView(APIView):
    required_scope = "read"

    @operation(
        "work_order_usage",
        "What a work order uses today",
        "Today is the UTC date of the database's clock. `calibration` compares what the "
        "last runs cost with what they had reserved.",
        tag="reading",
        answers={200: ("Usage.", Usage)},
        errors=NOT_FOUND,
    )
    def get(self, request: Request, wo_id: str) -> Response:
        work_order = get_object_or_404(WorkOrder, pk=wo_id)
        return Response(
            Usage.of(
                today.usage_today(work_order),
                work_order_id=wo_id,
                caps=work_order,
                caps_in_force=today.caps_in_force([wo_id])[wo_id],
                calibration=today.calibration(wo_id),
            )
        )
