"""What a piece of work used, in one shape: runs, direct spend, telemetry and imports. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Final

STANDARD: Final = "standard"
SERVICE_TIERS: Final = (STANDARD, "batch", "flex", "priority")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and priced calls of one piece of work, as providers report them.

    Cached, cache-write, audio and image input tokens are parts of the input tokens. Cached audio
    tokens are parts of both the cached and the audio input tokens; no other parts overlap.
    Reasoning, audio and image output tokens are parts of the output tokens. `cache_write_tokens`
    live for five minutes, `cache_write_1h_tokens` for an hour. `service_tier` is the terms of the
    call (`SERVICE_TIERS`), `tool_calls` how often each tool was called that has a price per call.

    Raises ValueError for a negative number and for parts that exceed their whole; the message
    starts with the name of the field as the API has it.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    cached_audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    service_tier: str = STANDARD
    tool_calls: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(numbers := _numbers(self)) < 0:
            name = next(name for name, number in zip(TOKENS, numbers, strict=True) if number < 0)
            raise ValueError(f"{TOKENS[name]}: a number of tokens is never negative")
        if self.tool_calls and min(self.tool_calls.values()) < 0:
            raise ValueError("toolCalls: a number of calls is never negative")
        if self.plain_input_tokens < 0:
            raise ValueError(
                "inputTokens: cached, cache-write, audio and image tokens are more than the whole"
            )
        if self.plain_output_tokens < 0:
            raise ValueError(
                "outputTokens: reasoning, audio and image tokens are more than the whole"
            )
        if self.cached_audio_input_tokens > min(self.cached_input_tokens, self.audio_input_tokens):
            raise ValueError(
                "cachedAudioInputTokens: more than the cached or the audio input tokens"
            )

    @property
    def plain_input_tokens(self) -> int:
        """Text that was neither read from a cache nor written to one."""
        return (
            self.input_tokens
            - self.cached_input_tokens
            - self.cache_write_tokens
            - self.cache_write_1h_tokens
            - (self.audio_input_tokens - self.cached_audio_input_tokens)
            - self.image_input_tokens
        )

    @property
    def plain_output_tokens(self) -> int:
        """Text that is neither reasoning, audio nor an image."""
        return (
            self.output_tokens
            - self.reasoning_tokens
            - self.audio_output_tokens
            - self.image_output_tokens
        )

    @property
    def has_text_only(self) -> bool:
        """Whether there are no audio and image tokens, and none that are cached for an hour."""
        return not (self.cache_write_1h_tokens or any(_units(self)))

    def units(self) -> dict[str, Any]:
        """The audio and image tokens and the calls of priced tools, by their names in the API;
        without those that are zero."""
        units: dict[str, Any] = {}
        if any(_units(self)):
            numbers = zip(UNITS, _units(self), strict=True)
            units = {TOKENS[name]: number for name, number in numbers if number}
        if any(self.tool_calls.values()):
            units["toolCalls"] = {tool: times for tool, times in self.tool_calls.items() if times}
        return units

    def body(self) -> dict[str, Any]:
        """By the names of the API; the special parts only where they are not zero."""
        return {
            "inputTokens": self.input_tokens,
            "cachedInputTokens": self.cached_input_tokens,
            "cacheWriteTokens": self.cache_write_tokens,
            "cacheWrite1hTokens": self.cache_write_1h_tokens,
            "outputTokens": self.output_tokens,
            "reasoningTokens": self.reasoning_tokens,
            **({} if self.service_tier == STANDARD else {"serviceTier": self.service_tier}),
            **self.units(),
        }


def camel(name: str) -> str:
    """As the API spells it."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


# The numbers of tokens, by their names in the API.
TOKENS: Final = {
    each.name: camel(each.name) for each in fields(Usage) if each.name.endswith("_tokens")
}
# Those that few models have.
UNITS: Final = tuple(name for name in TOKENS if "audio" in name or "image" in name)
# Thousands of usages are made a second.
_numbers: Final = attrgetter(*TOKENS)
_units: Final = attrgetter(*UNITS)
