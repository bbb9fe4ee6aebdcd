"""What was used, from numbers that instrumentations count in their own ways. Pure.

A whole (the input, the output) holds its parts in `Usage`. Some instrumentations pass on what a
provider counts beside it. What a span shows decides first: a number without the parts, parts that
exceed their whole, a total. Only where it shows nothing does the table of conventions decide.
"""

from collections.abc import Mapping
from typing import Any, Final

from opslog.telemetry.conventions import ADD_UP, COUNTED, Counting, Meaning

Numbers = Mapping[Meaning, int]
OF_INPUT: Final = (Meaning.CACHED, Meaning.WRITTEN)
CACHES_BESIDE: Final = ("anthropic", "bedrock")
THOUGHTS_BESIDE: Final = ("gemini", "google", "vertex", "gcp")
VENDOR_UNKNOWN: Final = ("", *THOUGHTS_BESIDE[1:])  # sells others' models as well
TIERS: Final = {
    **dict.fromkeys(("standard", "default", "auto", "on_demand", "none", ""), None),
    "standard_only": None,
}


def usage_of(
    numbers: Numbers,
    names: Mapping[Meaning, str],
    *,
    scope: str,
    provider: str,
    model: str,
) -> dict[str, Any]:
    """The numbers of an `InferenceDraft`. `names`: the attribute that each number is from. A total
    makes up for the input or the output; without one, that side is left out."""
    get = numbers.get
    written_1h = get(Meaning.WRITTEN_1H, 0)
    written = max(get(Meaning.WRITTEN, 0), get(Meaning.WRITTEN_5M, 0) + written_1h)
    cached, reasoning = get(Meaning.CACHED, 0), get(Meaning.REASONING, 0)
    parts = cached + written
    known_input, known_output = get(Meaning.INPUT), get(Meaning.OUTPUT)
    total = get(Meaning.TOTAL)
    if total is not None and total < max(known_input or 0, known_output or 0):
        total = None  # nothing can be read from it
    input_is_left = total is not None and known_input is None and known_output is not None
    if total is not None and known_input is not None and known_output is None:
        known_output = total - known_input
    input_tokens, output_tokens = known_input or 0, known_output or 0

    def counted(*kinds: Meaning) -> Counting:
        """As the table has it, for this instrumentation."""
        found = {COUNTED.get(names[kind], Counting.WITHIN) for kind in kinds if get(kind)}
        if Counting.BESIDE in found:
            return Counting.BESIDE
        if Counting.BY_PROVIDER in found and not scope.startswith(ADD_UP):
            return Counting.BY_PROVIDER
        return Counting.WITHIN

    of_cache = counted(*OF_INPUT, Meaning.WRITTEN_5M, Meaning.WRITTEN_1H)
    of_thoughts = counted(Meaning.REASONING)
    caches_beside = of_cache is Counting.BESIDE or (
        of_cache is Counting.BY_PROVIDER and _caches_beside(provider, model)
    )
    thoughts_beside = of_thoughts is Counting.BESIDE or (
        of_thoughts is Counting.BY_PROVIDER and _thoughts_beside(provider, model)
    )
    if (
        total is not None
        and not input_is_left
        and parts
        and total
        in (
            input_tokens + parts + output_tokens,
            input_tokens + parts + output_tokens + reasoning,
        )
    ):
        caches_beside = total != input_tokens + output_tokens + reasoning
    if total is not None and not input_is_left and reasoning:
        whole = input_tokens + (parts if caches_beside else 0) + output_tokens
        thoughts_beside = total == whole + reasoning or (thoughts_beside and total != whole)
    if parts and (fresh := get(Meaning.FRESH_INPUT)) is not None:
        caches_beside = input_tokens == fresh
    if reasoning and (text := get(Meaning.TEXT_OUTPUT)) is not None:
        thoughts_beside = output_tokens == text
    if total is not None and input_is_left:  # what is left of it is the whole input
        beside = reasoning if thoughts_beside or reasoning > output_tokens else 0
        known_input = input_tokens = max(total - output_tokens - beside, 0)
        caches_beside = False
    if caches_beside or parts > input_tokens:
        input_tokens += parts
    if thoughts_beside or reasoning > output_tokens:
        output_tokens += reasoning
    audio_input, image_input = get(Meaning.AUDIO_INPUT, 0), get(Meaning.IMAGE_INPUT, 0)
    audio_output, image_output = get(Meaning.AUDIO_OUTPUT, 0), get(Meaning.IMAGE_OUTPUT, 0)
    # Where nothing says how much of the audio was cached, what does not fit into the input was.
    overlap = max(parts + audio_input + image_input - input_tokens, 0)
    cached_audio = min(get(Meaning.CACHED_AUDIO, overlap), cached, audio_input)
    searches = get(Meaning.WEB_SEARCHES, 0)
    used: dict[str, Any] = {"tool_calls": {"web_search": searches} if searches else None}
    # Parts of a whole that is not known are no usage: its price would be that of the parts alone.
    if known_input is not None:
        used |= {
            "input_tokens": max(input_tokens, parts + audio_input - cached_audio + image_input),
            "cached_input_tokens": cached,
            "cache_write_tokens": written - written_1h,
            "cache_write_1h_tokens": written_1h,
            "audio_input_tokens": audio_input,
            "cached_audio_input_tokens": cached_audio,
            "image_input_tokens": image_input,
        }
    if known_output is not None:
        used |= {
            "output_tokens": max(output_tokens, reasoning + audio_output + image_output),
            "reasoning_tokens": reasoning,
            "audio_output_tokens": audio_output,
            "image_output_tokens": image_output,
        }
    return used


def tier_of(text: str | None) -> str | None:
    """A service tier as the price book has it; None for the usual terms."""
    name = (text or "").strip().lower()
    return TIERS.get(name, name[:100] or None)


def _caches_beside(provider: str, model: str) -> bool:
    provider = provider.lower()
    if any(name in provider for name in CACHES_BESIDE):
        return True
    sells_others = not provider or any(name in provider for name in VENDOR_UNKNOWN if name)
    return sells_others and "claude" in model.lower()


def _thoughts_beside(provider: str, model: str) -> bool:
    provider = provider.lower()
    if any(name in provider for name in THOUGHTS_BESIDE):
        return True
    return not provider and "gemini" in model.lower()
