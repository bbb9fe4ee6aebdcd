"""What providers charge that genai-prices does not list, by their price lists. Pure.

Each entry is as of `AS_OF`; an import takes it where genai-prices has nothing of its own. Sources:
openai.com/api/pricing, platform.claude.com/docs/en/about-claude/pricing and
ai.google.dev/gemini-api/docs/pricing, read beside the price map of LiteLLM 1.110.2. What is on no
list stays without a price.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from opslog.pricing.price import RATES, Rates, TierPrice

AS_OF: Final = "2026-11-28"
OPENAI: Final = "openai.com/api/pricing"
ANTHROPIC: Final = "platform.claude.com/docs/en/about-claude/pricing"
GOOGLE: Final = "ai.google.dev/gemini-api/docs/pricing"

# A prompt cache at Anthropic, whoever sells the model: written for five minutes, for an hour.
CLAUDE: Final = re.compile(r"\bclaude\b")
FIVE_MINUTES: Final = Decimal("1.25")
ONE_HOUR: Final = Decimal(2)
CACHES: Final = frozenset({"cached_input_per_mtok", "cache_write_per_mtok"})

# Half of every price per token.
BATCH: Final = {"anthropic": ANTHROPIC, "google": GOOGLE, "openai": OPENAI}
HALF: Final = Decimal("0.5")
FREE: Final = Decimal(0)
# What OpenAI's list has otherwise.
NOT_HALF: Final = {
    "gpt-3.5-turbo-1106": TierPrice(factor=Decimal(1), source=OPENAI, as_of=AS_OF),
    "ft:gpt-4o": TierPrice(
        rates=Rates(input_per_mtok=Decimal("2.225"), output_per_mtok=Decimal("12.5")),
        source=OPENAI,
        as_of=AS_OF,
    ),
}
EARLIER: Final = ("gpt-5", "gpt-5.1", "gpt-5.2", "gpt-5.4", "gpt-5.4-mini")
LATER: Final = (
    *("gpt-5.6-luna", "gpt-5.6-sol", "gpt-5.6-terra"),
    *("gpt-6-astra", "gpt-6-luna", "gpt-6-sol", "gpt-6.1-sol", "gpt-6.1-terra"),
)
FLEX: Final = frozenset(
    {
        *EARLIER,
        *LATER,
        *("o3", "o4-mini", "gpt-5-mini", "gpt-5-nano"),
        *("gpt-5.4-nano", "gpt-5.4-pro", "gpt-5.5", "gpt-5.5-pro"),
    }
)
# A factor on every price, or the prices of input, cached input and output.
PRIORITY: Final[Mapping[str, Decimal | tuple[str, str, str]]] = {
    **dict.fromkeys((*EARLIER, *LATER, "gpt-4.1-nano", "gpt-5.3-codex"), Decimal(2)),
    **dict.fromkeys(("gpt-4.1", "gpt-4.1-mini", "gpt-4o-2024-05-13", "o3"), Decimal("1.75")),
    "gpt-4o": Decimal("1.7"),
    "gpt-5-mini": Decimal("1.8"),
    "gpt-5.5": Decimal("2.5"),
    "gpt-4o-mini": ("0.25", "0.125", "1"),
    "o4-mini": ("2", "0.5", "8"),
}

# Listed by Google with text, image and video at one price.
AUDIO_AS_TEXT: Final = re.compile(
    r"gemini-(2\.0-flash-lite|2\.5-pro|3-pro-preview|3\.1-pro-preview|3\.5-flash(-lite)?|"
    r"3\.[678]-flash|4-argon)"
)
# Audio input and output, dollars per million tokens.
AUDIO: Final = {
    "gpt-4o-audio-preview": ("40", "80"),
    "gpt-4o-mini-audio-preview": ("10", "20"),
}
# Pictures that a chat model looks at are input like any other at these three.
SEES: Final = frozenset(BATCH)
OTHER_THAN_CHAT: Final = re.compile(
    r"audio|embed|image|live|moderation|omni|realtime|robotics|sonic|speech|transcribe|tts|voice"
)
IMAGE_MODELS: Final = re.compile(r"gpt-image-")

# Fetching a page is free beside its tokens.
WEB_FETCH: Final = {"web_fetch": Decimal(0)}


def completed(provider: str, model: str, rates: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The rates of a row, or those that a long context has instead, with what follows from a
    price list and is not stated."""
    text, output = rates.get("input_per_mtok"), rates.get("output_per_mtok")
    known = dict.fromkeys(RATES, FREE) if text == output == FREE else {}
    if text is not None:
        if CLAUDE.search(model) and not CACHES.isdisjoint(rates):
            known["cache_write_per_mtok"] = text * FIVE_MINUTES
            known["cache_write_1h_per_mtok"] = text * ONE_HOUR
        if provider == "google" and AUDIO_AS_TEXT.fullmatch(model):
            known["audio_input_per_mtok"] = text
            if (cached := rates.get("cached_input_per_mtok")) is not None:
                known["cached_audio_input_per_mtok"] = cached
        if provider in SEES and not OTHER_THAN_CHAT.search(model):
            known["image_input_per_mtok"] = text
    if provider == "openai":
        if model in AUDIO:
            known["audio_input_per_mtok"], known["audio_output_per_mtok"] = map(
                Decimal, AUDIO[model]
            )
        if output is not None and IMAGE_MODELS.match(model):
            known["image_output_per_mtok"] = output
    return {**known, **rates}


def service_tiers_of(provider: str, model: str) -> dict[str, TierPrice]:
    """What other service tiers cost at this provider; those on no list are left out."""
    tiers: dict[str, TierPrice] = {}
    if provider in BATCH:
        half = TierPrice(factor=HALF, source=BATCH[provider], as_of=AS_OF)
        tiers["batch"] = NOT_HALF.get(model, half) if provider == "openai" else half
    if provider == "openai":
        if model in FLEX:
            tiers["flex"] = TierPrice(factor=HALF, source=OPENAI, as_of=AS_OF)
        match PRIORITY.get(model):
            case Decimal() as factor:
                tiers["priority"] = TierPrice(factor=factor, source=OPENAI, as_of=AS_OF)
            case (text, cached, output):
                rates = Rates(
                    input_per_mtok=Decimal(text),
                    cached_input_per_mtok=Decimal(cached),
                    output_per_mtok=Decimal(output),
                )
                tiers["priority"] = TierPrice(rates=rates, source=OPENAI, as_of=AS_OF)
    return tiers


def tool_prices_of(provider: str, listed: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Dollars per call of a tool: what genai-prices lists, and what is free."""
    if provider == "anthropic" and "web_search" in listed:
        return {**WEB_FETCH, **listed}
    return dict(listed)
