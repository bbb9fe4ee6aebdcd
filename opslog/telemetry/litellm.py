"""What a LiteLLM proxy tells of each call (its StandardLoggingPayload) as drafts. Pure.

The proxy's `generic_api` callback sends these in batches: a JSON array, or one object a line. Only
what is named here is read; messages and responses, which may be in it, are dropped.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from msgspec import structs

from opslog.telemetry.drafts import InferenceDraft, ToolDraft, shortened
from opslog.telemetry.loops import Askers, ModelStep, ToolStep, attempts

Draft = InferenceDraft | ToolDraft

TOOL_CALLS: Final = frozenset({"call_mcp_tool"})
# In the kinds of calls that may ask for a tool; embeddings and pictures do not.
ASKING: Final = ("completion", "responses", "messages", "generate_content")
UNKNOWN: Final = "unknown"
LONGEST_ID: Final = 150
MOST_DIGITS: Final = 100
MOST_AFTER_POINT: Final = Decimal("1e-12")
# Told by the caller of the proxy, in its metadata or as a tag `name:value`.
OURS: Final = {
    "feature": ("feature",),
    "trigger_type": ("trigger_type",),
    "surface": ("surface",),
    "work_order_id": ("work_order_id", "wo_id"),
    "run_id": ("run_id",),
    "agent_name": ("agent_name",),
    "session_id": ("session_id",),
}
PREFIXES: Final = ("tollgate_", "tollgate.", "")


class BadCallback(ValueError):
    """A body that holds no such payloads; the message says why."""


def payloads(body: bytes) -> list[Any]:
    """The payloads of a body: an array, one object, or one object a line. Raises BadCallback."""
    try:
        told = json.loads(body, parse_int=_whole)
    except (ValueError, RecursionError):
        try:
            return [
                json.loads(line, parse_int=_whole) for line in body.splitlines() if line.strip()
            ]
        except (ValueError, RecursionError):
            raise BadCallback("the body is neither JSON in UTF-8 nor one object a line") from None
    return told if isinstance(told, list) else [told]


def _whole(digits: str) -> int | float:
    """More digits than any number here has are infinite: Python would refuse the whole body."""
    return int(digits) if len(digits) <= MOST_DIGITS else math.inf


def drafts_of(payloads: Sequence[Any]) -> tuple[dict[int, Draft], dict[int, str]]:
    """The drafts by their place, and the reasons of those that are none. A tool has with it what
    the payloads of its trace beside it show: who asked for it, and the attempts before it."""
    drafts: dict[int, Draft] = {}
    refused: dict[int, str] = {}
    for place, payload in enumerate(payloads):
        try:
            drafts[place] = draft_of(payload)
        except ValueError as error:
            refused[place] = str(error)
    return drafts | _in_their_loops(payloads, drafts), refused


def _in_their_loops(payloads: Sequence[Any], drafts: Mapping[int, Draft]) -> dict[int, ToolDraft]:
    models: list[ModelStep] = []
    tools: dict[int, tuple[ToolDraft, ToolStep]] = {}
    for place, draft in drafts.items():
        payload = payloads[place]
        trace, event_id = _text(payload.get("trace_id")), draft.event_id or ""
        if not trace or draft.created_at is None:
            continue
        began = draft.created_at.timestamp()
        if isinstance(draft, ToolDraft):
            ended, failed = _ended(payload) or began, not draft.success
            step = ToolStep(trace, event_id, draft.tool_name, began, ended, failed)
            tools[place] = (draft, step)
        elif any(word in str(payload.get("call_type")) for word in ASKING):
            models.append(ModelStep(trace, event_id, began))
    askers = Askers(models)
    before = attempts(step for _, step in tools.values() if step.tool != UNKNOWN)
    return {
        place: structs.replace(
            draft,
            retries=before.get(step.event_id, 0),
            inference_event_id=askers.of(step.loop, step.begins),
        )
        for place, (draft, step) in tools.items()
    }


def _ended(payload: Mapping[str, Any]) -> float | None:
    try:
        moment = _moment(payload.get("endTime"))
    except ValueError:
        return None
    return moment.timestamp() if moment else None


def draft_of(payload: Any) -> Draft:
    """Raises ValueError for what is no such payload, naming what is wrong."""
    if not isinstance(payload, dict) or not _text(payload.get("id")):
        raise ValueError("id: it must be there, as in a StandardLoggingPayload")
    metadata = _mapping(payload, "metadata")
    own = _own(payload, metadata)
    common: dict[str, Any] = {
        "event_id": _event_id(payload),
        "created_at": _moment(payload.get("startTime")),
        "success": payload.get("status", "success") == "success",
        "user_id": _text(payload.get("end_user"))
        or _text(metadata.get("user_api_key_end_user_id"))
        or _text(metadata.get("user_api_key_user_id")),
        "feature": own.get("feature"),
        "work_order_id": own.get("work_order_id"),
        "run_id": _run_id(own.get("run_id")),
        "agent_name": own.get("agent_name") or _text(metadata.get("user_api_key_alias")),
        "session_id": own.get("session_id") or _text(payload.get("trace_id")),
    }
    if _text(payload.get("call_type")) in TOOL_CALLS:
        tool = _mapping(metadata, "mcp_tool_call_metadata")
        return shortened(ToolDraft, tool_name=_text(tool.get("name")) or UNKNOWN, **common)
    usage = _mapping(metadata, "usage_object")
    of_input = _mapping(usage, "prompt_tokens_details")
    of_output = _mapping(usage, "completion_tokens_details")
    input_tokens = _tokens(payload, "prompt_tokens")
    output_tokens = _tokens(payload, "completion_tokens")
    cached = _tokens(of_input, "cached_tokens") or _tokens(usage, "cache_read_input_tokens")
    written = _tokens(of_input, "cache_creation_tokens") or _tokens(
        usage, "cache_creation_input_tokens"
    )
    return shortened(
        InferenceDraft,
        model=_text(payload.get("model")) or _text(payload.get("model_group")) or UNKNOWN,
        provider=_text(payload.get("custom_llm_provider")),
        trigger_type=own.get("trigger_type"),
        # A part above its whole was counted beside it.
        input_tokens=max(input_tokens, cached + written),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=max(output_tokens, reasoning := _tokens(of_output, "reasoning_tokens")),
        reasoning_tokens=reasoning,
        cost_usd=_cost(payload),
        surface=own.get("surface"),
        user_agent=_text(payload.get("user_agent")),
        **common,
    )


def _event_id(payload: Mapping[str, Any]) -> str:
    """Id and start: attempts that failed share the id of their request. A digest of long ids."""
    told = str(payload["id"])
    if len(told) > LONGEST_ID:
        told = hashlib.sha256(told.encode(errors="replace")).hexdigest()
    return f"{told}:{payload.get('startTime', '')}"


def _own(payload: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, str]:
    """What is Tollgate's own: from the tags, else from what the caller sent as metadata."""
    told: dict[str, Any] = {}
    for source in ("spend_logs_metadata", "requester_metadata"):
        told |= _mapping(metadata, source)
    tags = payload.get("request_tags") or []
    for tag in tags if isinstance(tags, list) else []:
        name, colon, value = (_text(tag) or "").partition(":")
        if colon:
            told[name.strip()] = value.strip()
    own = {}
    for ours, names in OURS.items():
        for name in (prefix + name for prefix in PREFIXES for name in names):
            if isinstance(told.get(name), str) and told[name]:
                own[ours] = told[name]
                break
    return own


def _mapping(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" else None


def _tokens(holder: Mapping[str, Any], name: str) -> int:
    value = holder.get(name) or 0
    whole = value.is_integer() if isinstance(value, float) else type(value) is int
    if not whole:
        raise ValueError(f"{name}: expected a whole number")
    if value < 0:
        raise ValueError(f"{name}: a number of tokens is never negative")
    return int(value)


def _cost(payload: Mapping[str, Any]) -> Decimal | None:
    """What the proxy computed. None, so that our price book is asked, where it could not: it then
    says zero and leaves a note."""
    told = payload.get("response_cost")
    if told is None or (not told and payload.get("response_cost_failure_debug_info")):
        return None
    try:
        cost = Decimal(str(told))
    except InvalidOperation:
        raise ValueError("response_cost: expected US dollars") from None
    return cost.quantize(MOST_AFTER_POINT) if cost.is_finite() and abs(cost) < 10**6 else cost


def _moment(told: Any) -> datetime | None:
    """Seconds since 1970, as the proxy sends them; None, for now, where there are none."""
    if told is None:
        return None
    try:
        return datetime.fromtimestamp(float(told), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise ValueError("startTime: expected seconds since 1970") from None


def _run_id(told: str | None) -> UUID | None:
    try:
        return UUID(told) if told else None
    except ValueError:
        raise ValueError("run_id: expected a UUID") from None
