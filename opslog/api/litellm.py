"""`POST /api/litellm-callback`: what a LiteLLM proxy's generic callback sends."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
from django.http import HttpResponse
from msgspec import UNSET, Meta, UnsetType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.views import APIView

from opslog.api.batches import Batch, parts_of
from opslog.api.errors import BadRequest
from opslog.api.requests import principal_of
from opslog.api.schema import operation, ref
from opslog.api.telemetry import BATCHES, answer
from opslog.models import InferenceEvent
from opslog.telemetry import litellm
from opslog.telemetry.accepting import MOST, Outcome, accept_inference, accept_tools
from opslog.telemetry.drafts import InferenceDraft, ToolDraft

MAX_CALLBACK = 16 * 1024 * 1024  # bytes, as sent and inflated; the proxy sends 512 at once

Count = Annotated[int, Meta(ge=0)]
Second = Annotated[float, Meta(description="Seconds since 1970.")]


class Payload(msgspec.Struct):
    """StandardLoggingPayload. More fields than these are passed over."""

    id: Annotated[str, Meta(min_length=1)]
    startTime: Second | UnsetType = UNSET
    endTime: Second | UnsetType = UNSET
    call_type: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    custom_llm_provider: str | None = None
    status: Literal["success", "failure"] | UnsetType = UNSET
    prompt_tokens: Count | UnsetType = UNSET
    completion_tokens: Count | UnsetType = UNSET
    response_cost: float | None = None
    end_user: str | None = None
    trace_id: str | UnsetType = UNSET
    request_tags: list[str] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class PartsParser(BaseParser):
    """Hands the body over in parts, so that it is never in memory as a whole."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return parts_of(stream, parser_context["request"], most=MAX_CALLBACK)


class LiteLLMCallbackView(APIView):
    required_scope = "ingest"
    parser_classes = (PartsParser,)

    @operation(
        "litellm_callback",
        "Take what a LiteLLM proxy logs",
        "The proxy's `generic_api` callback in any of its formats (`json_array`, "
        "`ndjson`, `single`), up to 1,000 payloads, each accepted or refused by itself. Calls of "
        "MCP tools become tool calls, all others calls of models. Messages and responses are not "
        "kept. Sending a payload again is safe.",
        body={
            # Anything may be in it: each is judged by itself, and read for what it has.
            "anyOf": [
                ref(Payload),
                {"type": "object"},
                {"type": "array", "maxItems": MOST, "items": {"anyOf": [ref(Payload), {}]}},
            ]
        },
        examples={
            "A batch of one": [
                {
                    "id": "chatcmpl-9Zq",
                    "trace_id": "0c6b1b5e",
                    "call_type": "acompletion",
                    "status": "failure",
                    "model": "gpt-4o-mini",
                }
            ]
        },
        **BATCHES | {"errors": {**BATCHES["errors"], 413: "The body is over 16 MiB."}},
    )
    def post(self, request: Request) -> HttpResponse:
        principal = principal_of(request)
        batch = read_payloads(request.data)

        def accept(drafts: list[InferenceDraft | ToolDraft]) -> list[Outcome]:
            calls = [draft for draft in drafts if isinstance(draft, InferenceDraft)]
            tools = [draft for draft in drafts if isinstance(draft, ToolDraft)]
            of_calls = iter(
                accept_inference(calls, source=InferenceEvent.Source.LITELLM, principal=principal)
            )
            of_tools = iter(accept_tools(tools, principal=principal))
            return [
                next(of_calls if isinstance(draft, InferenceDraft) else of_tools)
                for draft in drafts
            ]

        return answer(*batch.take_in(accept))


def read_payloads(parts: Any) -> "Batch[Any]":
    """Raises BadRequest."""
    if not isinstance(parts, Iterator):
        raise BadRequest("the body must be JSON")
    found = litellm.payloads(parts)
    try:
        batch: Batch[Any] = Batch(*litellm.drafts_of(islice(found, MOST)))
        if next(found, None) is not None:
            raise BadRequest(f"expected at most {MOST} payloads")
    except litellm.BadCallback as error:
        raise BadRequest(str(error)) from None
    return batch
