"""The endpoints that spend. A view parses, calls, renders; the database decides."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import UUID

import msgspec
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets import admission, metrics, selectors
from budgets.api import schema
from budgets.api.requests import (
    ExtendBody,
    FinishBody,
    StartBody,
    idempotency_key,
    money,
)
from opslog.addresses import client_address
from opslog.api.errors import BadRequest, TokenDenied
from opslog.api.requests import RawJSONParser, decode
from opslog.exceptions import Overloaded, Unavailable
from opslog.money import usd_text
from workorders import tokens
from workorders.api.auth import token_text
from workorders.api.views import as_json
from workorders.models import WorkOrder


class DeniedBy(msgspec.Struct):
    """The shared limit that refused: `subject` is empty where it is one for everything."""

    scope: str
    subject: str


START = msgspec.json.Decoder(StartBody)
FINISH = msgspec.json.Decoder(FinishBody)
EXTEND = msgspec.json.Decoder(ExtendBody)
ENCODE = msgspec.json.Encoder().encode
DENIED_BY = msgspec.json.Decoder(DeniedBy).decode
COMPACT = msgspec.json.format


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

    def caller(self, request: Request) -> admission.Caller:
        http = request._request
        return admission.Caller(
            digest=tokens.digest(token_text(http)), address=client_address(http)
        )


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
    metrics.LATENCY.labels(operation).observe(time.perf_counter() - began)
    if decision.denial:
        metrics.REFUSALS.labels(decision.denial).inc()
    return decision


def render(decision: admission.Decision) -> HttpResponse:
    """The answer: the database's own JSON, or the one-key shape of a refusal."""
    if decision.denial:
        response = HttpResponse(
            ENCODE({"error": decision.error}),
            status=decision.status,
            content_type="application/json",
        )
        response.headers["Tollgate-Denial"] = decision.denial
        if decision.body:
            limit = DENIED_BY(decision.body)
            response.headers["Tollgate-Denial-Scope"] = limit.scope
            if limit.subject:  # a name in any script: headers are ASCII
                response.headers["Tollgate-Denial-Subject"] = quote(limit.subject, safe=":@")
        if decision.retry_after is not None:
            response.headers["Retry-After"] = str(decision.retry_after)
        if decision.reset_at is not None:
            response.headers["Tollgate-Reset-At"] = decision.reset_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        if decision.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    body = COMPACT(decision.body.encode(), indent=-1)
    response = HttpResponse(body, status=decision.status, content_type="application/json")
    if decision.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


class StartView(SpendingView):
    @schema.start
    def post(self, request: Request) -> HttpResponse:
        body = decode(START, request.data)
        ask = admission.StartAsk(
            work_order_id=body.work_order_id,
            agent_name=body.agent_name,
            estimated_cost_usd=money(body.estimated_cost_usd, "estimatedCostUsd"),
            model=body.model or "",
            estimated_input_tokens=body.estimated_input_tokens,
            estimated_output_tokens=body.estimated_output_tokens,
            lease_seconds=body.lease_seconds,
            user_id=body.user_id or "",
            surface=body.surface or "",
            feature=body.feature or "",
            dry_run=bool(body.dry_run),
            confirm=bool(body.confirm),
        )
        if not ask.model:
            for field in ("estimated_input_tokens", "estimated_output_tokens"):
                if getattr(ask, field) is not None:
                    raise BadRequest("bad input", {"model": ["Tokens are priced by their model"]})
        caller, key = self.caller(request), idempotency_key(request)
        decision = decide("start", lambda: admission.start(ask, caller=caller, idempotency_key=key))
        if decision.status == 201:
            metrics.ADMISSIONS.labels("true" if decision.replayed else "false").inc()
            metrics.RESERVED.inc(float(decision.reserved_usd))
        return render(decision)


class FinishView(SpendingView):
    @schema.finish
    def post(self, request: Request, run_id: UUID) -> HttpResponse:
        body = decode(FINISH, request.data)
        if (body.cost_usd is None) == (body.usage is None):
            raise BadRequest("bad input", {"costUsd": ["Give either costUsd or usage"]})
        told = admission.FinishTold(
            status=body.status,
            cost_usd=money(body.cost_usd, "costUsd"),
            model=body.usage.model if body.usage else "",
            provider=(body.usage.provider or "") if body.usage else "",
            usage=body.usage.usage() if body.usage else None,
        )
        caller = self.caller(request)
        decision = decide("finish", lambda: admission.finish(run_id, told, caller=caller))
        if decision.status == 200 and not decision.replayed:
            metrics.FINISHES.labels(told.status).inc()
            metrics.SETTLED.inc(float(decision.settled_usd))
        return render(decision)


class ExtendView(SpendingView):
    @schema.extend
    def post(self, request: Request, run_id: UUID) -> HttpResponse:
        body = decode(EXTEND, request.data)
        additional: Any = money(body.additional_usd, "additionalUsd") or 0
        caller, key = self.caller(request), idempotency_key(request)
        decision = decide(
            "extend",
            lambda: admission.extend(
                run_id,
                additional_usd=additional,
                lease_seconds=body.lease_seconds,
                caller=caller,
                idempotency_key=key,
            ),
        )
        if decision.status == 200 and not decision.replayed:
            metrics.RESERVED.inc(float(decision.reserved_usd))
        return render(decision)


class UsageView(APIView):
    required_scope = "read"

    @schema.usage
    def get(self, request: Request, wo_id: str) -> Response:
        work_order = get_object_or_404(WorkOrder, pk=wo_id)
        usage = selectors.usage_today(work_order)
        calibration = selectors.calibration(wo_id)
        return Response(
            {
                "workOrderId": wo_id,
                "day": usage.day,
                "resetAt": usage.reset_at,
                "caps": {
                    "runsPerDay": work_order.runs_per_day,
                    "usdPerDay": float(work_order.usd_per_day),
                },
                "capsInForce": as_json(selectors.caps_in_force([wo_id])[wo_id]),
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
