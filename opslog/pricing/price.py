"""One row of the price book, and what a usage costs by it. Pure.

Prices are US dollars per million tokens, and dollars per call of a tool. A cost is rounded once, by
`opslog.pricing.money.usd`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

from opslog.pricing.model_names import check_match
from opslog.pricing.money import usd
from opslog.pricing.usage import STANDARD, Usage

MILLION: Final = Decimal(1_000_000)
ZERO: Final = Decimal(0)
ONE: Final = Decimal(1)

RATES: Final = (
    "input_per_mtok",
    "output_per_mtok",
    "cached_input_per_mtok",
    "cache_write_per_mtok",
    "cache_write_1h_per_mtok",
    "reasoning_per_mtok",
    "audio_input_per_mtok",
    "cached_audio_input_per_mtok",
    "audio_output_per_mtok",
    "image_input_per_mtok",
    "image_output_per_mtok",
)
M = TypeVar("M", Decimal, Decimal | None)
MOST_ENTRIES: Final = 20
LONGEST_TEXT: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What each kind of token costs. None: not stated.

    Cached tokens without a rate cost what the tokens cost that they are part of, five-minute cache
    writes what input costs, reasoning what output costs. Nothing stands in for the others: a usage
    that has such tokens has no price.
    """

    input_per_mtok: Decimal | None = None
    output_per_mtok: Decimal | None = None
    cached_input_per_mtok: Decimal | None = None
    cache_write_per_mtok: Decimal | None = None
    cache_write_1h_per_mtok: Decimal | None = None
    reasoning_per_mtok: Decimal | None = None
    audio_input_per_mtok: Decimal | None = None
    cached_audio_input_per_mtok: Decimal | None = None
    audio_output_per_mtok: Decimal | None = None
    image_input_per_mtok: Decimal | None = None
    image_output_per_mtok: Decimal | None = None

    def stated(self) -> dict[str, Decimal]:
        return {kind: rate for kind in RATES if (rate := getattr(self, kind)) is not None}

    def tokens(self, usage: Usage) -> Decimal | None:
        """Dollars for all tokens, unrounded; None where a kind of them has no rate."""
        text, output = self.input_per_mtok, self.output_per_mtok
        if text is None or output is None:
            return None
        audio, cached = self.audio_input_per_mtok, usage.cached_input_tokens
        cached_audio = usage.cached_audio_input_tokens
        dollars = (
            usage.plain_input_tokens * text
            + usage.plain_output_tokens * output
            + (cached - cached_audio) * _first(self.cached_input_per_mtok, text)
            + usage.cache_write_tokens * _first(self.cache_write_per_mtok, text)
            + usage.reasoning_tokens * _first(self.reasoning_per_mtok, output)
        )
        if usage.has_text_only:
            return dollars / MILLION
        for tokens, rate in (
            (usage.cache_write_1h_tokens, self.cache_write_1h_per_mtok),
            (usage.audio_input_tokens - cached_audio, audio),
            (cached_audio, _first(self.cached_audio_input_per_mtok, audio)),
            (usage.audio_output_tokens, self.audio_output_per_mtok),
            (usage.image_input_tokens, self.image_input_per_mtok),
            (usage.image_output_tokens, self.image_output_per_mtok),
        ):
            if not tokens:
                continue
            if rate is None:
                return None
            dollars += tokens * rate
        return dollars / MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class LongContext(Rates):
    """Prices of *all* tokens of a call whose input is above a number of tokens (a cliff, not a
    staircase: that is how every provider that has them bills). None: the price below it stays."""

    above_input_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TierPrice:
    """What a service tier costs: all tokens at `factor`, or at prices of its own.

    `source` and `as_of` say where and when the provider states it; they are for people.
    """

    factor: Decimal | None = None
    rates: Rates | None = None
    source: str = ""
    as_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price(Rates):
    """One row of the price book: what a model costs from a moment on.

    `match` says which other names mean this model, `provider_match` which bare names belong to
    its provider (both as in genai-prices: `{"starts_with": …}`, `{"or": […]}`, …).
    """

    model: str
    provider: str
    source: str
    effective_from: datetime
    input_per_mtok: Decimal
    output_per_mtok: Decimal
    tiers: tuple[LongContext, ...] = ()
    service_tiers: Mapping[str, TierPrice] = field(default_factory=dict)
    tool_prices: Mapping[str, Decimal] = field(default_factory=dict)
    match: Mapping[str, Any] | None = None
    provider_match: Mapping[str, Any] | None = None
    tier: str = "middle"

    def cost(self, usage: Usage) -> Decimal | None:
        """Dollars for this usage, or None where this row has no price for a part of it: what it
        cannot price is never charged as something cheaper. Each token is charged once."""
        rates: Rates = self
        for above in self.tiers:  # ascending: the last one that applies wins
            if usage.input_tokens > above.above_input_tokens:
                rates = Rates(**{**rates.stated(), **above.stated()})
        factor = ONE
        if usage.service_tier != STANDARD:
            tier = self.service_tiers.get(usage.service_tier)
            if tier is None:
                return None
            if tier.factor is not None:
                factor = tier.factor
            elif tier.rates is not None and rates is self:
                rates = tier.rates
            else:
                # Prices of a tier are for a normal context; no list has both at once.
                return None
        tokens = rates.tokens(usage)
        calls = self._calls(usage)
        if tokens is None or calls is None:
            return None
        return usd(tokens * factor + calls)

    def _calls(self, usage: Usage) -> Decimal | None:
        """Dollars for the calls of tools; None where one has no price."""
        dollars = ZERO
        for tool, times in usage.tool_calls.items():
            if not times:
                continue
            price = self.tool_prices.get(tool)
            if price is None:
                return None
            dollars += times * price
        return dollars


def _first(rate: Decimal | None, otherwise: M) -> Decimal | M:
    """`rate`, unless there is none: a rate of 0 is a rate."""
    return otherwise if rate is None else rate


def long_context(raw: object) -> tuple[LongContext, ...]:
    """The `tiers` column as data. Raises ValueError for anything that is no list of prices."""
    if raw == []:
        return ()
    if not isinstance(raw, list) or not all(
        isinstance(entry, dict) and entry.keys() <= _TIER_KEYS for entry in raw
    ):
        raise ValueError(f"tiers: a list of objects with keys of {sorted(_TIER_KEYS)} is expected")
    tiers = []
    for entry in raw:
        above = entry.get("above_input_tokens")
        if type(above) is not int or above < 0:
            raise ValueError("tiers: above_input_tokens must be a whole number, 0 or more")
        tiers.append(LongContext(above_input_tokens=above, **_rates("tiers", entry)))
    return tuple(sorted(tiers, key=lambda tier: tier.above_input_tokens))


def service_tiers(raw: object) -> dict[str, TierPrice]:
    """The `service_tiers` column as data. Raises ValueError for what is no such object."""
    tiers = {}
    for name, entry in _entries("service_tiers", raw):
        if name == STANDARD:
            raise ValueError(f"service_tiers: {STANDARD} has the prices of the row")
        if not isinstance(entry, dict) or not entry.keys() <= _SERVICE_KEYS:
            raise ValueError(
                f"service_tiers: {name}: an object with keys of {sorted(_SERVICE_KEYS)} is expected"
            )
        texts = {key: entry.get(key, "") for key in ("source", "as_of")}
        if not all(isinstance(text, str) and len(text) <= LONGEST_TEXT for text in texts.values()):
            raise ValueError(f"service_tiers: {name}: source and as_of must be short texts")
        rates = _rates("service_tiers", entry)
        if "factor" in entry:
            if rates:
                raise ValueError(f"service_tiers: {name}: either a factor or prices")
            tiers[name] = TierPrice(factor=amount("service_tiers", entry["factor"]), **texts)
        elif {"input_per_mtok", "output_per_mtok"} <= rates.keys():
            tiers[name] = TierPrice(rates=Rates(**rates), **texts)
        else:
            raise ValueError(
                f"service_tiers: {name}: a factor, or input_per_mtok and output_per_mtok"
            )
    return tiers


def tool_prices(raw: object) -> dict[str, Decimal]:
    """The `tool_prices` column as data. Raises ValueError for what is no such object."""
    return {name: amount("tool_prices", price) for name, price in _entries("tool_prices", raw)}


def as_json(rates: Rates) -> dict[str, str]:
    """Money as strings; what is not stated is left out."""
    return {kind: format(rate, "f") for kind, rate in rates.stated().items()}


def long_context_as_json(tier: LongContext) -> dict[str, Any]:
    """One entry of the `tiers` column."""
    return {"above_input_tokens": tier.above_input_tokens, **as_json(tier)}


def service_tier_as_json(tier: TierPrice) -> dict[str, Any]:
    """One value of the `service_tiers` column."""
    price = {"factor": format(tier.factor, "f")} if tier.factor is not None else {}
    if tier.rates is not None:
        price = as_json(tier.rates)
    notes = {"source": tier.source, "as_of": tier.as_of}
    return {**price, **{key: text for key, text in notes.items() if text}}


# What a row has besides numbers and texts, each with the reader that refuses what is malformed.
STRUCTURED: Final = {
    "tiers": long_context,
    "service_tiers": service_tiers,
    "tool_prices": tool_prices,
}
RULES: Final = {"match": check_match, "provider_match": check_match}
_TIER_KEYS: Final = {"above_input_tokens", *RATES}
_SERVICE_KEYS: Final = {"factor", "source", "as_of", *RATES}


def _entries(column: str, raw: object) -> list[tuple[str, Any]]:
    if not isinstance(raw, dict) or len(raw) > MOST_ENTRIES:
        raise ValueError(f"{column}: an object of up to {MOST_ENTRIES} entries is expected")
    for name in raw:
        if not name.strip() or len(name) > LONGEST_TEXT:
            raise ValueError(f"{column}: {name[:40]!r} is no name")
    return list(raw.items())


def _rates(column: str, entry: Mapping[str, Any]) -> dict[str, Decimal]:
    return {kind: amount(column, entry[kind]) for kind in RATES if entry.get(kind) is not None}


def amount(column: str, raw: object) -> Decimal:
    """Raises ValueError for what is no number, 0 or more."""
    try:
        number = Decimal(str(raw))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise ValueError(f"{column}: {raw!r} is no price")
    return number
