"""From the bundled data of genai-prices to rows of the price book.

Reads the package's own data module: no network, and nothing that its updater may have fetched
(`assert_no_updates`). Importing that package takes seconds: never do it in a web process.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, time
from decimal import Decimal
from importlib.metadata import version
from typing import Any, Final

from genai_prices.data import providers as bundled_providers
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ClauseAnd,
    ClauseOr,
    ConditionalPrice,
    ModelInfo,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.types import ModelPrice as Prices

from opslog.pricing.money import usd
from opslog.pricing.price import LongContext, Price
from opslog.pricing.terms import completed, service_tiers_of, tool_prices_of

SOURCE: Final = "genai-prices"
# A price that genai-prices dates from nowhere holds from here on: before any recorded use.
BEGINNING: Final = datetime(2020, 1, 1, tzinfo=UTC)

# Subscriptions, aliases of other lists, and resold lists that nobody names in a model name.
NOT_IMPORTED: Final = frozenset({"cursor", "github-copilot", "openai-decisions", "quicksilverpro"})
NOT_IMPORTED_PREFIX: Final = "huggingface_"

# genai-prices' name of a price -> ours. A cache write without a lifetime is the five-minute one.
KINDS: Final = {
    "input_mtok": "input_per_mtok",
    "output_mtok": "output_per_mtok",
    "cache_read_mtok": "cached_input_per_mtok",
    "cache_write_mtok": "cache_write_per_mtok",
    "cache_write_5m_mtok": "cache_write_per_mtok",
    "cache_write_1h_mtok": "cache_write_1h_per_mtok",
    "output_reasoning_mtok": "reasoning_per_mtok",
    "input_audio_mtok": "audio_input_per_mtok",
    "cache_audio_read_mtok": "cached_audio_input_per_mtok",
    "output_audio_mtok": "audio_output_per_mtok",
    "input_image_mtok": "image_input_per_mtok",
    "output_image_mtok": "image_output_per_mtok",
}
# Prices of a thousand calls of a tool -> its name in `toolCalls`.
TOOLS: Final = {"web_searches_kcount": "web_search", "storage_searches_kcount": "file_search"}

FREE: Final = {"input_per_mtok": Decimal(0), "output_per_mtok": Decimal(0)}

SMALL_NAMES: Final = re.compile(
    r"\b(haiku|mini|nano|flash|lite|small|instant|tiny|micro|ministral|luna|"
    r"embed\w*|embedding|moderation|[1-9]b)\b"
)
LARGEST_NAMES: Final = re.compile(
    r"\b(opus|fable|mythos|ultra|deep-research|(gpt-[\d.]+|o[134])-pro)\b"
)
MIDDLE_NAMES: Final = re.compile(r"\b(sonnet|gpt-4o|gemini-[\d.]+-pro|medium)\b")
SMALL_BELOW: Final = Decimal(3)  # dollars per million output tokens
LARGEST_FROM: Final = Decimal(50)


def release() -> str:
    """The version of the package that the prices come from."""
    return f"genai-prices {version('genai-prices')}"


def assert_no_updates() -> None:
    """Raises RuntimeError if this process has replaced the bundled prices, as the package's own
    updater does from the network: nothing here may depend on a server's answer of today."""
    if get_snapshot().providers is not bundled_providers:
        raise RuntimeError("genai-prices works with other prices than the installed ones")


def tier_of(model: str, output_per_mtok: Decimal) -> str:
    """The class of a model for concurrency limits: a guess that an own price row may overrule.

    What costs $50 or more per million output tokens is largest. Below that the vendor's own word
    decides (haiku, mini, flash: small; opus, gpt-5-pro: largest; sonnet, gpt-4o: middle), small
    before largest, as in "o4-mini-deep-research". Names that say nothing: small below $3.
    """
    name = model.lower().replace("_", "-")
    if output_per_mtok >= LARGEST_FROM:
        return "largest"
    if SMALL_NAMES.search(name):
        return "small"
    if LARGEST_NAMES.search(name):
        return "largest"
    if MIDDLE_NAMES.search(name):
        return "middle"
    return "small" if output_per_mtok < SMALL_BELOW else "middle"


def bundled() -> list[Price]:
    """Every price in the package that is a price per token, historic ones included.

    Left out: models that are not billed by tokens alone (hours of audio, pages, a fee for each
    request) and models listed without any price, except those listed as free.
    They stay unknown, so a budget refuses them rather than letting them through at $0.
    """
    return [
        price
        for provider in bundled_providers
        if provider.id not in NOT_IMPORTED and not provider.id.startswith(NOT_IMPORTED_PREFIX)
        for model in provider.models
        for price in prices_of(provider, model)
    ]


def prices_of(provider: Provider, model: ModelInfo) -> Iterator[Price]:
    match = clause(model.match)
    home = None if provider.model_match is None else clause(provider.model_match)
    for effective_from, prices in schedule(model.prices):
        rates = FREE if is_free(provider, model, prices) else rates_of(prices)
        if rates is None:
            continue
        yield Price(
            model=model.id,
            provider=provider.id,
            source=SOURCE,
            effective_from=effective_from,
            tiers=tiers_of(provider.id, model.id, prices),
            service_tiers=service_tiers_of(provider.id, model.id),
            tool_prices=tools_of(provider.id, prices),
            match=match,
            provider_match=home,
            tier=tier_of(model.id, rates["output_per_mtok"]),
            **completed(provider.id, model.id, rates),
        )


def is_free(provider: Provider, model: ModelInfo, prices: Prices) -> bool:
    """Listed as free: genai-prices states no price for those slugs of OpenRouter."""
    stated = [price for price in vars(prices).values() if price is not None]
    return provider.id == "openrouter" and model.id.endswith(":free") and not any(stated)


def schedule(prices: Prices | list[ConditionalPrice]) -> list[tuple[datetime, Prices]]:
    """The dated prices of a model, oldest first.

    Where the price depends on the time of day, the highest of the day is taken: a budget may
    reserve and settle a little too much, never too little. (genai-prices lists such hours after
    the dated price that they belong to.)
    """
    if isinstance(prices, Prices):
        return [(BEGINNING, prices)]
    dated: list[tuple[datetime, Prices]] = []
    for conditional in prices:
        constraint = conditional.constraint
        if isinstance(constraint, StartDateConstraint):
            start = datetime.combine(constraint.start_date, time(), tzinfo=UTC)
            dated.append((start, conditional.prices))
        elif isinstance(constraint, TimeOfDateConstraint):
            start, so_far = dated[-1]
            if dearness(conditional.prices) > dearness(so_far):
                dated[-1] = (start, conditional.prices)
        else:
            dated.append((BEGINNING, conditional.prices))
    return sorted(dated, key=lambda entry: entry[0])


def dearness(prices: Prices) -> Decimal:
    return base(getattr(prices, "input_mtok", None)) + base(getattr(prices, "output_mtok", None))


def base(price: Decimal | TieredPrices | None) -> Decimal:
    if price is None:
        return Decimal(0)
    return price.base if isinstance(price, TieredPrices) else price


def rates_of(prices: Prices) -> dict[str, Any] | None:
    """Our columns, or None for a model that is not billed by tokens alone.

    Without a price for text output the costliest other output (audio, images) is taken for it; with
    none at all, as embeddings, output is free.
    """
    stated = {key: price for key, price in vars(prices).items() if price is not None}
    if "input_mtok" not in stated or "requests_kcount" in stated:
        return None
    rates = {ours: usd(base(stated[theirs])) for theirs, ours in KINDS.items() if theirs in stated}
    if "output_per_mtok" not in rates:
        outputs = [
            base(price)
            for key, price in stated.items()
            if key.startswith("output_") and key.endswith("_mtok")
        ]
        rates["output_per_mtok"] = usd(max(outputs, default=Decimal(0)))
    return rates


def tools_of(provider: str, prices: Prices) -> dict[str, Decimal]:
    """Dollars per call of each tool that has one price."""
    listed = {
        tool: usd(price / 1000)
        for theirs, tool in TOOLS.items()
        if isinstance(price := getattr(prices, theirs, None), Decimal)
    }
    return tool_prices_of(provider, listed)


def tiers_of(provider: str, model: str, prices: Prices) -> tuple[LongContext, ...]:
    above: dict[int, dict[str, Decimal]] = {}
    for theirs, ours in KINDS.items():
        price = getattr(prices, theirs, None)
        if isinstance(price, TieredPrices):
            for tier in price.tiers:
                above.setdefault(tier.start, {})[ours] = usd(tier.price)
    return tuple(
        LongContext(above_input_tokens=start, **completed(provider, model, above[start]))
        for start in sorted(above)
    )


def clause(rule: Any) -> dict[str, Any]:
    """A rule of genai-prices as the JSON that `opslog.pricing.matches` reads."""
    if isinstance(rule, ClauseOr):
        return {"or": [clause(each) for each in rule.or_]}
    if isinstance(rule, ClauseAnd):
        return {"and": [clause(each) for each in rule.and_]}
    ((condition, operand),) = asdict(rule).items()
    return {condition: operand}
