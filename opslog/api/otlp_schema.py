"""What the endpoint for OpenTelemetry looks like to a reader of the schema; protobuf renders it."""

from typing import Annotated, Any

import msgspec
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from msgspec import UNSET, Meta, UnsetType

from opslog.api.schema import DENIAL, EITHER_HEADER, ref
from opslog.api.telemetry import ENCODING

JSON, PROTOBUF = "application/json", "application/x-protobuf"
Objects = list[dict[str, Any]]
BINARY = {"type": "string", "format": "binary"}


# (In the JSON of protobuf null is what was left out.)
class Resource(msgspec.Struct):
    attributes: Objects | None = None


class ScopeSpans(msgspec.Struct):
    spans: Objects | None = None


class ResourceSpans(msgspec.Struct, rename="camel"):
    resource: Resource | None = None
    scope_spans: list[ScopeSpans] | None = None


class Export(msgspec.Struct, rename="camel"):
    """ExportTraceServiceRequest of OTLP 1, as protobuf's JSON with ids in hex. What is not known is
    passed over."""

    resource_spans: list[ResourceSpans] | None = None


class PartialSuccess(msgspec.Struct, rename="camel"):
    rejected_spans: Annotated[str, Meta(description="A 64-bit number.")] | UnsetType = UNSET
    error_message: str | UnsetType = UNSET


class Exported(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    partial_success: PartialSuccess | UnsetType = UNSET


class Status(msgspec.Struct):
    """google.rpc.Status"""

    code: int
    message: str


ERRORS = {
    400: "The body is no export of spans, or it is compressed badly. Not to be sent again.",
    401: "No token, or one that is unknown, expired or revoked.",
    403: "The token may not be used for this.",
    413: "The body is over 5 MiB, as sent or inflated.",
    415: "The body is neither protobuf nor JSON, or compressed otherwise than by gzip.",
    503: "The database did not answer: send it again, as exporters do.",
}
ANSWERS: dict[int, tuple[str, type[msgspec.Struct]]] = {
    200: ("Taken in. Without `partialSuccess`: all of it.", Exported),
    **{status: (text, Status) for status, text in ERRORS.items()},
}
ATTRIBUTES = {
    "gen_ai.operation.name": {"stringValue": "chat"},
    "gen_ai.request.model": {"stringValue": "gpt-4o-mini"},
    "gen_ai.usage.input_tokens": {"intValue": "1200"},
    "gen_ai.usage.output_tokens": {"intValue": "150"},
    "tollgate.feature": {"stringValue": "summary"},
}
SPAN = {
    "traceId": "5b8efff798038103d269b633813fc60c",
    "spanId": "eee19b7ec3c1b174",
    "name": "chat gpt-4o-mini",
    "kind": 3,
    "attributes": [{"key": key, "value": value} for key, value in ATTRIBUTES.items()],
}

traces = extend_schema(
    auth=EITHER_HEADER,
    operation_id="otlp_traces",
    summary="Take spans of OpenTelemetry",
    description="OTLP over HTTP, in protobuf or JSON, for any exporter: calls of models and tools "
    "become telemetry, by the names of OpenTelemetry's conventions and of the usual libraries; a "
    "call is the innermost span with usage, also across exports. Other spans are passed over. "
    "Sending an export again is safe. Spans that cannot be taken, or that look like calls and are "
    "not understood, are counted and named in `partialSuccess`; the others are written.",
    tags=["telemetry"],
    request={JSON: ref(Export), PROTOBUF: BINARY},
    parameters=[ENCODING, DENIAL],
    responses={
        (status, media_type): OpenApiResponse(shape, description=text)
        for status, (text, kind) in ANSWERS.items()
        for media_type, shape in ((JSON, ref(kind)), (PROTOBUF, BINARY))
    },
    examples=[
        OpenApiExample(
            "One call of a model",
            value={"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]},
            request_only=True,
            media_type=JSON,
        )
    ],
)
