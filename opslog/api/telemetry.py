"""The endpoints that take calls of models and tools. A view parses, calls, renders."""

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from opslog.api import telemetry_schema as schema
from opslog.api.batches import BatchParser, read_batch
from opslog.api.requests import principal_of
from opslog.models import InferenceEvent
from opslog.telemetry.accepting import accept_inference, accept_tools
from opslog.telemetry.drafts import InferenceDraft, ToolDraft

INFERENCE = msgspec.json.Decoder(InferenceDraft)
TOOL = msgspec.json.Decoder(ToolDraft)


def answer(status: int, body: object) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(body), status=status, content_type="application/json")


class InferenceEventsView(APIView):
    required_scope = "ingest"
    parser_classes = (BatchParser,)

    @schema.inference_events
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

    @schema.tool_calls
    def post(self, request: Request) -> HttpResponse:
        principal = principal_of(request)
        batch = read_batch(TOOL, request.data)
        return answer(*batch.take_in(lambda drafts: accept_tools(drafts, principal=principal)))
