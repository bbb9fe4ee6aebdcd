"""One call of a model or of a tool as it was reported: checked, not written yet. Pure.

A draft cannot be made with something in it that the tables would refuse: decoding and construction
both raise ValueError. Names in JSON are camelCase, as everywhere in the API.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from opslog.identities import is_name
from opslog.pricing.money import MAX_USD
from opslog.pricing.usage import STANDARD, TOKENS, Usage, camel

MOST_TOKENS: Final = 1_000_000_000
MOST_CALLS: Final = 1_000_000
MOST_TOOLS: Final = 20
MOST_ATTEMPTS: Final = 1_000_000
MOST_MILLISECONDS: Final = 10**12
# Control characters and halves of surrogate pairs: no log line and no UTF-8 may hold them.
UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _text(longest: int) -> Meta:
    """For the schema alone: `_examine` checks, because construction must be checked as well."""
    return Meta(extra_json_schema={"maxLength": longest, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"})


Id = Annotated[str, _text(200)]
EventId = Annotated[
    str,
    Meta(
        description="Yours alone: another event of the same id from a token of the same owner "
        "within four days is taken for this one. A UUID is best."
    ),
    _text(200),
]
Text = Annotated[str, _text(200)]
Label = Annotated[str, _text(100)]
LongText = Annotated[str, _text(500)]
Tokens = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
# As the API spells it; what others report may be another one, which has no price.
ServiceTier = Annotated[
    Literal["standard", "batch", "flex", "priority"],
    Meta(description="The terms of the call. Absent: standard."),
]
ToolCalls = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=100)],
        Annotated[int, Meta(ge=0, le=MOST_CALLS)],
    ],
    Meta(
        description='Calls of tools that the provider charges for, by tool: `{"web_search": 3}`.',
        max_length=MOST_TOOLS,
    ),
]


# What a string may say as an amount; a number may have an exponent besides.
AMOUNT: Final = r"^([0-9]{1,6}(\.[0-9]{1,30})?|1000000(\.0{1,30})?)$"


def amount(more: str) -> Meta:
    return Meta(
        description=f"US dollars, a number or a string, from 0 to {MAX_USD}. {more}",
        extra_json_schema={
            "oneOf": [
                {"type": "number", "minimum": 0, "maximum": int(MAX_USD)},
                {"type": "string", "pattern": AMOUNT},
            ]
        },
    )


Usd = Annotated[
    Decimal,
    amount(
        "The cost that counts. Absent: computed from the usage by the price book, or unknown where "
        "there is no usage or no price."
    ),
]
SenderUsd = Annotated[
    Decimal,
    amount(
        "What the program or its gateway worked out, for comparison. It counts where neither "
        "`costUsd` nor a price is known."
    ),
]
Provider = Annotated[
    str,
    Meta(
        description="Who was asked, where the model's name does not say it: `groq`, `aws.bedrock`. "
        "Finds the price of that provider; not kept."
    ),
    _text(100),
]
Moment = Annotated[
    datetime, Meta(tz=True, description="When the call was made, with its offset. Absent: now.")
]
TEXTS: Final = {
    "event_id": 200,
    "user_id": 200,
    "feature": 100,
    "work_order_id": 100,
    "agent_name": 200,
    "session_id": 200,
}
# What limits and counts compare; something must be left of each when it is normalized.
NAMES: Final = ("user_id", "feature", "agent_name", "surface", "model")
D = TypeVar("D", "InferenceDraft", "ToolDraft")


class InferenceDraft(
    msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True, kw_only=True
):
    """One call of a model. Tokens are as in `opslog.pricing.usage.Usage`.

    None is the same as absent. Where a call that worked lacks its input or its output tokens and
    the price book charges for them, its cost is unknown unless one is given. Raises ValueError for
    what cannot be written.
    """

    model: Text
    provider: Provider | None = None
    event_id: EventId | None = None
    created_at: Moment | None = None
    user_id: Text | None = None
    feature: Label | None = None
    trigger_type: Label | None = None
    input_tokens: Tokens | None = None
    cached_input_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0
    cache_write_1h_tokens: Tokens = msgspec.field(default=0, name=TOKENS["cache_write_1h_tokens"])
    output_tokens: Tokens | None = None
    reasoning_tokens: Tokens = 0
    audio_input_tokens: Tokens = 0
    cached_audio_input_tokens: Tokens = 0
    audio_output_tokens: Tokens = 0
    image_input_tokens: Tokens = 0
    image_output_tokens: Tokens = 0
    service_tier: ServiceTier | None = None
    tool_calls: ToolCalls | None = None
    cost_usd: Usd | None = None
    sender_cost_usd: SenderUsd | None = None
    success: bool = True
    run_id: UUID | None = None
    work_order_id: Label | None = None
    agent_name: Text | None = None
    session_id: Text | None = None
    surface: Label | None = None
    user_agent: LongText | None = None

    def __post_init__(self) -> None:
        _examine(self, INFERENCE_TEXTS)
        if not self.model:
            raise ValueError("model: it must be named")
        usage = self.usage()
        if max(usage.input_tokens, usage.output_tokens) > MOST_TOKENS:
            raise ValueError(f"tokens: {MOST_TOKENS} at most")
        _examine_calls(usage.tool_calls)
        for name, cost in (("costUsd", self.cost_usd), ("senderCostUsd", self.sender_cost_usd)):
            if cost is not None and not (cost.is_finite() and 0 <= cost <= MAX_USD):
                raise ValueError(f"{name}: expected US dollars from 0 to {MAX_USD}")

    def usage(self) -> Usage:
        """With 0 for what is absent."""
        return Usage(
            self.input_tokens or 0,
            self.output_tokens or 0,
            cached_input_tokens=self.cached_input_tokens,
            reasoning_tokens=self.reasoning_tokens,
            cache_write_tokens=self.cache_write_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens,
            audio_input_tokens=self.audio_input_tokens,
            cached_audio_input_tokens=self.cached_audio_input_tokens,
            audio_output_tokens=self.audio_output_tokens,
            image_input_tokens=self.image_input_tokens,
            image_output_tokens=self.image_output_tokens,
            service_tier=self.service_tier or STANDARD,
            tool_calls=self.tool_calls or {},
        )

    @property
    def is_unknown(self) -> bool:
        """Whether no usage is known. No call that worked used nothing, so zeros say nothing; for
        one that failed they say that it used nothing."""
        if self.input_tokens or self.output_tokens or any((self.tool_calls or {}).values()):
            return False
        said_zero = self.input_tokens is not None or self.output_tokens is not None
        return self.success or not said_zero

    def lacks(self, side: int | None) -> bool:
        """Whether the input or the output tokens are not known: of a call that worked, where they
        are absent or where no tokens are known at all."""
        return self.success and (side is None or not (self.input_tokens or self.output_tokens))


class ToolDraft(
    msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True, kw_only=True
):
    """One call of a tool. `retries`: attempts before this one. `inference_event_id`: the event id
    of the model call that asked for it. Raises ValueError for what cannot be written."""

    tool_name: Text
    event_id: EventId | None = None
    created_at: Moment | None = None
    success: bool = True
    retries: Annotated[int, Meta(ge=0, le=MOST_ATTEMPTS)] = 0
    duration_ms: Annotated[int, Meta(ge=0, le=MOST_MILLISECONDS)] | None = None
    inference_event_id: Id | None = None
    run_id: UUID | None = None
    work_order_id: Label | None = None
    user_id: Text | None = None
    feature: Label | None = None
    agent_name: Text | None = None
    session_id: Text | None = None

    def __post_init__(self) -> None:
        _examine(self, TOOL_TEXTS)
        if not self.tool_name or self.tool_name.isspace():
            raise ValueError("toolName: it must be named")
        if not 0 <= self.retries <= MOST_ATTEMPTS:
            raise ValueError(f"retries: expected 0 to {MOST_ATTEMPTS}")
        if not 0 <= (self.duration_ms or 0) <= MOST_MILLISECONDS:
            raise ValueError(f"durationMs: expected 0 to {MOST_MILLISECONDS}")


INFERENCE_TEXTS: Final = {
    **TEXTS, "model": 200, "provider": 100, "trigger_type": 100, "surface": 100, "user_agent": 500,
    "service_tier": 100,
}  # fmt: skip
TOOL_TEXTS: Final = {**TEXTS, "tool_name": 200, "inference_event_id": 200}
SHORTEST_LIMIT: Final = 100


# What only describes a call. A work order, a run or an id that was cut would name another one.
DESCRIPTIVE: Final = (
    "provider",
    "user_id",
    "feature",
    "trigger_type",
    "agent_name",
    "session_id",
    "surface",
    "user_agent",
    "service_tier",
)


def shortened(kind: type[D], **data: Any) -> D:
    """A draft of what others' instrumentation reported: a long description is cut to its limit, so
    that the call and its cost are not lost with it, and a name of which nothing is to be seen is
    none. Raises ValueError as the draft does."""
    cut = {name: text[: INFERENCE_TEXTS[name]] for name in DESCRIPTIVE if (text := data.get(name))}
    cut |= {name: None for name in NAMES if name in cut and not is_name(cut[name])}
    return kind(**{**data, **cut})


def _examine(draft: "InferenceDraft | ToolDraft", limits: Mapping[str, int]) -> None:
    """The texts and the moment. All texts in one search: there are thousands of drafts a second."""
    if draft.created_at is not None and draft.created_at.tzinfo is None:
        raise ValueError("createdAt: it must have an offset")
    for name in NAMES:
        if (text := getattr(draft, name, None)) and not is_name(text):
            raise ValueError(f"{camel(name)}: no visible characters, or too many")
    together = "".join([text for name in limits if (text := getattr(draft, name))])
    bad = UNPRINTABLE.search(together)
    if len(together) <= SHORTEST_LIMIT and bad is None:
        return
    for name, longest in limits.items():
        text = getattr(draft, name) or ""
        if len(text) > longest:
            raise ValueError(f"{camel(name)}: {longest} characters at most")
        if UNPRINTABLE.search(text):
            raise ValueError(f"{camel(name)}: a control character is in it")


def _examine_calls(calls: Mapping[str, int]) -> None:
    if len(calls) > MOST_TOOLS:
        raise ValueError(f"toolCalls: {MOST_TOOLS} tools at most")
    for tool, times in calls.items():
        if not tool.strip() or len(tool) > 100 or UNPRINTABLE.search(tool):
            raise ValueError("toolCalls: each tool needs a name of up to 100 characters")
        if times > MOST_CALLS:
            raise ValueError(f"toolCalls: {MOST_CALLS} calls at most")
