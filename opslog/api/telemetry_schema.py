"""What the endpoints of telemetry look like to a reader of the schema."""

from typing import Any

import msgspec
from drf_spectacular.utils import OpenApiParameter, extend_schema

from opslog.api.schema import (
    BODY_ERRORS,
    COMMON,
    DENIAL,
    EITHER_HEADER,
    ERROR,
    example,
    said,
    shape,
)
from opslog.telemetry.accepting import MOST
from opslog.telemetry.drafts import InferenceDraft, ToolDraft

COUNT = {"type": "integer"}
ITEM = {
    "type": "object",
    "properties": {
        "index": {"type": "integer", "description": "Its place in the body, from 0."},
        "eventId": {"type": "string"},
        "status": {"type": "string", "enum": ["accepted", "duplicate", "refused"]},
        "reason": {"type": "string", "description": "Why it was refused."},
        "note": {"type": "string", "description": "On what was accepted: no price was known."},
    },
    "required": ["index", "status"],
    "additionalProperties": False,
}
COUNTED: dict[str, Any] = {
    "accepted": COUNT,
    "duplicates": COUNT,
    "refused": COUNT,
    "items": {"type": "array", "items": ITEM},
}
TAKEN = {
    "type": "object",
    "properties": COUNTED,
    "required": list(COUNTED),
    "additionalProperties": False,
}
NOTHING_TAKEN = {
    "type": "object",
    "properties": {"error": {"type": "string"}, **COUNTED},
    "required": ["error"],
    "additionalProperties": False,
}
RESPONSES = {
    200: said("All items are written, now or by an earlier call.", TAKEN),
    207: said("Some items were refused, each with its reason; the others are written.", TAKEN),
    **COMMON,
    **BODY_ERRORS,
    400: said(
        "Nothing was written: no item was good, or the body could not be read.", NOTHING_TAKEN
    ),
    413: said("The body is over 5 MiB, as sent or inflated.", ERROR),
    415: said("The body is not application/json, or compressed otherwise than by gzip.", ERROR),
}
ENCODING = OpenApiParameter(
    "Content-Encoding",
    {"type": "string", "enum": ["gzip", "x-gzip", "identity", ""]},
    "header",
    description="`gzip`: the body is compressed.",
)


def one_or_many(item: type[msgspec.Struct]) -> dict[str, Any]:
    """An array may hold anything, because each item is judged by itself."""
    told = shape(item)
    return {
        "oneOf": [
            told,
            {"type": "array", "minItems": 1, "maxItems": MOST, "items": {"anyOf": [told, {}]}},
        ]
    }


BY_ITEM = (
    "One object, or an array of up to 1,000. Each is accepted or refused by itself. Sending an "
    "`eventId` again is safe, whatever its `createdAt` says then; without an `eventId` it is "
    "another call. An `eventId` is yours alone, among all tokens of one owner: two services of "
    "one owner that count 1, 2, 3 lose each other's calls as duplicates, so take UUIDs. Taken when "
    "up to 48 hours late, or five minutes ahead of the clock here. A token that is limited to some "
    "work orders speaks for those only; what it pins wins."
)
inference_events = extend_schema(
    auth=EITHER_HEADER,
    operation_id="inference_events",
    summary="Tell of calls of models",
    description=f"{BY_ITEM} Without `costUsd` the cost is computed from the tokens by the price "
    "book; without a price it stays unknown, and the item says so.",
    tags=["telemetry"],
    request={"application/json": one_or_many(InferenceDraft)},
    parameters=[ENCODING, DENIAL],
    responses=RESPONSES,
    examples=[
        example(
            "One call",
            {
                "eventId": "7c1f6c1e-7c0d-4be6-9b1a-0a3a5f0f5f01",
                "model": "gpt-4o-mini",
                "feature": "event-analysis",
                "userId": "u-17",
                "triggerType": "user_request",
                "inputTokens": 1200,
                "cachedInputTokens": 800,
                "outputTokens": 150,
                "sessionId": "s-4711",
            },
            request_only=True,
        ),
        example(
            "A batch",
            [
                {
                    "eventId": "0f0c9d5e-5a4e-4b57-9a39-6f1c3a7f0e01",
                    "model": "gpt-4o-mini",
                    "inputTokens": 900,
                    "outputTokens": 80,
                },
                {
                    "eventId": "0f0c9d5e-5a4e-4b57-9a39-6f1c3a7f0e02",
                    "model": "llama-3.3-70b-versatile",
                    "provider": "groq",
                },
                {
                    "eventId": "0f0c9d5e-5a4e-4b57-9a39-6f1c3a7f0e04",
                    "model": "gpt-4o-mini",
                    "costUsd": "0.00042",
                },
                {
                    "eventId": "0f0c9d5e-5a4e-4b57-9a39-6f1c3a7f0e03",
                    "model": "gpt-4o-mini",
                    "triggerType": "retry",
                    "success": False,
                },
            ],
            request_only=True,
        ),
    ],
)
tool_calls = extend_schema(
    auth=EITHER_HEADER,
    operation_id="tool_calls",
    summary="Tell of calls of tools",
    description=f"{BY_ITEM} `inferenceEventId` is the `eventId` of the model call that asked for "
    "the tool: by it the triage knows what trying again costs.",
    tags=["telemetry"],
    request={"application/json": one_or_many(ToolDraft)},
    parameters=[ENCODING, DENIAL],
    responses=RESPONSES,
    examples=[
        example(
            "One call",
            {
                "eventId": "b5a8c0de-2f7b-4c56-8a55-0d9be6c1aa01",
                "toolName": "search",
                "inferenceEventId": "0f0c9d5e-5a4e-4b57-9a39-6f1c3a7f0e01",
                "durationMs": 240,
            },
            request_only=True,
        ),
        example(
            "A call, tried again",
            [
                {
                    "eventId": "b5a8c0de-2f7b-4c56-8a55-0d9be6c1aa02",
                    "toolName": "fetch",
                    "feature": "chat",
                    "success": False,
                },
                {
                    "eventId": "b5a8c0de-2f7b-4c56-8a55-0d9be6c1aa03",
                    "toolName": "fetch",
                    "feature": "chat",
                    "retries": 1,
                },
            ],
            request_only=True,
        ),
    ],
)
