"""Usage as the SDKs of model providers report it, brought into one shape.

OpenAI's input tokens contain the cached ones, Anthropic's leave out what was read from a cache and
written to one, Google's output leaves out the thoughts. Passing one for the other undercounts by
half without an error, so what is passed is recognized by its names.
"""

from collections.abc import Mapping
from typing import Any

from .values import Usage

TIERS = frozenset({"batch", "flex", "priority"})


def usage_of(value: Any, *, model: str = "", provider: str = "") -> Usage:
    """The usage in `value`: a `Usage`, a response or usage object of the SDKs of OpenAI, Anthropic
    and Google, or their JSON as a dict.

    `model` is needed where the value does not name it (a bare usage object). Raises ValueError
    where there is no usage, as in the chunks of a stream without `include_usage`, or no model.
    """
    if isinstance(value, Usage):
        return value
    usage = value
    for name in ("usage", "usage_metadata", "usageMetadata"):
        if (inner := _get(value, name)) is not None:
            usage = inner
            break
    named = _text(value, "model") or _text(value, "model_version") or _text(value, "modelVersion")
    name = named or model
    if not name:
        raise ValueError("usage without a model: pass the whole response, or model=")
    tier = _text(value, "service_tier") or _text(usage, "service_tier")
    numbers = _numbers(usage)
    if numbers is None:
        raise ValueError(
            "no usage in it: for a stream of chat completions, ask for it with "
            'stream_options={"include_usage": True}'
        )
    return Usage(
        model=name,
        provider=provider,
        service_tier=tier if tier in TIERS else "standard",
        **numbers,
    )


def _numbers(usage: Any) -> dict[str, Any] | None:
    if usage is None:
        return None
    if _has(usage, "prompt_tokens"):
        return _chat_completion(usage)
    if _has(usage, "prompt_token_count"):
        return _google(usage, "_")
    if _has(usage, "promptTokenCount"):
        return _google(usage, "")
    if not _has(usage, "input_tokens") or not _has(usage, "output_tokens"):
        return None
    if _has(usage, "input_tokens_details") or _has(usage, "total_tokens"):
        return _response(usage)
    return _anthropic(usage)


def _chat_completion(usage: Any) -> dict[str, Any]:
    inputs = _get(usage, "prompt_tokens_details")
    outputs = _get(usage, "completion_tokens_details")
    return {
        "input_tokens": _count(usage, "prompt_tokens"),
        "output_tokens": _count(usage, "completion_tokens"),
        "cached_input_tokens": _count(inputs, "cached_tokens"),
        "audio_input_tokens": _count(inputs, "audio_tokens"),
        "reasoning_tokens": _count(outputs, "reasoning_tokens"),
        "audio_output_tokens": _count(outputs, "audio_tokens"),
    }


def _response(usage: Any) -> dict[str, Any]:
    return {
        "input_tokens": _count(usage, "input_tokens"),
        "output_tokens": _count(usage, "output_tokens"),
        "cached_input_tokens": _count(_get(usage, "input_tokens_details"), "cached_tokens"),
        "reasoning_tokens": _count(_get(usage, "output_tokens_details"), "reasoning_tokens"),
    }


def _anthropic(usage: Any) -> dict[str, Any]:
    read = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    hour = _count(_get(usage, "cache_creation"), "ephemeral_1h_input_tokens")
    searches = _count(_get(usage, "server_tool_use"), "web_search_requests")
    return {
        "input_tokens": _count(usage, "input_tokens") + read + max(written, hour),
        "output_tokens": _count(usage, "output_tokens"),
        "cached_input_tokens": read,
        "cache_write_tokens": max(written - hour, 0),
        "cache_write_1h_tokens": hour,
        "tool_calls": {"web_search": searches} if searches else {},
    }


def _google(usage: Any, mark: str) -> dict[str, Any]:
    def count(name: str) -> int:
        first, *others = name.split("_")
        return _count(usage, name if mark else first + "".join(map(str.capitalize, others)))

    thoughts = count("thoughts_token_count")
    return {
        "input_tokens": count("prompt_token_count") + count("tool_use_prompt_token_count"),
        "output_tokens": count("candidates_token_count") + thoughts,
        "cached_input_tokens": count("cached_content_token_count"),
        "reasoning_tokens": thoughts,
    }


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _has(value: Any, name: str) -> bool:
    return _get(value, name) is not None


def _text(value: Any, name: str) -> str:
    text = _get(value, name)
    return text if isinstance(text, str) else ""


def _count(value: Any, name: str) -> int:
    number = _get(value, name)
    return number if isinstance(number, int) and number > 0 else 0
