"""What the endpoint for OpenTelemetry looks like to a reader of the schema."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema

from opslog.api.schema import DENIAL, EITHER_HEADER, example
from opslog.api.telemetry_schema import ENCODING

JSON, PROTOBUF = "application/json", "application/x-protobuf"
# (In the JSON of protobuf null is what was left out.)
OBJECTS = {"type": "array", "items": {"type": "object"}, "nullable": True}
EXPORT = {
    "type": "object",
    "description": "ExportTraceServiceRequest of OTLP 1, as protobuf's JSON with ids in hex. What "
    "is not known is passed over.",
    "properties": {
        "resourceSpans": {
            "type": "array",
            "nullable": True,
            "items": {
                "type": "object",
                "properties": {
                    "resource": {
                        "type": "object",
                        "properties": {"attributes": OBJECTS},
                        "nullable": True,
                    },
                    "scopeSpans": {
                        "type": "array",
                        "nullable": True,
                        "items": {"type": "object", "properties": {"spans": OBJECTS}},
                    },
                },
            },
        }
    },
}
TAKEN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "partialSuccess": {
            "type": "object",
            "properties": {
                "rejectedSpans": {"type": "string", "description": "A 64-bit number."},
                "errorMessage": {"type": "string"},
            },
        }
    },
    "additionalProperties": False,
}
STATUS: dict[str, Any] = {
    "type": "object",
    "description": "google.rpc.Status",
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
    "required": ["code", "message"],
}
BINARY = {"type": "string", "format": "binary"}
ERRORS = {
    400: "The body is no export of spans, or it is compressed badly. Not to be sent again.",
    401: "No token, or one that is unknown, expired or revoked.",
    403: "The token may not be used for this.",
    413: "The body is over 5 MiB, as sent or inflated.",
    415: "The body is neither protobuf nor JSON, or compressed otherwise than by gzip.",
    503: "The database did not answer: send it again, as exporters do.",
}


def in_both(status: int, description: str, shape: dict[str, Any]) -> dict[Any, OpenApiResponse]:
    return {
        (status, JSON): OpenApiResponse(shape, description=description),
        (status, PROTOBUF): OpenApiResponse(BINARY, description=description),
    }


def span(name: str, **attributes: Any) -> dict[str, Any]:
    def value(of: Any) -> dict[str, Any]:
        return {"intValue": str(of)} if isinstance(of, int) else {"stringValue": of}

    return {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": name,
        "kind": 3,
        "attributes": [
            {"key": key.replace("__", "."), "value": value(of)} for key, of in attributes.items()
        ],
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
    request={JSON: EXPORT, PROTOBUF: BINARY},
    parameters=[ENCODING, DENIAL],
    responses={
        **in_both(200, "Taken in. Without `partialSuccess`: all of it.", TAKEN),
        **{
            key: told
            for status, description in ERRORS.items()
            for key, told in in_both(status, description, STATUS).items()
        },
    },
    examples=[
        example(
            "One call of a model",
            {
                "resourceSpans": [
                    {
                        "resource": {
                            "attributes": [
                                {"key": "service.name", "value": {"stringValue": "editor"}}
                            ]
                        },
                        "scopeSpans": [
                            {
                                "spans": [
                                    span(
                                        "chat gpt-4o-mini",
                                        gen_ai__operation__name="chat",
                                        gen_ai__request__model="gpt-4o-mini",
                                        gen_ai__usage__input_tokens=1200,
                                        gen_ai__usage__output_tokens=150,
                                        tollgate__feature="summary",
                                    )
                                ]
                            }
                        ],
                    }
                ]
            },
            request_only=True,
            media_type=JSON,
        )
    ],
)
