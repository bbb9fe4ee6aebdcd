"""The endpoints that take calls of models and tools. A view parses, calls, renders."""

from typing import Any

import msgspec
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.views import APIView

from opslog.api.batches import BatchParser, NothingTaken, Taken, read_batch
from opslog.api.requests import principal_of
from opslog.api.schema import DENIAL, operation, ref
from opslog.models import InferenceEvent
from opslog.telemetry.accepting import MOST, accept_inference, accept_tools
from opslog.telemetry.drafts import InferenceDraft, ToolDraft

INFERENCE = msgspec.json.Decoder(InferenceDraft)
TOOL = msgspec.json.Decoder(ToolDraft)
ENCODING = OpenApiParameter(
    "Content-Encoding",
    {"type": "string", "enum": ["gzip", "x-gzip", "identity", ""]},
    "header",
    description="`gzip`: the body is compressed.",
)
BATCHES: dict[str, Any] = {
    "tag": "telemetry",
    "parameters": (ENCODING, DENIAL),
    "answers": {
        200: ("All items are written, now or by an earlier call.", Taken),
        207: ("Some items were refused, each with its reason; the others are written.", Taken),
        400: ("Nothing was written: no item was good, or the body is unreadable.", NothingTaken),
    },
    "errors": {
        413: "The body is over 5 MiB, as sent or inflated.",
        415: "The body is not application/json, or compressed otherwise than by gzip.",
    },
}
BY_ITEM = (
    "One object, or an array of up to 1,000. Each is accepted or refused by itself. Sending an "
    "`eventId` again is safe, whatever its `createdAt` says then; without an `eventId` it is "
    "another call. An `eventId` is yours alone, among all tokens of one owner: two services of "
    "one owner that count 1, 2, 3 lose each other's calls as duplicates, so take UUIDs. Taken when "
    "up to 48 hours late, or five minutes ahead of the clock here. A token that is limited to some "
    "work orders speaks for those only; what it pins wins."
)


def one_or_many(item: dict[str, Any]) -> dict[str, Any]:
    """An array may hold anything, because each item is judged by itself."""
    array = {"type": "array", "minItems": 1, "maxItems": MOST, "items": {"anyOf": [item, {}]}}
    return {"oneOf": [item, array]}


def answer(status: int, body: object) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(body), status=status, content_type="application/json")


class InferenceEventsView(APIView):
    required_scope = "ingest"
    parser_classes = (BatchParser,)

    @operation(
        "inference_events",
        "Tell of calls of models",
        f"{BY_ITEM} Without `costUsd` the cost is computed from the tokens by the price "
        "book; without a price it stays unknown, and the item says so.",
        body=one_or_many(ref(InferenceDraft)),
        examples={
            "One call": {
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
            "A batch": [
                {
                    "eventId": "0f0c9d5e-5a4e-4b57-9a39-6f1c3a7f0e01",
                    "model": "llama-3.3-70b-versatile",
                    "provider": "groq",
                },
                {
                    "eventId": "0f0c9d5e-5a4e-4b57-9a39-6f1c3a7f0e02",
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
        },
        **BATCHES,
    )
    def post(self, request: Request) -> HttpResponse:
        principal = principal_of(request)
        batch = read_batch(INFERENCE, request.data)
        return answer(
            *batch.take_in(
                lambda drafts: accept_inference(
                    drafts, source=InferenceEvent.Source.API, principal=principal
                )
            )
        )


class ToolCallsView(APIView):
    required_scope = "ingest"
    parser_classes = (BatchParser,)

    @operation(
        "tool_calls",
        "Tell of calls of tools",
        f"{BY_ITEM} `inferenceEventId` is the `eventId` of the model call that asked for "
        "the tool: by it the triage knows what trying again costs.",
        body=one_or_many(ref(ToolDraft)),
        examples={
            "One call": {
                "eventId": "b5a8c0de-2f7b-4c56-8a55-0d9be6c1aa01",
                "toolName": "search",
                "inferenceEventId": "0f0c9d5e-5a4e-4b57-9a39-6f1c3a7f0e01",
                "durationMs": 240,
            },
            "A call, tried again": [
                {"toolName": "fetch", "feature": "chat", "success": False},
                {"toolName": "fetch", "feature": "chat", "retries": 1},
            ],
        },
        **BATCHES,
    )
    def post(self, request: Request) -> HttpResponse:
        principal = principal_of(request)
        batch = read_batch(TOOL, request.data)
        return answer(*batch.take_in(lambda drafts: accept_tools(drafts, principal=principal)))
