"""What a LiteLLM proxy reports of each call (its StandardLoggingPayload) as drafts. Pure.

The proxy's `generic_api` callback sends these in batches: a JSON array, or one object a line. They
are read one at a time: with messages and responses, which are dropped, they are large. What else is
read of them stands in the table of conventions.
"""

import codecs
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from msgspec import structs

from opslog.pricing.money import MAX_USD
from opslog.telemetry.conventions import LITELLM_PAYLOAD, Meaning
from opslog.telemetry.counting import tier_of, usage_of
from opslog.telemetry.drafts import InferenceDraft, ToolDraft, shortened
from opslog.telemetry.loops import Askers, ModelStep, ToolStep, attempts
from opslog.telemetry.reading import NUMBERS

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
NOT_JSON: Final = "the body is neither JSON in UTF-8 nor one object a line"
BLANKS: Final = re.compile(r"[ \t\r\n]*")


class BadCallback(ValueError):
    """A body that holds no such payloads; the message says why."""


class _Text:
    """JSON that comes in parts: what is not read yet is kept, and no more."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._ended = "", 0, False

    def next(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            self._at = BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]  # always
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        """That character."""
        self._at += 1

    def value(self) -> Any:
        """The value that begins here. Raises BadCallback."""
        while True:
            try:
                value, after = DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                raise BadCallback(NOT_JSON) from None
            except ValueError:
                after = -1
            # A number at the end of a part may go on in the next one.
            if 0 <= after < len(self._text) or (after >= 0 and self._ended):
                self._at = after
                return value
            if not self._more() and after < 0:
                raise BadCallback(NOT_JSON)

    def _more(self) -> bool:
        """Twice as much as there is: nothing is read over and over again. False at the end."""
        if self._ended:
            return False
        rest = [self._text[self._at :]]
        wanted, got = len(rest[0]), 0
        while got <= wanted and not self._ended:
            part = next(self._parts, None)
            self._ended = part is None
            try:
                rest.append(self._decoder.decode(part or b"", final=self._ended))
            except UnicodeDecodeError:
                raise BadCallback(NOT_JSON) from None
            got += len(rest[-1])
        self._text, self._at = "".join(rest), 0
        return True


def payloads(parts: Iterable[bytes]) -> Iterator[Any]:
    """The payloads of a body, one after another: an array, one object, or one object a line.

    What JSON has no number for (NaN, a thousand digits) is left for its payload to be refused.
    Raises BadCallback.
    """
    text = _Text(parts)
    if text.next() != "[":
        while text.next():
            yield text.value()
        return
    text.skip()
    while text.next() != "]":
        yield text.value()
        if text.next() not in (",", "]"):
            raise BadCallback(NOT_JSON)
        if text.next() == ",":
            text.skip()
            if text.next() == "]":
                raise BadCallback(NOT_JSON)
    text.skip()
    if text.next():
        raise BadCallback(NOT_JSON)


def _whole(digits: str) -> int | float:
    """More digits than any number here has are infinite: Python would refuse the whole body."""
    return int(digits) if len(digits) <= MOST_DIGITS else math.inf


DECODER: Final = json.JSONDecoder(parse_int=_whole)


@dataclass(frozen=True, slots=True)
class _Step:
    """What is kept of a payload, besides its draft, to see the loop that it is in."""

    trace: str
    ended: float | None
    asks: bool


def drafts_of(payloads: Iterable[Any]) -> tuple[dict[int, Draft], dict[int, str]]:
    """The drafts by their place, and the reasons of those that are none. A tool has with it what
    the payloads of its trace beside it show: who asked for it, and the attempts before it."""
    drafts: dict[int, Draft] = {}
    steps: dict[int, _Step] = {}
    refused: dict[int, str] = {}
    for place, payload in enumerate(payloads):
        try:
            drafts[place] = draft_of(payload)
        except ValueError as error:
            refused[place] = str(error)
        else:
            asks = any(word in str(payload.get("call_type")) for word in ASKING)
            steps[place] = _Step(_text(payload.get("trace_id")) or "", _ended(payload), asks)
    return drafts | _in_their_loops(steps, drafts), refused


def _in_their_loops(
    steps: Mapping[int, _Step], drafts: Mapping[int, Draft]
) -> dict[int, ToolDraft]:
    models: list[ModelStep] = []
    tools: dict[int, tuple[ToolDraft, ToolStep]] = {}
    for place, draft in drafts.items():
        seen, event_id = steps[place], draft.event_id or ""
        if not seen.trace or draft.created_at is None:
            continue
        began = draft.created_at.timestamp()
        if isinstance(draft, ToolDraft):
            ended, failed = seen.ended or began, not draft.success
            step = ToolStep(seen.trace, event_id, draft.tool_name, began, ended, failed)
            tools[place] = (draft, step)
        elif seen.asks:
            models.append(ModelStep(seen.trace, event_id, began))
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
    values, names = _read(payload)

    def text(meaning: Meaning) -> str | None:
        return _text(values.get(meaning))

    common: dict[str, Any] = {
        "event_id": _event_id(payload),
        "created_at": _moment(payload.get("startTime")),
        "success": payload.get("status", "success") == "success",
        "user_id": text(Meaning.USER),
        "feature": own.get("feature"),
        "work_order_id": own.get("work_order_id"),
        "run_id": _run_id(own.get("run_id")),
        "agent_name": own.get("agent_name") or text(Meaning.AGENT),
        "session_id": own.get("session_id") or text(Meaning.SESSION),
    }
    if _text(payload.get("call_type")) in TOOL_CALLS:
        tool = _mapping(metadata, "mcp_tool_call_metadata")
        return shortened(ToolDraft, tool_name=_text(tool.get("name")) or UNKNOWN, **common)
    model, provider = text(Meaning.MODEL) or UNKNOWN, text(Meaning.PROVIDER)
    numbers = {
        meaning: _tokens(value, names[meaning].rpartition(".")[2])
        for meaning, value in values.items()
        if meaning in NUMBERS
    }
    usage = usage_of(numbers, names, scope="litellm", provider=provider or "", model=model)
    free = values.get(Meaning.CACHE_HIT) is True
    return shortened(
        InferenceDraft,
        model=model,
        provider=provider,
        trigger_type=own.get("trigger_type"),
        **usage,
        service_tier=tier_of(text(Meaning.TIER)),
        cost_usd=Decimal(0) if free else None,
        sender_cost_usd=Decimal(0) if free else _cost(values.get(Meaning.COST)),
        surface=own.get("surface"),
        user_agent=text(Meaning.USER_AGENT),
        **common,
    )


def _read(payload: Mapping[str, Any]) -> tuple[dict[Meaning, Any], dict[Meaning, str]]:
    """What it says by the table of conventions, and under which names."""
    values: dict[Meaning, Any] = {}
    names: dict[Meaning, str] = {}
    for name, meaning in LITELLM_PAYLOAD.names.items():
        value: Any = payload
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        # (Zero cached tokens under one name may be some under another.)
        if value not in (None, "") and not values.get(meaning):
            values[meaning], names[meaning] = value, name
    return values, names


def _event_id(payload: Mapping[str, Any]) -> str:
    """Id and start: attempts that failed share the id of their request. A digest of long ids."""
    event_id = str(payload["id"])
    if len(event_id) > LONGEST_ID:
        event_id = hashlib.sha256(event_id.encode(errors="replace")).hexdigest()
    return f"{event_id}:{payload.get('startTime', '')}"


def _own(payload: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, str]:
    """What is Tollgate's own: from the tags, else from what the caller sent as metadata."""
    collected: dict[str, Any] = {}
    for source in ("spend_logs_metadata", "requester_metadata"):
        collected |= _mapping(metadata, source)
    tags = payload.get("request_tags") or []
    for tag in tags if isinstance(tags, list) else []:
        name, colon, value = (_text(tag) or "").partition(":")
        if colon:
            collected[name.strip()] = value.strip()
    own = {}
    for ours, names in OURS.items():
        for name in (prefix + name for prefix in PREFIXES for name in names):
            if isinstance(collected.get(name), str) and collected[name]:
                own[ours] = collected[name]
                break
    return own


def _mapping(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" else None


def _tokens(value: Any, name: str) -> int:
    whole = value.is_integer() if isinstance(value, float) else type(value) is int
    if not whole:
        raise ValueError(f"{name}: expected a whole number")
    if value < 0:
        raise ValueError(f"{name}: a number of tokens is never negative")
    return int(value)


def _cost(amount: Any) -> Decimal | None:
    """What the proxy computed. It says zero where it could not: then it is unknown."""
    if not amount:
        return None
    try:
        cost = Decimal(str(amount))
    except InvalidOperation:
        cost = Decimal("NaN")
    if not (cost.is_finite() and 0 <= cost <= MAX_USD):
        raise ValueError(f"response_cost: expected US dollars from 0 to {MAX_USD}")
    return cost.quantize(MOST_AFTER_POINT)


def _moment(seconds: Any) -> datetime | None:
    """Seconds since 1970, as the proxy sends them; None, for now, where there are none."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise ValueError("startTime: expected seconds since 1970") from None


def _run_id(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise ValueError("run_id: expected a UUID") from None
