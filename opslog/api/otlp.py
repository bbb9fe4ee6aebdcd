"""`POST /v1/traces`: spans as any OpenTelemetry exporter sends them (OTLP over HTTP).

What an exporter understands differs from the rest of the API: answers and errors come in the
encoding of the request, an error as google.rpc.Status, and spans that were refused as a partial
success, which no exporter sends again.
"""

from collections.abc import Sequence
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
from opslog.api.batches import BatchParser, is_gzip
from opslog.api.errors import BadRequest
from opslog.api.otlp_schema import JSON, PROTOBUF
from opslog.api.requests import principal_of
from opslog.telemetry import traces
from opslog.telemetry.otlp import BadExport, Unread, from_json, from_protobuf, read_spans

CODES = {401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 413: RESOURCE_EXHAUSTED, 503: UNAVAILABLE}
REASONS_TOLD = 5
NAMES_TOLD = 5


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
        refused = spans.refused + traces.write(spans, principal=principal_of(request))
        refused += [not_understood(each) for each in spans.unread if each.lost]
        # No span is rejected for it, but part of its usage was not read.
        warned = [not_understood(each) for each in spans.unread if not each.lost]
        answer = ExportTraceServiceResponse()
        if refused or warned:
            answer.partial_success.rejected_spans = len(refused)
            answer.partial_success.error_message = partial_message([*refused, *warned])
        return encoded(request, answer, 200)

    def handle_exception(self, exc: Exception) -> Response:
        """In the shape of OTLP; headers as everywhere."""
        response = super().handle_exception(exc)
        status = Status(
            code=CODES.get(
                response.status_code, INTERNAL if response.status_code > 499 else INVALID_ARGUMENT
            ),
            message=str(response.data["error"]),
        )
        answer = encoded(self.request, status, response.status_code)
        for name, value in response.headers.items():
            if name != "Content-Type":
                answer.headers[name] = value
        return answer  # type: ignore[return-value]  # DRF lets any HttpResponse pass


def not_understood(span: Unread) -> str:
    names = ", ".join(span.names[:NAMES_TOLD])
    return f"span {span.span_name[:80]}: no known convention has {names}"


def partial_message(refused: Sequence[str]) -> str:
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
