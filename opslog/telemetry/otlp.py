"""Spans of OpenTelemetry as drafts of model calls and tool calls. Pure.

The names are those of OpenTelemetry's conventions for generative AI (`gen_ai.*`), the current ones
first and then those that older instrumentations still send. What is Tollgate's own (feature,
trigger, work order, run) stands in attributes `tollgate.*`, on the span or, for all spans of a
program, on its resource. Every other span is none of ours: passed over, not refused.
"""

import json
import math
import re
from base64 import b64encode
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Final
from uuid import UUID

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from msgspec import structs
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from opslog.telemetry.drafts import InferenceDraft, ToolDraft, shortened
from opslog.telemetry.loops import Askers, ModelStep, ToolStep, attempts

Attributes = Mapping[str, Any]

CALLS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
TOOLS: Final = frozenset({"execute_tool"})
# Of the agent as a whole: the calls within it are spans of their own, and would count twice.
ENCLOSING: Final = frozenset(
    {"create_agent", "invoke_agent", "invoke_workflow", "retrieval", "evaluation"}
)
MODEL: Final = ("gen_ai.response.model", "gen_ai.request.model")
PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system")
INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
CACHED: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.cached_tokens",
)
WRITTEN: Final = (
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.input_tokens.cache_write",
)
REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.output_tokens.reasoning",
)
COST: Final = ("tollgate.cost_usd", "gen_ai.usage.cost")
USER: Final = ("tollgate.user_id", "user.id", "enduser.id", "gen_ai.user.id")
SESSION: Final = ("tollgate.session_id", "gen_ai.conversation.id", "session.id")
AGENT: Final = ("tollgate.agent_name", "gen_ai.agent.name")
SURFACE: Final = ("tollgate.surface", "service.name")
WORK_ORDER: Final = ("tollgate.wo_id", "tollgate.work_order_id")
USER_AGENT: Final = ("tollgate.user_agent", "user_agent.original")
RETRIES: Final = ("tollgate.retries",)
UNKNOWN: Final = "unknown"  # a call whose model or tool was not told is a call all the same
HIGHEST: Final = 20  # spans around a tool that are looked at
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
HEX_IDS: Final = ("traceId", "spanId", "parentSpanId")
IS_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*\Z")


class BadExport(ValueError):
    """A body that is no export of spans; the message says why."""


@dataclass(slots=True)
class Spans:
    """What an export holds for us. `refused`: one reason for each span of ours that is no good."""

    calls: list[InferenceDraft] = field(default_factory=list)
    tools: list[ToolDraft] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    ignored: int = 0


Place = tuple[bytes, bytes]  # trace id and span id


@dataclass(slots=True)
class Seen:
    """What shows the loops of an export. `enclosing`: spans that are none of ours, and their
    parents."""

    enclosing: dict[Place, Place] = field(default_factory=dict)
    models: dict[Place, ModelStep] = field(default_factory=dict)
    tools: list[tuple[Span, Attributes, ToolDraft]] = field(default_factory=list)


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
        told = json.loads(body, parse_float=_double, parse_constant=str)
    except (ValueError, RecursionError):
        raise BadExport("the body is not JSON in UTF-8") from None
    if not isinstance(told, dict):
        raise BadExport("the body must be one JSON object")
    try:
        request = ExportTraceServiceRequest()
        _only_objects(told, request.DESCRIPTOR)
        _ids_in_base64(told)
        json_format.ParseDict(told, request, ignore_unknown_fields=True)
    except (
        json_format.ParseError,
        RecursionError,
        ArithmeticError,
        ValueError,
        TypeError,
    ) as error:
        said = str(error).splitlines()[0][:200] if str(error) else "it is nested too deeply"
        raise BadExport(f"the body is no ExportTraceServiceRequest in JSON: {said}") from None
    return request


def _double(digits: str) -> float | str:
    """As protobuf's JSON wants it: what is not finite in quotes, or it would refuse all spans for
    the one that has it (`parse_constant` does so for NaN)."""
    number = float(digits)
    return number if math.isfinite(number) else str(number).replace("inf", "Infinity")


def _only_objects(told: dict[str, Any], kind: Descriptor) -> None:
    """Where protobuf has a message JSON has an object. Its parser takes a text for one, too, whose
    letters are names of fields that it does not know, and passes them over."""
    for name, inner in _messages_of(kind).items():
        value = told.get(name)
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


def _ids_in_base64(told: dict[str, Any]) -> None:
    """OTLP writes ids in hex, where protobuf's own JSON reads base64, without an error and wrong.

    Only in the ids of spans and links: an attribute may be called `traceId`, too.
    """
    for of_resource in _listed(told, "resourceSpans"):
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


def read_spans(request: ExportTraceServiceRequest) -> Spans:
    """The drafts of an export, each with the ids of its span as its event id: an export that is
    sent again is the same events."""
    spans, seen = Spans(), Seen()
    for span, resource, told in _all_spans(request):
        kind = kind_of(told)
        attributes = {**resource, **told}
        if not kind:
            spans.ignored += 1
            if "gen_ai.operation.name" not in told:
                seen.enclosing[span.trace_id, span.span_id] = _parent(span)
            continue
        try:
            event_id = event_id_of(span)
            if kind == "model":
                spans.calls.append(_model_call(span, attributes, event_id))
                if told.get("gen_ai.operation.name") != "embeddings":
                    seen.models[span.trace_id, span.span_id] = ModelStep(
                        _parent(span), event_id, span.start_time_unix_nano
                    )
            else:
                seen.tools.append((span, attributes, _tool_call(span, attributes, event_id)))
        except ValueError as error:
            spans.refused.append(f"span {span.span_id.hex() or '(no id)'}: {error}")
    spans.tools = _in_their_loops(seen)
    return spans


def _parent(span: Span) -> Place:
    return span.trace_id, span.parent_span_id


def _in_their_loops(seen: Seen) -> list[ToolDraft]:
    """The calls of tools with who asked for them, and the attempts before them that were seen."""
    askers = Askers(seen.models.values())
    drafts, steps = [], []
    for span, attributes, draft in seen.tools:
        loop, asker = _loop_of(span, seen, askers)
        drafts.append(structs.replace(draft, inference_event_id=asker))
        if draft.event_id and span.start_time_unix_nano and draft.tool_name != UNKNOWN:
            steps.append(
                ToolStep(
                    loop,
                    draft.event_id,
                    draft.tool_name,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano or span.start_time_unix_nano,
                    not draft.success,
                    draft.retries if _text(attributes, RETRIES) else None,
                )
            )
    before = attempts(steps)
    return [
        structs.replace(draft, retries=before.get(draft.event_id or "", draft.retries))
        for draft in drafts
    ]


def _loop_of(span: Span, seen: Seen, askers: Askers) -> tuple[Hashable, str | None]:
    """The parent of the loop that a tool was called in, and the event id of the model call that
    asked for it: its parent, or the last one before it among its siblings or those of a span
    around it that is no agent's, no model's and no tool's ("running tools")."""
    around = parent = _parent(span)
    for _ in range(HIGHEST):
        if model := seen.models.get(around):
            return model.loop, model.event_id
        if asker := askers.of(around, span.start_time_unix_nano):
            return around, asker
        if around not in seen.enclosing:
            break
        around = seen.enclosing[around]
    return parent, None


def kind_of(attributes: Attributes) -> str:
    """ "model", "tool", or "" for a span that is none of ours."""
    operation = attributes.get("gen_ai.operation.name")
    if operation in ENCLOSING:
        return ""
    if operation in TOOLS or (not operation and attributes.get("gen_ai.tool.name")):
        return "tool"
    if operation in CALLS or any(name in attributes for name in (*MODEL, *INPUT, *OUTPUT)):
        return "model"
    return ""


def event_id_of(span: Span) -> str:
    """Trace id and span id. Raises ValueError without them: it could not be sent again safely."""
    for name, found, length in (("traceId", span.trace_id, 16), ("spanId", span.span_id, 8)):
        if len(found) != length or not any(found):
            raise ValueError(f"{name}: expected {length} bytes that are not all zero")
    return f"{span.trace_id.hex()}:{span.span_id.hex()}"


def _model_call(span: Span, attributes: Attributes, event_id: str) -> InferenceDraft:
    tokens = [_tokens(attributes, names) for names in (INPUT, OUTPUT, CACHED, WRITTEN, REASONING)]
    input_tokens, output_tokens, cached, written, reasoning = tokens
    # The parts are part of the whole. Some instrumentations pass on what a provider says that
    # counts them beside it: then, and only then, they are added.
    if cached + written > input_tokens:
        input_tokens += cached + written
    if reasoning > output_tokens:
        output_tokens += reasoning
    return shortened(
        InferenceDraft,
        event_id=event_id,
        created_at=_began(span),
        model=_text(attributes, MODEL) or UNKNOWN,
        provider=_text(attributes, PROVIDER),
        user_id=_text(attributes, USER),
        feature=_text(attributes, ("tollgate.feature",)),
        trigger_type=_text(attributes, ("tollgate.trigger_type",)),
        input_tokens=input_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=output_tokens,
        reasoning_tokens=reasoning,
        cost_usd=_cost(attributes),
        success=_worked(span, attributes),
        run_id=_run_id(attributes),
        work_order_id=_text(attributes, WORK_ORDER),
        agent_name=_text(attributes, AGENT),
        session_id=_text(attributes, SESSION),
        surface=_text(attributes, SURFACE),
        user_agent=_text(attributes, USER_AGENT),
    )


def _tool_call(span: Span, attributes: Attributes, event_id: str) -> ToolDraft:
    lasted = (span.end_time_unix_nano - span.start_time_unix_nano) // 1_000_000
    known = span.start_time_unix_nano and lasted >= 0
    return shortened(
        ToolDraft,
        event_id=event_id,
        created_at=_began(span),
        tool_name=_text(attributes, ("gen_ai.tool.name",))
        or span.name.removeprefix("execute_tool").strip()
        or UNKNOWN,
        success=_worked(span, attributes),
        retries=_tokens(attributes, RETRIES),
        duration_ms=lasted if known else None,
        run_id=_run_id(attributes),
        work_order_id=_text(attributes, WORK_ORDER),
        user_id=_text(attributes, USER),
        feature=_text(attributes, ("tollgate.feature",)),
        agent_name=_text(attributes, AGENT),
        session_id=_text(attributes, SESSION),
    )


def _all_spans(
    request: ExportTraceServiceRequest,
) -> Iterator[tuple[Span, dict[str, Any], dict[str, Any]]]:
    for of_resource in request.resource_spans:
        resource = _plain(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield span, resource, _plain(span.attributes)


def _plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    """Attributes with a value of one piece. Lists and maps say nothing that is kept here."""
    return {each.key: value for each in attributes if (value := _value(each)) is not None}


def _value(attribute: KeyValue) -> str | bool | int | float | None:
    value: AnyValue = attribute.value
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
    return None


def _text(attributes: Attributes, names: tuple[str, ...]) -> str | None:
    for name in names:
        if (value := attributes.get(name)) not in (None, ""):
            return str(value)
    return None


def _tokens(attributes: Attributes, names: tuple[str, ...]) -> int:
    """A whole number, also where it was sent as a text or with a point. Raises ValueError."""
    for name in names:
        value = attributes.get(name)
        if value in (None, ""):
            continue
        try:
            number = Decimal(str(value))
            # In this order: the whole of 1e999999999 would not fit into memory.
            if number.is_finite() and 0 <= number <= 10**15 and number == int(number):
                return int(number)
        except (InvalidOperation, OverflowError):
            pass
        raise ValueError(f"{name}: expected a whole number that is not negative")
    return 0


def _cost(attributes: Attributes) -> Decimal | None:
    told = _text(attributes, COST)
    if told is None:
        return None
    try:
        return Decimal(told)
    except InvalidOperation:
        raise ValueError("cost: expected US dollars") from None


def _run_id(attributes: Attributes) -> UUID | None:
    told = _text(attributes, ("tollgate.run_id",))
    if told is None:
        return None
    try:
        return UUID(told)
    except ValueError:
        raise ValueError("tollgate.run_id: expected a UUID") from None


def _began(span: Span) -> datetime | None:
    """When the span began. None, for now, where no clock was read."""
    nanoseconds = span.start_time_unix_nano or span.end_time_unix_nano
    if not nanoseconds:
        return None
    try:
        return EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        raise ValueError("startTimeUnixNano: no moment that has a name") from None


def _worked(span: Span, attributes: Attributes) -> bool:
    failed: bool = span.status.code == Status.STATUS_CODE_ERROR
    return not failed and not attributes.get("error.type")
