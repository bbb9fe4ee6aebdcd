"""What the endpoints of the guardrails look like to a reader of the schema."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema

from budgets.api.guardrail_bodies import CheckBody, KillSwitchBody, PreflightBody, SpendBody
from budgets.api.schema import DENIAL, KEY, REPLAYED, RETRY_AFTER
from opslog.api.schema import (
    BODY_ERRORS,
    COMMON,
    EITHER_HEADER,
    ERROR,
    TIME,
    USD,
    example,
    record,
    said,
    shape,
)
from opslog.api.schema import DENIAL as TOKEN_DENIAL

TEXT = {"type": "string"}
MAYBE_TEXT = {"type": ["string", "null"]}
WHOLE = {"type": "integer"}
NUMBER = {"type": "number"}
MAYBE_NUMBER = {"type": ["number", "null"]}
MAYBE_USD = {"type": ["string", "null"]}
YES = {"type": "boolean"}
STATUS = {"type": "string", "enum": ["OK", "WARNING", "BLOCKED"]}

LLM_BUDGET = record(
    date={"type": "string", "format": "date"},
    current_spend_usd=NUMBER,
    reserved_usd=NUMBER,
    warning_threshold_usd=MAYBE_NUMBER,
    hard_limit_usd=MAYBE_NUMBER,
    remaining_usd=MAYBE_NUMBER,
    status=STATUS,
    warning=YES,
    blocked=YES,
    message=TEXT,
    redis_unavailable=YES,
)
CHECKED = record(
    allowed=YES,
    denial=MAYBE_TEXT,
    reason=MAYBE_TEXT,
    retryAfterSeconds={"type": ["integer", "null"]},
    resetAt={"type": ["string", "null"], "format": "date-time"},
    estimatedUsd=MAYBE_USD,
    fits={"type": ["boolean", "null"]},
    status=STATUS,
    spentUsd=USD,
    reservedUsd=USD,
    remainingUsd=MAYBE_USD,
    message=TEXT,
)
SPENT = record(
    spendId={"type": "string", "format": "uuid"},
    costUsd=USD,
    status=STATUS,
    spentUsd=USD,
    reservedUsd=USD,
    remainingUsd=MAYBE_USD,
    message=TEXT,
)
SWITCH = {
    "scope": {"type": "string", "enum": ["Global", "Surface", "Identity"]},
    "target": MAYBE_TEXT,
    "enabled": YES,
    "reason": TEXT,
    "changedBy": TEXT,
    "changedAt": TIME,
}
LEVERS = record(
    maxRounds=WHOLE,
    maxContextMessages=WHOLE,
    maxToolRetries=WHOLE,
    autoSaveIntervalMs=WHOLE,
    undoRateLimit=TEXT,
    roundTimeoutMs=WHOLE,
    totalTimeoutMs=WHOLE,
    maxToolResultBytes=WHOLE,
    toolBreaker=record(failures=WHOLE, seconds=WHOLE),
    substituteModel=MAYBE_TEXT,
    mockProvider=YES,
    clarification=YES,
)
FEATURE = record(
    feature=TEXT,
    registered=YES,
    enabled=YES,
    throttle={
        "type": ["object", "null"],
        "properties": {"requests": WHOLE, "period": TEXT},
        "required": ["requests", "period"],
    },
    costCapUsdPerHour=MAYBE_USD,
    levers=LEVERS,
)
BURN_RATE = record(
    at=TIME,
    usdPerMinute=USD,
    usdLastHour=USD,
    usdToday=USD,
    usdThisMonth=USD,
    projectedTodayUsd=USD,
    projectedMonthUsd=USD,
    limits={
        "type": "array",
        "items": record(
            scope=TEXT,
            subject=MAYBE_TEXT,
            window=TEXT,
            usedUsd=USD,
            limitUsd=USD,
            secondsUntilReached={"type": ["integer", "null"]},
        ),
    },
    byMinute={"type": "array", "items": record(minute=TIME, usd=USD)},
)
CHECK_LINE = record(
    name=TEXT,
    passed=YES,
    message=TEXT,
    severity={"type": "string", "enum": ["info", "warning", "error"]},
)
PREFLIGHT = record(
    passed=YES,
    checks={"type": "array", "items": CHECK_LINE},
    summary=record(
        taskCount=WHOLE,
        estimatedUsd=USD,
        testDataDetected=YES,
        budgetLeftUsd=MAYBE_USD,
        wouldBeRefused=WHOLE,
    ),
    environment=TEXT,
    limits={
        "type": "array",
        "items": record(scope=TEXT, subject=TEXT, window=TEXT, measure=TEXT, amount=TEXT),
    },
    tasks={
        "type": "array",
        "items": record(
            workOrderId=TEXT,
            name=TEXT,
            decision={"type": "string", "enum": ["admit", "refuse"]},
            reason=MAYBE_TEXT,
            wouldReserveUsd=MAYBE_USD,
        ),
    },
)

llm_budget = extend_schema(
    operation_id="llm_budget",
    summary="The day's LLM budget",
    description="Settled spend of the UTC day against the warning and the hard limit. Amounts are "
    "numbers here.",
    tags=["administration"],
    parameters=[TOKEN_DENIAL],
    responses={200: said("The day.", LLM_BUDGET), **COMMON},
)
check = extend_schema(
    auth=EITHER_HEADER,
    operation_id="llm_check",
    summary="Ask for advice before a call",
    description="What is shared (kill switch, breaker, feature, quotas, budgets) is looked at; "
    "nothing is reserved, so another call may come first. To be sure, start a run.",
    tags=["spending"],
    request={"application/json": shape(CheckBody)},
    parameters=[DENIAL, RETRY_AFTER],
    responses={200: said("Advice.", CHECKED), **COMMON, **BODY_ERRORS},
    examples=[
        example("In dollars", {"estimatedCostUsd": "0.02"}, request_only=True),
        example(
            "By model and tokens",
            {
                "model": "gpt-4o-mini",
                "estimatedInputTokens": 800,
                "estimatedOutputTokens": 500,
                "feature": "event-analysis",
                "userId": "u-17",
            },
            request_only=True,
        ),
    ],
)
spend = extend_schema(
    auth=EITHER_HEADER,
    operation_id="llm_spend",
    summary="Tell what a call cost",
    description="Recorded even over a limit, because it was spent. Once for each Idempotency-Key. "
    "A cost over the token's ceiling is 403 `cost_ceiling`.",
    tags=["spending"],
    request={"application/json": shape(SpendBody)},
    parameters=[KEY, DENIAL, RETRY_AFTER, REPLAYED],
    responses={
        200: said("Recorded.", SPENT),
        422: said("Used Idempotency-Key, or a model without a price.", ERROR),
        **COMMON,
        **BODY_ERRORS,
    },
    examples=[
        example("In dollars", {"costUsd": "0.00042", "model": "gpt-4o-mini"}, request_only=True),
        example(
            "With usage",
            {
                "usage": {"model": "gpt-4o-mini", "inputTokens": 800, "outputTokens": 500},
                "feature": "event-analysis",
            },
            request_only=True,
        ),
    ],
)
killswitch_list = extend_schema(
    auth=EITHER_HEADER,
    operation_id="killswitch_list",
    summary="The kill switches",
    description="Also in a session.",
    tags=["guardrails"],
    parameters=[TOKEN_DENIAL],
    responses={
        200: said(
            "All that were ever set.", record(switches={"type": "array", "items": record(**SWITCH)})
        ),
        **COMMON,
    },
)
killswitch_set = extend_schema(
    auth=EITHER_HEADER,
    operation_id="killswitch_set",
    summary="Stop everything, a surface, or an identity; or lift that",
    description="Holds from the next admission on, and stops running work when it extends or "
    "renews. `target`: the surface; or `user:…`, `agent:…`, `token:…` (its visible prefix). A name "
    "alone is a user. Global and Surface need the scope `admin` or a director in a session, "
    "Identity the scope `killswitch` or operations.",
    tags=["guardrails"],
    request={"application/json": shape(KillSwitchBody)},
    parameters=[TOKEN_DENIAL],
    responses={
        200: said(
            "Set. `matchingRuns24h`: runs of the last 24 hours that it would have stopped.",
            record(**SWITCH, matchingRuns24h=WHOLE, runningNow=WHOLE),
        ),
        **COMMON,
        **BODY_ERRORS,
    },
    examples=[
        example(
            "Stop a user",
            {
                "scope": "Identity",
                "target": "user:u-99",
                "enabled": True,
                "reason": "a retry loop without end",
            },
            request_only=True,
        ),
        example(
            "Stop a surface",
            {"scope": "Surface", "target": "playground", "enabled": True, "reason": "cost spike"},
            request_only=True,
        ),
    ],
)
feature = extend_schema(
    operation_id="feature_control",
    summary="The control of a feature, and its levers",
    description="A feature that nobody registered is on, with the default levers.",
    tags=["guardrails"],
    parameters=[
        TOKEN_DENIAL,
        OpenApiParameter("feature", OpenApiTypes.STR, "path", description="Its name."),
    ],
    responses={200: said("Its control.", FEATURE), **COMMON},
)
burn_rate = extend_schema(
    operation_id="burn_rate",
    summary="How fast money goes out",
    description="Committed dollars: settled, and reserved by what runs. `secondsUntilReached` is "
    "at the pace of the last minute; null: not before the window ends. A limit for each is that of "
    "the one that reaches it first, or else of the one that uses most.",
    tags=["guardrails"],
    parameters=[TOKEN_DENIAL],
    responses={200: said("The pace.", BURN_RATE), **COMMON},
)
preflight = extend_schema(
    auth=EITHER_HEADER,
    operation_id="work_order_preflight",
    summary="Look at a batch before it starts",
    description="Every task is decided as its start would be, and the batch as a whole is held "
    "against what is left. Nothing is reserved. A batch over the confirmation threshold needs "
    "`confirm: true`; with `dryRun` nobody is told of what did not pass.",
    tags=["spending"],
    request={"application/json": shape(PreflightBody)},
    parameters=[DENIAL, RETRY_AFTER],
    responses={
        200: said("Check by check.", PREFLIGHT),
        428: said("The batch is costly: send `confirm: true`.", ERROR),
        **COMMON,
        **BODY_ERRORS,
    },
    examples=[
        example(
            "Two tasks",
            {
                "tasks": [
                    {
                        "workOrderId": "nightly-digest",
                        "name": "Digest of Monday",
                        "estimatedCostUsd": "0.05",
                    },
                    {
                        "workOrderId": "nightly-digest",
                        "name": "Digest of Tuesday",
                        "model": "gpt-4o-mini",
                        "estimatedInputTokens": 12000,
                        "estimatedOutputTokens": 800,
                    },
                ]
            },
            request_only=True,
        ),
    ],
)
