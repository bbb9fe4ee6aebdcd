"""What the endpoints of cap changes look like to a reader of the schema."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import extend_schema, extend_schema_field

from budgets.api.cap_change_bodies import AskBody, CancelBody, DecisionBody
from budgets.api.sessions import SESSION, SESSION_AND_CSRF
from opslog.api.schema import (
    BODY_ERRORS,
    COMMON,
    DENIAL,
    ERROR,
    NOT_FOUND,
    TIME,
    USD,
    example,
    record,
    said,
    shape,
)

F = TypeVar("F", bound=Callable[..., Any])
field = extend_schema_field
STATUS = {
    "type": "string",
    "enum": ["pending", "applied", "refused", "cancelled", "expired", "stale", "set_aside"],
}
COUNT = {"type": "integer"}
TOKEN: dict[str, Any] = {
    "type": ["object", "null"],
    "properties": {"name": {"type": "string"}, "prefix": {"type": "string"}},
    "required": ["name", "prefix"],
    "additionalProperties": False,
}
ROLES = [
    "requester",
    "tokenOwner",
    "tokenMaker",
    "subjectOwner",
    "subjectMaker",
]
PARTIES = {
    "type": "array",
    "items": record(
        person={"type": "string"},
        roles={"type": "array", "items": {"type": "string", "enum": ROLES}},
    ),
}
CHANGES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "runsPerDay": record(old=COUNT, new=COUNT),
        "usdPerDay": record(old=USD, new=USD),
        "maxConcurrentRuns": record(old=COUNT, new=COUNT),
        "amount": record(old=USD, new=USD),
        "requestsPerPeriod": record(old=COUNT, new=COUNT),
        "costCapUsd": record(old=USD, new=USD),
        "maxRunUsd": record(old=USD, new=USD),
    },
    "additionalProperties": False,
}
SIGNATURES = {
    "type": "array",
    "items": record(group={"type": "string"}, signedBy={"type": ["string", "null"]}),
}
VOTES = {
    "type": "array",
    "items": record(
        voter={"type": "string"},
        decision={"type": "string", "enum": ["approve", "refuse"]},
        comment={"type": "string"},
        revision=COUNT,
        soloOperator={"type": "boolean"},
        createdAt=TIME,
    ),
}
CHANGE_FIELDS: dict[str, Any] = {
    "id": COUNT,
    "workOrderId": {"type": ["string", "null"]},
    "subjectType": {
        "type": "string",
        "enum": ["work_order", "budget", "feature", "approval_limit", "service_token"],
    },
    "subjectId": {"type": "string"},
    "status": STATUS,
    "revision": COUNT,
    "requester": {"type": "string"},
    "token": TOKEN,
    "byProgram": {"type": "boolean"},
    "changes": CHANGES,
    "justification": {"type": "string"},
    "expectedCostImpact": {"type": "string"},
    "since": {"type": ["string", "null"], "format": "date-time"},
    "until": {"type": ["string", "null"], "format": "date-time"},
    "createdAt": TIME,
    "expiresAt": TIME,
    "decidedAt": {"type": ["string", "null"], "format": "date-time"},
    "closingNote": {"type": "string"},
}
CHANGE = record(**CHANGE_FIELDS)
DETAIL = record(
    **CHANGE_FIELDS,
    signatures=SIGNATURES,
    votes=VOTES,
    parties=PARTIES,
    mayDecide={"type": "boolean"},
    whyNot={"type": "string"},
    needsConfirmation={"type": "boolean"},
    impossible={"type": "string"},
)
FOR_PEOPLE: dict[int, Any] = {
    400: COMMON[400],
    403: said("No session, no CSRF token, a service token, or a person who may not.", ERROR),
    503: COMMON[503],
}
OUTCOMES: dict[int, Any] = {
    409: said("It was decided, changed or overtaken meanwhile: look again.", ERROR),
    422: said("The rules do not allow it; the text says which.", ERROR),
}
ACT = {**FOR_PEOPLE, **NOT_FOUND, **BODY_ERRORS, **OUTCOMES}
RAISE = {
    "usdPerDay": "8.00",
    "justification": "Month end doubles the documents.",
    "expectedCostImpact": "$6 a day for a week",
}

ask = extend_schema(
    operation_id="cap_change_ask",
    summary="Ask for other caps",
    description="The token's owner becomes the requester; people decide, but neither the owner nor "
    "the token's maker. `from` and `until` make it a raise for a time. A person may take the "
    "request over or set it aside. Caps are lowered by a person in a session, not by a token.",
    tags=["cap changes"],
    request={"application/json": shape(AskBody)},
    parameters=[DENIAL],
    responses={
        201: said("It waits for approval.", CHANGE),
        **COMMON,
        **NOT_FOUND,
        **BODY_ERRORS,
        **OUTCOMES,
    },
    examples=[example("A higher cap", RAISE, request_only=True)],
)


def list_them(serializer: Any) -> Callable[[F], F]:
    return extend_schema(
        auth=SESSION,
        operation_id="cap_changes_list",
        summary="Cap changes, newest first",
        tags=["cap changes"],
        parameters=[DENIAL],
        responses={200: serializer(many=True), **FOR_PEOPLE, **NOT_FOUND},
    )


read = extend_schema(
    auth=SESSION,
    operation_id="cap_change_read",
    summary="One cap change, with its signatures and votes",
    tags=["cap changes"],
    parameters=[DENIAL],
    responses={200: said("The request.", DETAIL), **FOR_PEOPLE, **NOT_FOUND},
)
decide = extend_schema(
    auth=SESSION_AND_CSRF,
    operation_id="cap_change_decide",
    summary="Approve or refuse",
    description="For the `revision` that was seen. Over $50 a day an approval is 403 "
    "`confirmation` until the person has confirmed that it is them: a POST of the `password` to "
    "`/account/confirm/` in the same session, which counts for five minutes. "
    "The last signature that is needed applies the change.",
    tags=["cap changes"],
    request={"application/json": shape(DecisionBody)},
    parameters=[DENIAL],
    responses={200: said("Recorded; `status` says what came of it.", DETAIL), **ACT},
    examples=[
        example(
            "An approval",
            {
                "decision": "approve",
                "comment": "Use and cost are as told.",
                "revision": 1,
                "answers": {"legitimate": "yes", "reasonable": "yes", "optimise": "no"},
            },
            request_only=True,
        )
    ],
)
cancel = extend_schema(
    auth=SESSION_AND_CSRF,
    operation_id="cap_change_cancel",
    summary="Withdraw one's own request, or set a program's aside",
    description="What a program requested (`byProgram`) is set aside by anybody who may request "
    "cap changes, with a `reason`. It ends without a decision.",
    tags=["cap changes"],
    request={"application/json": shape(CancelBody)},
    parameters=[DENIAL],
    responses={200: said("Withdrawn.", DETAIL), **ACT},
    examples=[example("Nothing more to say", {}, request_only=True)],
)
edit = extend_schema(
    auth=SESSION_AND_CSRF,
    operation_id="cap_change_edit",
    summary="Change one's own open request, or take over a program's",
    description="The votes so far count no more. The request's life does not begin anew. Who edits "
    "what a program requested (`byProgram`) is the requester from then on.",
    tags=["cap changes"],
    request={"application/json": shape(AskBody)},
    parameters=[DENIAL],
    responses={200: said("Changed; `revision` has gone up.", DETAIL), **ACT},
    examples=[example("Other values", {**RAISE, "usdPerDay": "7.50"}, request_only=True)],
)
