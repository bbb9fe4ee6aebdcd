"""`POST /v1/traces`: spans as any OpenTelemetry exporter sends them (OTLP over HTTP).

What an exporter understands differs from the rest of the API: answers and errors come in the
encoding of the request, an error as google.rpc.Status, and spans that were refused as a partial
success, which no exporter sends again.
"""

from collections.abc import Callable, Sequence
from typing import Any

from django.http import HttpResponse
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.code_pb2 import (
    INTERNAL,
    INVALID_ARGUMENT,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
)
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from opslog.api import otlp_schema as schema
from opslog.api.batches import BatchParser, is_gzip, speaker_of
from opslog.api.errors import BadRequest
from opslog.models import InferenceEvent
from opslog.telemetry.accepting import (
    MOST,
    Outcome,
    Speaker,
    accept_inference,
    accept_tools,
)
from opslog.telemetry.accepting import Status as Fate
from opslog.telemetry.drafts import InferenceDraft, ToolDraft
from opslog.telemetry.otlp import BadExport, Spans, from_json, from_protobuf, read_spans

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
CODES = {401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 413: RESOURCE_EXHAUSTED, 503: UNAVAILABLE}
REASONS_TOLD = 5


class ProtobufParser(BatchParser):
    media_type = PROTOBUF


class TracesView(APIView):
    required_scope = "ingest"
    parser_classes = (ProtobufParser, BatchParser)

    @schema.traces
    def post(self, request: Request) -> HttpResponse:
        is_gzip(request)  # of no content, too, which no parser sees
        data: Any = request.data
        body = data if isinstance(data, bytes) else b""  # no content at all: an export of nothing
        try:
            export = from_json(body or b"{}") if is_json(request) else from_protobuf(body)
        except BadExport as error:
            raise BadRequest(str(error)) from None
        spans = read_spans(export)
        refused = spans.refused + take_in(spans, speaker_of(request))
        answer = ExportTraceServiceResponse()
        if refused:
            answer.partial_success.rejected_spans = len(refused)
            answer.partial_success.error_message = said(refused)
        return encoded(request, answer, 200)

    def handle_exception(self, exc: Exception) -> Response:
        """In the shape of OTLP; headers as everywhere."""
        told = super().handle_exception(exc)
        status = Status(
            code=CODES.get(
                told.status_code, INTERNAL if told.status_code > 499 else INVALID_ARGUMENT
            ),
            message=str(told.data["error"]),
        )
        answer = encoded(self.request, status, told.status_code)
        for name, value in told.headers.items():
            if name != "Content-Type":
                answer.headers[name] = value
        return answer  # type: ignore[return-value]  # DRF lets any HttpResponse pass


def take_in(spans: Spans, speaker: Speaker) -> list[str]:
    """Why some were refused. A thousand a transaction: where a later one fails, the exporter sends
    all of them again, and those that are written are known by their ids."""

    def accept_calls(drafts: Sequence[InferenceDraft]) -> list[Outcome]:
        return accept_inference(drafts, source=InferenceEvent.Source.OTLP, speaker=speaker)

    def accept_tool_calls(drafts: Sequence[ToolDraft]) -> list[Outcome]:
        return accept_tools(drafts, speaker=speaker)

    return [
        f"span {outcome.event_id.partition(':')[2]}: {outcome.reason}"
        for outcome in (
            *in_portions(spans.calls, accept_calls),
            *in_portions(spans.tools, accept_tool_calls),
        )
        if outcome.status is Fate.REFUSED
    ]


def in_portions(
    drafts: list[Any], accept: Callable[[Sequence[Any]], list[Outcome]]
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for start in range(0, len(drafts), MOST):
        outcomes += accept(drafts[start : start + MOST])
    return outcomes


def said(refused: Sequence[str]) -> str:
    more = len(refused) - REASONS_TOLD
    return "; ".join(refused[:REASONS_TOLD]) + (f"; and {more} more" if more > 0 else "")


def is_json(request: Any) -> bool:
    sent: str = request.META.get("CONTENT_TYPE", "")
    return sent.partition(";")[0].strip().lower() == JSON


def encoded(request: Any, message: Message, status: int) -> HttpResponse:
    """In the encoding of the request; protobuf where that was neither."""
    if is_json(request):
        body: bytes = json_format.MessageToJson(message, indent=None).encode()
        return HttpResponse(body, status=status, content_type=JSON)
    return HttpResponse(message.SerializeToString(), status=status, content_type=PROTOBUF)
