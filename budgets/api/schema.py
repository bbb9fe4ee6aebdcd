"""What the spending endpoints look like to a reader of the schema. The shapes of the requests are
those that the views check with; the examples are sent by a test."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema

from budgets.api.requests import ExtendBody, FinishBody, StartBody
from opslog.api.schema import (
    BODY_ERRORS,
    COMMON,
    EITHER_HEADER,
    ERROR,
    NOT_FOUND,
    TIME,
    USD,
    example,
    record,
    said,
    shape,
)
from workorders.api.views import CAPS, CAPS_IN_FORCE

ID = {"type": "string", "format": "uuid"}

DRY_RUN = record(
    decision={"type": "string", "enum": ["admit", "refuse"]},
    reason={"type": ["string", "null"]},
    wouldReserveUsd=USD,
)
FINISHED = record(
    runId=ID,
    workOrderId={"type": "string"},
    status={"type": "string", "enum": ["success", "error", "cancelled"]},
    costUsd=USD,
    reservedUsd=USD,
    overrunUsd=USD,
    costNote={"type": ["string", "null"], "enum": ["unpriced", None]},
    startedAt=TIME,
    finishedAt=TIME,
)
STATUS_NOW = {"type": "string", "enum": ["running", "success", "error", "cancelled", "expired"]}
REPLAY = {
    "type": "boolean",
    "description": "`true` where an earlier request with this key was admitted, else absent.",
}
ADMITTED = record(
    runId=ID,
    workOrderId={"type": "string"},
    status=STATUS_NOW | {"description": "`running`. Of a replayed start: what the run is now."},
    reservedUsd=USD,
    leaseExpiresAt=TIME,
    caps=record(runsPerDay={"type": "integer"}, usdPerDay={"type": "number"}),
    usage=record(runsToday={"type": "integer"}, usdToday=USD, openRuns={"type": "integer"}),
)
ADMITTED["properties"] |= {
    "replayed": REPLAY,
    "settlement": {
        "type": ["object", "null"],
        "properties": FINISHED["properties"]
        | {"status": {"type": "string", "enum": ["success", "error", "cancelled", "expired"]}},
        "description": "Of a replayed start: what is on record of the run, null while it is open.",
    },
}
EXTENDED = record(
    runId=ID,
    workOrderId={"type": "string"},
    status=STATUS_NOW | {"description": "`running`. Of a replay: what the run is now."},
    reservedUsd=USD,
    leaseExpiresAt=TIME,
)
EXTENDED["properties"] |= {"replayed": REPLAY}

DENIAL = OpenApiParameter(
    "Tollgate-Denial",
    str,
    "header",
    response=[401, 403, 404, 409, 422, 428, 429],
    description="Which check refused. What to do about a 429, with the figures of the moment: "
    "`/admin/runbooks/runs-429/` and `/admin/runbooks/usd-429/`, for people with a login.",
)
DENIAL_SCOPE = OpenApiParameter(
    "Tollgate-Denial-Scope",
    str,
    "header",
    response=[403, 429],
    description="Of a refusal by a shared limit or a throttle: what it is held over, such as "
    "`global`, `model`, `agent`, `user`, `feature`, `feature_user`.",
)
DENIAL_SUBJECT = OpenApiParameter(
    "Tollgate-Denial-Subject",
    str,
    "header",
    response=[403, 429],
    description="Whose limit of that scope it is, percent-encoded UTF-8: the model, the agent, …. "
    "Absent for `global`.",
)
LIMIT = [DENIAL, DENIAL_SCOPE, DENIAL_SUBJECT]
RETRY_AFTER = OpenApiParameter(
    "Retry-After", int, "header", response=[429, 503], description="Seconds to wait."
)
RESET_AT = OpenApiParameter(
    "Tollgate-Reset-At",
    OpenApiTypes.DATETIME,
    "header",
    response=[429],
    description="When time will have cured it.",
)
REPLAYED = OpenApiParameter(
    "Idempotent-Replayed",
    str,
    "header",
    response=[200, 201],
    description="`true` on the answer to a request that was granted before.",
)
KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
    "header",
    description="One per ask, the same in every retry of it. Kept for 48 hours.",
)


USAGE = record(
    workOrderId={"type": "string"},
    day={"type": "string", "format": "date"},
    resetAt=TIME,
    caps=CAPS,
    capsInForce=CAPS_IN_FORCE,
    runsToday={"type": "integer"},
    openRuns={"type": "integer"},
    reservedUsd=USD,
    settledUsd=USD,
    usdToday=USD,
    calibration=record(
        settledRuns={"type": "integer"},
        actualToReservedP50={"type": ["number", "null"]},
        actualToReservedP95={"type": ["number", "null"]},
        overruns={"type": "integer"},
        overrunUsd=USD,
    ),
)
REFUSALS = {
    **COMMON,
    **NOT_FOUND,
    **BODY_ERRORS,
    409: said("The state does not allow it.", ERROR),
    422: said("Used Idempotency-Key, or a model without a price.", ERROR),
    429: said("A limit is reached.", ERROR),
}


start = extend_schema(
    auth=EITHER_HEADER,
    operation_id="work_order_start",
    summary="Ask to start a run",
    description="Admits and reserves, or refuses and says why. With `dryRun` it only tells.",
    tags=["spending"],
    request={"application/json": shape(StartBody)},
    parameters=[KEY, *LIMIT, RETRY_AFTER, RESET_AT, REPLAYED],
    responses={
        200: said("The dry run's answer.", DRY_RUN),
        201: said("Admitted: the estimate is reserved.", ADMITTED),
        428: said("The estimate is high: send `confirm: true`.", ERROR),
        **REFUSALS,
    },
    examples=[
        example(
            "In dollars",
            {"workOrderId": "nightly-digest", "agentName": "digest-1", "estimatedCostUsd": "0.05"},
            request_only=True,
        ),
        example(
            "By model and tokens",
            {
                "workOrderId": "nightly-digest",
                "agentName": "digest-1",
                "model": "gpt-4o-mini",
                "estimatedInputTokens": 12000,
                "estimatedOutputTokens": 800,
                "userId": "u-17",
                "feature": "digest",
            },
            request_only=True,
        ),
        example(
            "Only asking",
            {"workOrderId": "nightly-digest", "agentName": "digest-1", "dryRun": True},
            request_only=True,
        ),
    ],
)
finish = extend_schema(
    auth=EITHER_HEADER,
    operation_id="run_finish",
    summary="Settle a run",
    description="With what it cost, or with the usage of a model. Always possible; the same "
    "again gives the same answer. A run that had expired is corrected. A cost over the token's "
    "ceiling is 403 `cost_ceiling`: the run stays open for a token of scope `admin`.",
    tags=["spending"],
    request={"application/json": shape(FinishBody)},
    parameters=[DENIAL, RETRY_AFTER, REPLAYED],
    responses={
        200: said("Settled.", FINISHED),
        **{code: told for code, told in REFUSALS.items() if code not in (422, 429)},
    },
    examples=[
        example("With a cost", {"status": "success", "costUsd": "0.031"}, request_only=True),
        example(
            "With usage",
            {
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
            request_only=True,
        ),
    ],
)
extend = extend_schema(
    auth=EITHER_HEADER,
    operation_id="run_extend",
    summary="Reserve more, or renew the lease",
    description="Refused as a start would be; a refusal means that the work must stop.",
    tags=["spending"],
    request={"application/json": shape(ExtendBody)},
    parameters=[KEY, *LIMIT, RETRY_AFTER, RESET_AT, REPLAYED],
    responses={200: said("Extended.", EXTENDED), **REFUSALS},
    examples=[
        example(
            "More money and time", {"additionalUsd": "0.02", "leaseSeconds": 900}, request_only=True
        ),
        example("Renewal", {}, request_only=True),
    ],
)
usage = extend_schema(
    operation_id="work_order_usage",
    summary="What a work order uses today",
    description="Today is the UTC date of the database's clock. `calibration` compares what the "
    "last runs cost with what they had reserved.",
    tags=["reading"],
    parameters=[DENIAL],
    responses={200: said("Usage.", USAGE), **COMMON, **NOT_FOUND},
)
