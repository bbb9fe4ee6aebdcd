"""The endpoints of the guardrails: the day's budget, direct spend, the kill switch, feature
controls, the burn rate, pre-flight. A view parses, calls, renders."""

from typing import Any, cast

import msgspec
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets import admission
from budgets.admission import Decision, direct_spend, metrics, preflight
from budgets.admission.preflight_checks import Task
from budgets.api import guardrails_schema as schema
from budgets.api.answers import ENCODE, render
from budgets.api.asks import Spend, caller_of, who_of
from budgets.api.guardrail_bodies import CheckBody, KillSwitchBody, PreflightBody
from budgets.api.requests import money
from budgets.api.sessions import PersonInSession
from budgets.api.views import SpendingView, decide, respond
from budgets.controls import features, kill_switch
from budgets.exceptions import NotYours, Refused
from budgets.models import KillSwitch
from budgets.usage import burn_rate, redis_mirror
from opslog.api.errors import BadRequest, TokenDenied
from opslog.api.requests import RawJSONParser, decode
from opslog.database import authority
from opslog.pricing import Usage
from opslog.pricing.money import usd_shown, usd_text
from opslog.principal import Principal
from workorders.api.auth import ServiceTokenAuthentication, token_text

CHECK = msgspec.json.Decoder(CheckBody)
PREFLIGHT = msgspec.json.Decoder(PreflightBody)
SWITCH = msgspec.json.Decoder(KillSwitchBody)


class LlmBudgetView(APIView):
    required_scope = "admin"
    concerns_everything = True

    @schema.llm_budget
    def get(self, request: Request) -> Response:
        return Response(
            {
                **direct_spend.as_numbers(direct_spend.day_status()),
                "redis_unavailable": redis_mirror.is_unavailable(),
            }
        )


class CheckView(SpendingView):
    @schema.check
    def post(self, request: Request) -> HttpResponse:
        body = decode(CHECK, request.data)
        usage = None
        if body.estimated_input_tokens is not None or body.estimated_output_tokens is not None:
            if not body.model:
                raise BadRequest("bad input", {"model": ["Tokens are priced by their model"]})
            usage = Usage(body.estimated_input_tokens or 0, body.estimated_output_tokens or 0)
        caller, estimate = (
            caller_of(request.META),
            money(body.estimated_cost_usd, "estimatedCostUsd"),
        )
        decision = decide(
            "check",
            lambda: direct_spend.check(
                caller=caller,
                who=who_of(body),
                estimated_usd=estimate,
                model=body.model or "",
                usage=usage,
            ),
        )
        return respond(render(decision, operation="check"))


class SpendView(SpendingView):
    @schema.spend
    def post(self, request: Request) -> HttpResponse:
        return self.answer(Spend.read(request.data, request.META))


class TokenOrPerson(ServiceTokenAuthentication):
    """A token by its scopes, or somebody in a session, with CSRF for what changes something."""

    def authenticate(self, request: Request) -> Any:
        if not token_text(request) and request.COOKIES.get(settings.SESSION_COOKIE_NAME):
            return PersonInSession().authenticate(request)
        return super().authenticate(request)


def switch_as_json(switch: KillSwitch) -> dict[str, Any]:
    return {
        "scope": switch.scope,
        "target": switch.target or None,
        "enabled": switch.enabled,
        "reason": switch.reason,
        "changedBy": switch.changed_by,
        "changedAt": switch.changed_at,
    }


class KillSwitchView(APIView):
    decides = True  # a stop waits for nobody
    authentication_classes = (TokenOrPerson,)
    permission_classes = ()
    parser_classes = (RawJSONParser,)
    concerns_everything = True

    @property
    def required_scopes(self) -> tuple[str, ...]:
        return ("killswitch", "admin") + (("read",) if self.request.method == "GET" else ())

    @schema.killswitch_list
    def get(self, request: Request) -> Response:
        is_token = isinstance(request.auth, Principal)
        if not is_token and not request.user.has_perm("budgets.view_killswitch"):
            raise TokenDenied(403, "session", "this person may not read the kill switches")
        return Response({"switches": [switch_as_json(each) for each in KillSwitch.objects.all()]})

    @schema.killswitch_set
    def post(self, request: Request) -> Response:
        body = decode(SWITCH, request.data)
        token = request.auth if isinstance(request.auth, Principal) else None
        person = User.objects.get(pk=token.owner_id) if token else cast(User, request.user)
        scopes = token.scopes if token else None
        if not kill_switch.may_switch(body.scope, person=person, token_scopes=scopes):
            whose = "this token, or its owner, is" if token else "this person is"
            denied = f"{whose} not allowed to switch the scope {body.scope}"
            raise TokenDenied(403, "scope", denied)
        try:
            switch, stops = kill_switch.switch(
                body.scope,
                body.target,
                enabled=body.enabled,
                reason=body.reason,
                by=token.actor if token else person.get_username(),
                person=None if token else person,
                token_id=token.token_id if token else None,
            )
        except NotYours as error:
            raise TokenDenied(403, "scope", str(error)) from None
        except Refused as error:
            raise BadRequest("bad input", {"target": [str(error)]}) from None
        return Response(
            {
                **switch_as_json(switch),
                "matchingRuns24h": stops.runs,
                "runningNow": stops.running,
            }
        )


class FeatureView(APIView):
    required_scopes = ("start", "read", "admin")

    @schema.feature
    def get(self, request: Request, feature: str) -> Response:
        control = features.control_of(feature)
        return Response(
            {
                "feature": feature,
                "registered": control.pk is not None,
                "enabled": control.enabled,
                "throttle": None
                if control.requests_per_period is None
                else {"requests": control.requests_per_period, "period": control.period},
                "costCapUsdPerHour": None
                if control.cost_cap_usd is None
                else usd_text(control.cost_cap_usd),
                "levers": features.levers(control),
            }
        )


class BurnRateView(APIView):
    required_scope = "read"
    concerns_everything = True

    @schema.burn_rate
    def get(self, request: Request) -> Response:
        return Response(burn_rate_as_json(burn_rate.now()))


def burn_rate_as_json(rate: burn_rate.BurnRate) -> dict[str, Any]:
    return {
        "at": rate.at,
        "usdPerMinute": usd_text(rate.minute_usd),
        "usdLastHour": usd_text(rate.hour_usd),
        "usdToday": usd_text(rate.day_usd),
        "usdThisMonth": usd_text(rate.month_usd),
        "projectedTodayUsd": usd_text(rate.day_projected_usd),
        "projectedMonthUsd": usd_text(rate.month_projected_usd),
        "limits": [
            {
                "scope": reach.budget.scope,
                "subject": reach.subject or None,
                "window": reach.budget.window,
                "usedUsd": usd_text(reach.used_usd),
                "limitUsd": usd_text(reach.budget.amount),
                "secondsUntilReached": reach.seconds,
            }
            for reach in rate.limits
            if reach.budget.amount is not None
        ],
        "byMinute": [
            {"minute": moment, "usd": usd_text(amount)} for moment, amount in rate.by_minute
        ],
    }


class PreflightView(SpendingView):
    @schema.preflight
    def post(self, request: Request) -> HttpResponse:
        body = decode(PREFLIGHT, request.data)
        tasks = []
        for number, each in enumerate(body.tasks):
            at = f"tasks[{number}]"
            tokens = (each.estimated_input_tokens, each.estimated_output_tokens)
            if not each.model and tokens != (None, None):
                raise BadRequest("bad input", {f"{at}.model": ["Tokens are priced by their model"]})
            tasks.append(
                Task(
                    work_order_id=each.work_order_id,
                    name=each.name,
                    agent_name=each.agent_name or "preflight",
                    model=each.model or "",
                    estimated_cost_usd=money(each.estimated_cost_usd, f"{at}.estimatedCostUsd"),
                    estimated_input_tokens=each.estimated_input_tokens,
                    estimated_output_tokens=each.estimated_output_tokens,
                )
            )
        caller = caller_of(request.META)
        found = preflight.run(
            tasks,
            caller=caller,
            confirm=bool(body.confirm),
        )
        if isinstance(found, Decision):
            return respond(render(found))
        if isinstance(found, preflight.NeedsConfirmation):
            response = HttpResponse(
                ENCODE(
                    {
                        "error": f"the batch is estimated at ${usd_shown(found.estimated_usd)}, "
                        f'over ${usd_shown(found.over_usd)}: send "confirm": true'
                    }
                ),
                status=428,
                content_type="application/json",
            )
            response.headers["Tollgate-Denial"] = "confirm"
            return response
        metrics.PREFLIGHTS.labels("true" if found.passed else "false").inc()
        if not body.dry_run:
            preflight.tell(found, by=actor_of(caller))
        return HttpResponse(ENCODE(report_as_json(found)), content_type="application/json")


def actor_of(caller: admission.Caller) -> str:
    """The owner of the token, for the alert; the decision itself judges the token."""
    (name,) = authority.fetch_row(
        "SELECT coalesce((SELECT u.username FROM service_tokens t JOIN auth_user u "
        "ON u.id = t.owner_id WHERE t.digest = %s), '')",
        [caller.digest],
    )
    return str(name)


def report_as_json(report: preflight.Report) -> dict[str, Any]:
    return {
        "passed": report.passed,
        "checks": [
            {
                "name": line.name,
                "passed": line.passed,
                "message": line.message,
                "severity": line.severity,
            }
            for line in report.lines
        ],
        "summary": {
            "taskCount": len(report.outcomes),
            "estimatedUsd": usd_text(report.estimated_usd),
            "testDataDetected": report.test_data,
            "budgetLeftUsd": None if report.left_usd is None else usd_text(report.left_usd),
            "wouldBeRefused": report.refused,
        },
        "environment": report.environment,
        "limits": [
            {
                "scope": budget.scope,
                "subject": budget.subject,
                "window": budget.window,
                "measure": budget.measure,
                "amount": str(budget.amount),
            }
            for budget in report.limits
        ],
        "tasks": [
            {
                "workOrderId": outcome.task.work_order_id,
                "name": outcome.task.name,
                "decision": "admit" if outcome.reason is None else "refuse",
                "reason": outcome.reason,
                "wouldReserveUsd": usd_text(outcome.usd),
            }
            for outcome in report.outcomes
        ],
    }
