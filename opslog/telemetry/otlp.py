"""Spans of OpenTelemetry as drafts of model calls and tool calls. Pure.

What attributes mean stands in `conventions`, which spans count in `structure`. What is Tollgate's
own (feature, trigger, work order, run) stands in attributes `tollgate.*`: on the span, on a span
around it or, for all spans of a program, on its resource. Every other span is passed over.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import structs
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from opslog.telemetry import structure
from opslog.telemetry.conventions import Meaning, Role
from opslog.telemetry.counting import tier_of, usage_of
from opslog.telemetry.drafts import InferenceDraft, ToolDraft, shortened
from opslog.telemetry.loops import Askers, ModelStep, ToolStep, attempts
from opslog.telemetry.otlp_bodies import BadExport, from_json, from_protobuf
from opslog.telemetry.reading import Facts, read
from opslog.telemetry.structure import Node

__all__ = ["BadExport", "Call", "Spans", "from_json", "from_protobuf", "read_spans"]

UNKNOWN: Final = "unknown"  # a call whose model or tool is not known is a call all the same
HIGHEST: Final = 20  # spans around a tool that are looked at
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MOST_ID: Final = 200
# What holds for all within a span.
CONTEXT: Final = {
    Meaning.USER: "user_id",
    Meaning.SESSION: "session_id",
    Meaning.AGENT: "agent_name",
    Meaning.FEATURE: "feature",
    Meaning.TRIGGER: "trigger_type",
    Meaning.WORK_ORDER: "work_order_id",
    Meaning.RUN: "run_id",
}
FROM_OTHERS: Final = (*CONTEXT.values(), "surface", "user_agent", "sender_cost_usd")
OF_TOOLS: Final = frozenset(CONTEXT.values()) - {"trigger_type"}

Place = tuple[bytes, bytes]  # trace id and span id


@dataclass(frozen=True, slots=True)
class Call:
    """A span that may be a call. `response_id`: the provider's; the same one is the same call.
    `detail`: of two spans of one call the one with more of it is taken."""

    draft: InferenceDraft
    response_id: str = ""
    detail: int = 0


@dataclass(frozen=True, slots=True)
class Unread:
    """A span that looks like a call, or has usage, and is not understood: its instrumentation
    and the names of the attributes. `lost`: nothing of it is counted."""

    scope: str
    span_name: str
    names: tuple[str, ...]
    lost: bool


@dataclass(slots=True)
class Spans:
    """What an export holds for us. `refused`: one reason for each span that is no good. `traces`:
    how all spans are nested, by trace; `candidates`: those that may be calls."""

    candidates: dict[Place, Call] = field(default_factory=dict)
    traces: dict[bytes, dict[bytes, Node]] = field(default_factory=dict)
    tools: list[ToolDraft] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    ignored: int = 0

    @property
    def calls(self) -> list[InferenceDraft]:
        """The calls that this export alone shows."""
        return [call.draft for call in once(self.counted().values(), self.candidates.values())]

    def counted(self) -> dict[Place, Call]:
        counted = {trace: structure.calls(nodes) for trace, nodes in self.traces.items()}
        return {
            place: call for place, call in self.candidates.items() if place[1] in counted[place[0]]
        }


@dataclass(slots=True)
class _Read:
    """A span as it was read, before it is known what is around it."""

    span: Span
    facts: Facts
    resource: Facts
    scope: str


def read_spans(request: ExportTraceServiceRequest) -> Spans:
    """The drafts of an export, each with the ids of its span as its event id: an export that is
    sent again is the same events."""
    spans = Spans()
    all_read: dict[Place, _Read] = {}
    good: list[tuple[Place, _Read]] = []
    for each in _all_spans(request):
        place = (each.span.trace_id, each.span.span_id)
        if _is_id(each.span.trace_id, 16) and _is_id(each.span.span_id, 8):
            all_read.setdefault(place, each)
            good.append((place, each))
        elif each.facts.role is Role.TOOL or _may_be_call(each.facts):
            spans.refused.append(
                f"span {each.span.span_id.hex() or '(no id)'}: {_no_id(each.span)}"
            )
        else:
            spans.ignored += 1
    tools: list[tuple[Place, ToolDraft, Facts]] = []
    for place, each in good:
        facts, node = each.facts, Node(each.span.parent_span_id)
        try:
            if facts.role is Role.TOOL:
                tools.append((place, _tool_call(each, all_read), facts))
                node = Node(node.parent, tool=True)
            elif _may_be_call(facts):
                spans.candidates[place] = _model_call(each, all_read)
                node = Node(
                    *(node.parent, False, True, facts.used),
                    says_call=facts.role is not Role.OTHER,
                )
            else:
                spans.ignored += 1
        except ValueError as error:
            spans.refused.append(f"span {place[1].hex()}: {error}")
        if facts.unread and facts.role not in (Role.UNPAID, Role.TOOL):
            names, lost = (
                tuple(sorted(facts.unread)),
                not node.call and facts.role is not Role.OTHER,
            )
            spans.unread.append(Unread(each.scope, each.span.name, names, lost))
            spans.ignored -= lost
        nodes = spans.traces.setdefault(place[0], {})
        if node.call or place[1] not in nodes:
            nodes[place[1]] = node
    spans.tools = _in_their_loops(tools, spans, all_read)
    return spans


def once(calls: Iterable[Call], all_seen: Iterable[Call] = ()) -> list[Call]:
    """Of several spans of one call the one with the most detail, with what the others say of whose
    it is, and what it cost their sender. `all_seen`: also those that are around it."""
    same: dict[str, list[Call]] = {}
    for call in all_seen:
        if call.response_id:
            same.setdefault(call.response_id, []).append(call)
    best: dict[str, Call] = {}
    for call in calls:
        key = f"response {call.response_id}" if call.response_id else f"span {call.draft.event_id}"
        if key not in best or call.detail > best[key].detail:
            best[key] = call
    return [_filled(call, same.get(call.response_id, ())) for call in best.values()]


def _filled(call: Call, others: Iterable[Call]) -> Call:
    missing = {
        name: value
        for name in FROM_OTHERS
        if getattr(call.draft, name) is None
        and (value := next((v for each in others if (v := getattr(each.draft, name))), None))
    }
    return replace(call, draft=structs.replace(call.draft, **missing)) if missing else call


def _may_be_call(facts: Facts) -> bool:
    """Whether a span has usage, or says that it is a call of some model."""
    if facts.role in (Role.UNPAID, Role.TOOL):
        return False
    if facts.used:
        return True
    return facts.role is not Role.OTHER and Meaning.MODEL in facts.values


def _is_id(found: bytes, length: int) -> bool:
    return len(found) == length and any(found)


def _no_id(span: Span) -> str:
    """Why it could not be sent again safely."""
    name, length = ("spanId", 8) if _is_id(span.trace_id, 16) else ("traceId", 16)
    return f"{name}: expected {length} bytes that are not all zero"


def _event_id(span: Span) -> str:
    return f"{span.trace_id.hex()}:{span.span_id.hex()}"


def _context(each: _Read, all_read: Mapping[Place, _Read]) -> dict[str, Any]:
    """Whose a call is: as the span says, else one around it, the nearest first, else the
    resource. Raises ValueError."""
    found: dict[Meaning, str] = {}
    around: _Read | None = each
    for _ in range(structure.HIGHEST):
        if around is None:
            break
        for meaning in CONTEXT:
            if meaning not in found and (text := around.facts.text(meaning)):
                found[meaning] = text
        around = all_read.get((around.span.trace_id, around.span.parent_span_id))
    context: dict[str, Any] = {
        name: found.get(meaning) or each.resource.text(meaning) for meaning, name in CONTEXT.items()
    }
    if context["run_id"]:
        try:
            context["run_id"] = UUID(context["run_id"])
        except ValueError:
            raise ValueError("tollgate.run_id: expected a UUID") from None
    return context


def _model_call(each: _Read, all_read: Mapping[Place, _Read]) -> Call:
    facts = each.facts
    model = facts.text(Meaning.MODEL) or UNKNOWN
    provider = facts.text(Meaning.PROVIDER) or each.resource.text(Meaning.PROVIDER)
    numbers = facts.numbers()
    usage = usage_of(numbers, facts.names, scope=each.scope, provider=provider or "", model=model)
    tier = tier_of(facts.text(Meaning.TIER))
    sides = [usage[side] for side in ("input_tokens", "output_tokens") if side in usage]
    cost, sender_cost = facts.costs(free=bool(sides) and not any(sides))
    draft = shortened(
        InferenceDraft,
        event_id=_event_id(each.span),
        created_at=_began(each.span),
        model=model,
        provider=provider,
        cost_usd=cost,
        sender_cost_usd=sender_cost,
        service_tier=tier,
        success=_worked(each.span),
        surface=facts.text(Meaning.SURFACE) or each.resource.text(Meaning.SURFACE),
        user_agent=facts.text(Meaning.USER_AGENT) or each.resource.text(Meaning.USER_AGENT),
        **usage,
        **_context(each, all_read),
    )
    detail = 100 * facts.used + sum(1 for number in numbers.values() if number) + bool(tier)
    response_id = facts.text(Meaning.RESPONSE_ID) or ""
    return Call(draft, response_id[:MOST_ID], detail + (cost is not None))


def _tool_call(each: _Read, all_read: Mapping[Place, _Read]) -> ToolDraft:
    span, facts = each.span, each.facts
    lasted = (span.end_time_unix_nano - span.start_time_unix_nano) // 1_000_000
    known = span.start_time_unix_nano and lasted >= 0
    context = _context(each, all_read)
    return shortened(
        ToolDraft,
        event_id=_event_id(span),
        created_at=_began(span),
        tool_name=facts.text(Meaning.TOOL)
        or span.name.removeprefix("execute_tool").strip()
        or UNKNOWN,
        success=_worked(span),
        retries=facts.numbers().get(Meaning.RETRIES, 0),
        duration_ms=lasted if known else None,
        **{name: context[name] for name in OF_TOOLS},
    )


def _in_their_loops(
    tools: list[tuple[Place, ToolDraft, Facts]], spans: Spans, all_read: Mapping[Place, _Read]
) -> list[ToolDraft]:
    """The calls of tools with who asked for them, and the attempts before them that were seen."""
    models = _model_steps(spans, all_read)
    askers = Askers(models.values())
    drafts, steps = [], []
    for place, draft, facts in tools:
        span = all_read[place].span
        loop, asker = _loop_of(span, models, askers, all_read)
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
                    draft.retries if Meaning.RETRIES in facts.values else None,
                )
            )
    before = attempts(steps)
    return [
        structs.replace(draft, retries=before.get(draft.event_id or "", draft.retries))
        for draft in drafts
    ]


def _model_steps(spans: Spans, all_read: Mapping[Place, _Read]) -> dict[Place, ModelStep]:
    """The calls, each also where a span stands that was around it and says that it is the call:
    tools stand beside that one."""
    steps: dict[Place, ModelStep] = {}
    counted = spans.counted()
    for place, call in counted.items():
        if _embeds(all_read[place]):
            continue
        around: Place | None = place
        while around is not None and around not in steps:
            span = all_read[around].span
            outer = (around[0], span.parent_span_id)
            begins = span.start_time_unix_nano
            steps[around] = ModelStep(outer, call.draft.event_id or "", begins)
            node = spans.traces[outer[0]].get(outer[1])
            around = outer if outer not in counted and node and node.says_call else None
    return steps


def _loop_of(
    span: Span,
    models: Mapping[Place, ModelStep],
    askers: Askers,
    all_read: Mapping[Place, _Read],
) -> tuple[Hashable, str | None]:
    """The parent of the loop that a tool was called in, and the event id of the model call that
    asked for it: its parent, or the last one before it among its siblings or those of a span
    around it that is no agent's and no tool's ("running tools")."""
    around = parent = (span.trace_id, span.parent_span_id)
    for _ in range(HIGHEST):
        if asker := askers.of(around, span.start_time_unix_nano):
            return around, asker
        if model := models.get(around):
            return model.loop, model.event_id
        if around not in all_read or all_read[around].facts.role is not None:
            break
        around = (around[0], all_read[around].span.parent_span_id)
    return parent, None


def _embeds(each: _Read) -> bool:
    """Embeddings ask for no tool."""
    texts = (each.span.name, each.facts.names.get(Meaning.MODEL, ""), each.facts.operation)
    return any("embed" in text.lower() for text in texts)


def _all_spans(request: ExportTraceServiceRequest) -> Iterator[_Read]:
    for of_resource in request.resource_spans:
        resource = read("", _plain(of_resource.resource.attributes))
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                scope = of_scope.scope.name
                facts = read(span.name, _plain(span.attributes), scope)
                yield _Read(span, facts, resource, scope)


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


def _began(span: Span) -> datetime | None:
    """When the span began. None, for now, where no clock was read."""
    nanoseconds = span.start_time_unix_nano or span.end_time_unix_nano
    if not nanoseconds:
        return None
    try:
        return EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        raise ValueError("startTimeUnixNano: no moment that has a name") from None


def _worked(span: Span) -> bool:
    failed: bool = span.status.code == Status.STATUS_CODE_ERROR
    return not failed and not any(
        each.key == "error.type" and _value(each) for each in span.attributes
    )
