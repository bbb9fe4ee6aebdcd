"""Bodies of OTLP over HTTP, in protobuf and in JSON, as messages. Pure."""

import json
import math
import re
from base64 import b64encode
from functools import cache
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HEX_IDS: Final = ("traceId", "spanId", "parentSpanId")
IS_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*\Z")


class BadExport(ValueError):
    """A body that is no export of spans; the message says why."""


def from_protobuf(body: bytes) -> ExportTraceServiceRequest:
    """Raises BadExport."""
    try:
        request: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise BadExport("the body is no ExportTraceServiceRequest in protobuf") from None
    return request


def from_json(body: bytes) -> ExportTraceServiceRequest:
    """Raises BadExport. Fields that are not known are passed over, as OTLP asks."""
    try:
        parsed = json.loads(body, parse_float=_double, parse_constant=str)
    except (ValueError, RecursionError):
        raise BadExport("the body is not JSON in UTF-8") from None
    if not isinstance(parsed, dict):
        raise BadExport("the body must be one JSON object")
    try:
        request = ExportTraceServiceRequest()
        _only_objects(parsed, request.DESCRIPTOR)
        _ids_in_base64(parsed)
        json_format.ParseDict(parsed, request, ignore_unknown_fields=True)
    except (
        json_format.ParseError,
        RecursionError,
        ArithmeticError,
        ValueError,
        TypeError,
    ) as error:
        problem = str(error).splitlines()[0][:200] if str(error) else "it is nested too deeply"
        raise BadExport(f"the body is no ExportTraceServiceRequest in JSON: {problem}") from None
    return request


def _double(digits: str) -> float | str:
    """As protobuf's JSON wants it: what is not finite in quotes, or it would refuse all spans for
    the one that has it (`parse_constant` does so for NaN)."""
    number = float(digits)
    return number if math.isfinite(number) else str(number).replace("inf", "Infinity")


def _only_objects(message: dict[str, Any], kind: Descriptor) -> None:
    """Where protobuf has a message JSON has an object. Its parser takes a text for one, too, whose
    letters are names of fields that it does not know, and passes them over."""
    for name, inner in _messages_of(kind).items():
        value = message.get(name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                _only_objects(each, inner)
            elif each is not None:
                raise BadExport(f"{name}: expected objects")


@cache
def _messages_of(kind: Descriptor) -> dict[str, Descriptor]:
    """Its fields that are messages, by both names that JSON may have for them."""
    return {
        name: field.message_type
        for field in kind.fields
        if field.message_type is not None
        for name in (field.json_name, field.name)
    }


def _ids_in_base64(message: dict[str, Any]) -> None:
    """OTLP writes ids in hex, where protobuf's own JSON reads base64, without an error and wrong.

    Only in the ids of spans and links: an attribute may be called `traceId`, too.
    """
    for of_resource in _listed(message, "resourceSpans"):
        for of_scope in _listed(of_resource, "scopeSpans"):
            for span in _listed(of_scope, "spans"):
                for holder in (span, *_listed(span, "links")):
                    for name in HEX_IDS:
                        if (text := holder.get(name)) is None:
                            continue
                        if not isinstance(text, str) or not IS_HEX.match(text):
                            raise BadExport(f"{name}: expected hexadecimal digits")
                        holder[name] = b64encode(bytes.fromhex(text)).decode()


def _listed(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise BadExport(f"{name}: expected an array of objects")
    return found
