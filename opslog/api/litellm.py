"""`POST /api/litellm-callback`: what a LiteLLM proxy's generic callback sends."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.views import APIView

from opslog.api.batches import Batch, parts_of
from opslog.api.errors import BadRequest
from opslog.api.requests import principal_of
from opslog.api.schema import DENIAL, EITHER_HEADER, ERROR, example, said
from opslog.api.telemetry import answer
from opslog.api.telemetry_schema import ENCODING, RESPONSES
from opslog.models import InferenceEvent
from opslog.telemetry import litellm
from opslog.telemetry.accepting import MOST, Outcome, accept_inference, accept_tools
from opslog.telemetry.drafts import InferenceDraft, ToolDraft

MAX_CALLBACK = 16 * 1024 * 1024  # bytes, as sent and inflated; the proxy sends 512 at once

PAYLOAD = {
    "type": "object",
    "description": "StandardLoggingPayload. More fields than these are passed over.",
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "startTime": {"type": "number", "description": "Seconds since 1970."},
        "endTime": {"type": "number", "description": "Seconds since 1970."},
        "call_type": {"type": "string"},
        "model": {"type": "string"},
        "custom_llm_provider": {"type": ["string", "null"]},
        "status": {"type": "string", "enum": ["success", "failure"]},
        "prompt_tokens": {"type": "integer", "minimum": 0},
        "completion_tokens": {"type": "integer", "minimum": 0},
        "response_cost": {"type": ["number", "null"]},
        "end_user": {"type": ["string", "null"]},
        "trace_id": {"type": "string"},
        "request_tags": {"type": "array", "items": {"type": "string"}},
        "metadata": {"type": "object"},
    },
    "required": ["id"],
}


class PartsParser(BaseParser):
    """Hands the body over in parts, so that it is never in memory as a whole."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return parts_of(stream, parser_context["request"], most=MAX_CALLBACK)


class LiteLLMCallbackView(APIView):
    required_scope = "ingest"
    parser_classes = (PartsParser,)

    @extend_schema(
        auth=EITHER_HEADER,
        operation_id="litellm_callback",
        summary="Take what a LiteLLM proxy logs",
        description="The proxy's `generic_api` callback in any of its formats (`json_array`, "
        "`ndjson`, `single`), up to 1,000 payloads, each accepted or refused by itself. Calls of "
        "MCP tools become tool calls, all others calls of models. Messages and responses are not "
        "kept. Sending a payload again is safe.",
        tags=["telemetry"],
        request={
            "application/json": {
                # Anything may be in it: each is judged by itself, and read for what it has.
                "anyOf": [
                    PAYLOAD,
                    {"type": "object"},
                    {"type": "array", "maxItems": MOST, "items": {"anyOf": [PAYLOAD, {}]}},
                ]
            }
        },
        parameters=[ENCODING, DENIAL],
        responses={**RESPONSES, 413: said("The body is over 16 MiB, as sent or inflated.", ERROR)},
        examples=[
            example(
                "A batch of one",
                [
                    {
                        "id": "chatcmpl-9Zq",
                        "trace_id": "0c6b1b5e",
                        "call_type": "acompletion",
                        "status": "failure",
                        "model": "gpt-4o-mini",
                    }
                ],
                request_only=True,
            )
        ],
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
