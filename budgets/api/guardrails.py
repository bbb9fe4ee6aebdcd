"""The endpoints of the guardrails: the day's budget, direct spend, the kill switch, feature
controls, the burn rate. A view parses, calls, renders."""

from datetime import date
from typing import Any, Self, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from msgspec import field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.admission import direct_spend
from budgets.api.answers import render
from budgets.api.asks import Spend, caller_of, require_model, who_of
from budgets.api.requests import CheckBody, KillSwitchBody, SpendBody, money
from budgets.api.schema import DENIAL as SPENDING_DENIAL
from budgets.api.schema import KEY, REFUSALS, REPLAYED, RETRY_AFTER, DayState
from budgets.api.sessions import PersonInSession
from budgets.api.views import SpendingView, decide, respond
from budgets.controls import features, kill_switch
from budgets.exceptions import NotYours, Refused
from budgets.models import KillSwitch
from budgets.usage import burn_rate, redis_mirror
from opslog.api.answers import Answer, Moment, Usd
from opslog.api.errors import BadRequest, TokenDenied
from opslog.api.requests import RawJSONParser
from opslog.api.schema import DENIAL, operation
from opslog.pricing import Usage
from opslog.principal import Principal
from workorders.api.auth import ServiceTokenAuthentication, token_text


class LlmBudget(Answer, rename=None):
    date: date
    current_spend_usd: float
    reserved_usd: float
    warning_threshold_usd: float | None
    hard_limit_usd: float | None
    remaining_usd: float | None
    status: DayState
    warning: bool
    blocked: bool
    message: str
    redis_unavailable: bool


class LlmBudgetView(APIView):
    required_scope = "admin"
    concerns_everything = True

    @operation(
        "llm_budget",
        "The day's LLM budget",
        "Settled spend of the UTC day against the warning and the hard limit. Amounts are "
        "numbers here.",
        tag="administration",
        answers={200: ("The day.", LlmBudget)},
    )
    def get(self, request: Request) -> Response:
        day = direct_spend.as_numbers(direct_spend.day_status())
        return Response(LlmBudget(**day, redis_unavailable=redis_mirror.is_unavailable()))


# What `answers.with_day` adds to the answer of the database.
class Day(Answer):
    status: DayState
    spent_usd: Usd
    reserved_usd: Usd
    remaining_usd: Usd | None
    message: str


class Checked(Day):
    allowed: bool
    denial: str | None
    reason: str | None
    retry_after_seconds: int | None
    reset_at: Moment | None
    estimated_usd: Usd | None
    fits: bool | None


class Spent(Day):
    spend_id: UUID
    cost_usd: Usd


class CheckView(SpendingView):
    @operation(
        "llm_check",
        "Ask for advice before a call",
        "What is shared (kill switch, breaker, feature, quotas, budgets) is looked at; "
        "nothing is reserved, so another call may come first. To be sure, start a run.",
        tag="spending",
        body=CheckBody,
        parameters=[SPENDING_DENIAL, RETRY_AFTER],
        answers={200: ("Advice.", Checked)},
        examples={
            "In dollars": {"estimatedCostUsd": "0.02"},
            "By model and tokens": {
                "model": "gpt-4o-mini",
                "estimatedInputTokens": 800,
                "estimatedOutputTokens": 500,
                "feature": "event-analysis",
                "userId": "u-17",
            },
        },
    )
    def post(self, request: Request) -> HttpResponse:
        body = CheckBody.read(request.data)
        require_model(body)
        usage = None
        if body.estimated_input_tokens is not None or body.estimated_output_tokens is not None:
            usage = Usage(body.estimated_input_tokens or 0, body.estimated_output_tokens or 0)
        caller = caller_of(request.META)
        estimate = money(body.estimated_cost_usd, "estimatedCostUsd")
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
    @operation(
        "llm_spend",
        "Tell what a call cost",
        "Recorded even over a limit, because it was spent. Once for each Idempotency-Key. "
        "A cost over the token's ceiling is 403 `cost_ceiling`.",
        tag="spending",
        body=SpendBody,
        parameters=[KEY, SPENDING_DENIAL, RETRY_AFTER, REPLAYED],
        answers={200: ("Recorded.", Spent)},
        errors={422: REFUSALS[422]},
        examples={
            "In dollars": {"costUsd": "0.00042", "model": "gpt-4o-mini"},
            "With usage": {
                "usage": {"model": "gpt-4o-mini", "inputTokens": 800, "outputTokens": 500},
                "feature": "event-analysis",
            },
        },
    )
    def post(self, request: Request) -> HttpResponse:
        return self.answer(Spend.read(request.data, request.META))


class TokenOrPerson(ServiceTokenAuthentication):
    """A token by its scopes, or somebody in a session, with CSRF for what changes something."""

    def authenticate(self, request: Request) -> Any:
        if not token_text(request) and request.COOKIES.get(settings.SESSION_COOKIE_NAME):
            return PersonInSession().authenticate(request)
        return super().authenticate(request)


class Switch(Answer):
    scope: KillSwitch.Scope
    target: str | None
    enabled: bool
    reason: str
    changed_by: str
    changed_at: Moment

    @classmethod
    def of(cls, source: Any, **computed: Any) -> Self:
        return super().of(source, target=source.target or None, **computed)


class Switched(Switch):
    matching_runs: int = field(name="matchingRuns24h")
    running_now: int


class Switches(Answer):
    switches: list[Switch]


class KillSwitchView(APIView):
    decides = True  # a stop waits for nobody
    authentication_classes = (TokenOrPerson,)
    permission_classes = ()
    parser_classes = (RawJSONParser,)
    concerns_everything = True

    @property
    def required_scopes(self) -> tuple[str, ...]:
        return ("killswitch", "admin") + (("read",) if self.request.method == "GET" else ())

    @operation(
        "killswitch_list",
        "The kill switches",
        "Also in a session.",
        tag="guardrails",
        answers={200: ("All that were ever set.", Switches)},
    )
    def get(self, request: Request) -> Response:
        is_token = isinstance(request.auth, Principal)
        if not is_token and not request.user.has_perm("budgets.view_killswitch"):
            raise TokenDenied(403, "session", "this person may not read the kill switches")
        return Response(Switches([Switch.of(each) for each in KillSwitch.objects.all()]))

    @operation(
        "killswitch_set",
        "Stop everything, a surface, or an identity; or lift that",
        "Holds from the next admission on, and stops running work when it extends or "
        "renews. `target`: the surface; or `user:…`, `agent:…`, `token:…` (its visible prefix). A "
        "name alone is a user. Global and Surface need the scope `admin` or a director in a "
        "session, Identity the scope `killswitch` or operations.",
        tag="guardrails",
        body=KillSwitchBody,
        answers={
            200: (
                "Set. `matchingRuns24h`: runs of the last 24 hours that it would have stopped.",
                Switched,
            )
        },
        examples={
            "Stop a user": {
                "scope": "Identity",
                "target": "user:u-99",
                "enabled": True,
                "reason": "a retry loop without end",
            },
            "Stop a surface": {
                "scope": "Surface",
                "target": "playground",
                "enabled": True,
                "reason": "cost spike",
            },
        },
    )
    def post(self, request: Request) -> Response:
        body = KillSwitchBody.read(request.data)
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
        answer = Switched.of(switch, matching_runs=stops.runs, running_now=stops.running)
        return Response(answer)


class Throttle(Answer):
    requests_per_period: int = field(name="requests")
    period: str


class ToolBreaker(Answer):
    failures: int
    seconds: int


class Levers(Answer):
    max_rounds: int
    max_context_messages: int
    max_tool_retries: int
    auto_save_interval_ms: int
    undo_rate_limit: str
    round_timeout_ms: int
    total_timeout_ms: int
    max_tool_result_bytes: int
    tool_breaker: ToolBreaker
    substitute_model: str | None
    mock_provider: bool
    clarification: bool


class Feature(Answer):
    feature: str
    registered: bool
    enabled: bool
    throttle: Throttle | None
    cost_cap_usd: Usd | None = field(name="costCapUsdPerHour")
    levers: Levers


class FeatureView(APIView):
    required_scopes = ("start", "read", "admin")

    @operation(
        "feature_control",
        "The control of a feature, and its levers",
        "A feature that nobody registered is on, with the default levers.",
        tag="guardrails",
        parameters=[
            DENIAL,
            OpenApiParameter("feature", OpenApiTypes.STR, "path", description="Its name."),
        ],
        answers={200: ("Its control.", Feature)},
    )
    def get(self, request: Request, feature: str) -> Response:
        control = features.control_of(feature)
        return Response(
            Feature.of(
                control,
                feature=feature,
                registered=control.pk is not None,
                throttle=None if control.requests_per_period is None else control,
                levers=features.levers(control),
            )
        )


class Reach(Answer):
    scope: str
    subject: str | None
    window: str
    used_usd: Usd
    amount: Usd = field(name="limitUsd")
    seconds: int | None = field(name="secondsUntilReached")


class Minute(Answer):
    minute: Moment
    usd: Usd


class BurnRate(Answer):
    at: Moment
    minute_usd: Usd = field(name="usdPerMinute")
    hour_usd: Usd = field(name="usdLastHour")
    day_usd: Usd = field(name="usdToday")
    month_usd: Usd = field(name="usdThisMonth")
    day_projected_usd: Usd = field(name="projectedTodayUsd")
    month_projected_usd: Usd = field(name="projectedMonthUsd")
    limits: list[Reach]
    by_minute: list[Minute]


class BurnRateView(APIView):
    required_scope = "read"
    concerns_everything = True

    @operation(
        "burn_rate",
        "How fast money goes out",
        "Committed dollars: settled, and reserved by what runs. `secondsUntilReached` is "
        "at the pace of the last minute; null: not before the window ends. A limit for each is "
        "that of the one that reaches it first, or else of the one that uses most.",
        tag="guardrails",
        answers={200: ("The pace.", BurnRate)},
    )
    def get(self, request: Request) -> Response:
        rate = burn_rate.now()
        limits = [
            Reach.of(
                reach,
                scope=reach.budget.scope,
                subject=reach.subject or None,
                window=reach.budget.window,
                amount=reach.budget.amount,
            )
            for reach in rate.limits
            if reach.budget.amount is not None
        ]
        minutes = [{"minute": moment, "usd": amount} for moment, amount in rate.by_minute]
        return Response(BurnRate.of(rate, limits=limits, by_minute=minutes))
