"""One row of the price book, and what a usage costs by it. Pure.

Prices are US dollars per million tokens, and dollars per call of a tool. A cost is rounded once, by
`opslog.pricing.money.usd`.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

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
T = TypeVar("T")
Text = Annotated[str, Meta(max_length=200)]
Name = Annotated[str, Meta(max_length=200, pattern=r"\S")]
Few = Annotated[dict[Name, T], Meta(max_length=20)]


class Rates(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, repr_omit_defaults=True
):
    """What each kind of token costs. None: not stated. Raises ValueError for what is no price.

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

    def __post_init__(self) -> None:
        for kind, rate in self.stated().items():
            _check(kind, rate)

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


class LongContext(Rates, frozen=True, kw_only=True):
    """Prices of *all* tokens of a call whose input is above a number of tokens (a cliff, not a
    staircase: that is how every provider that has them bills). None: the price below it stays."""

    above_input_tokens: Annotated[int, Meta(ge=0)]


class TierPrice(Rates, frozen=True, kw_only=True):
    """What a service tier costs: all tokens at `factor`, or at prices of its own.

    `source` and `as_of` say where and when the provider states it; they are for people.
    """

    factor: Decimal | None = None
    source: Text = ""
    as_of: Text = ""

    def __post_init__(self) -> None:
        Rates.__post_init__(self)
        stated = self.stated()
        if self.factor is not None:
            _check("factor", self.factor)
            if stated:
                raise ValueError("either a factor or prices")
        elif not {"input_per_mtok", "output_per_mtok"} <= stated.keys():
            raise ValueError("a factor, or input_per_mtok and output_per_mtok")


class Price(Rates, frozen=True, kw_only=True):
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
    service_tiers: Mapping[str, TierPrice] = {}
    tool_prices: Mapping[str, Decimal] = {}
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
            elif rates is self:
                rates = tier
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


def _check(kind: str, rate: Decimal) -> None:
    if not rate.is_finite() or rate < 0:
        raise ValueError(f"{kind}: {rate} is no price")


def _read(column: str, raw: object, shape: Any) -> Any:
    try:
        return msgspec.convert(raw, shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"{column}: {str(error).replace('`', '')}") from None


def long_context(raw: object) -> tuple[LongContext, ...]:
    """The `tiers` column as data. Raises ValueError for anything that is no list of prices."""
    if raw == []:
        return ()
    tiers = _read("tiers", raw, list[LongContext])
    return tuple(sorted(tiers, key=lambda tier: tier.above_input_tokens))


def service_tiers(raw: object) -> dict[str, TierPrice]:
    """The `service_tiers` column as data. Raises ValueError for what is no such object."""
    tiers: dict[str, TierPrice] = _read("service_tiers", raw, Few[TierPrice])
    if STANDARD in tiers:
        raise ValueError(f"service_tiers: {STANDARD} has the prices of the row")
    return tiers


def tool_prices(raw: object) -> dict[str, Decimal]:
    """The `tool_prices` column as data. Raises ValueError for what is no such object."""
    prices: dict[str, Decimal] = _read("tool_prices", raw, Few[Decimal])
    for tool, price in prices.items():
        _check(f"tool_prices: {tool}", price)
    return prices


def as_json(rates: Rates) -> dict[str, Any]:
    """One entry of the `tiers` or the `service_tiers` column: money as strings; what is not stated
    is left out."""
    return {
        name: format(value, "f") if isinstance(value, Decimal) else value
        for name, value in msgspec.structs.asdict(rates).items()
        if value not in (None, "")
    }


# What a row has besides numbers and texts, each with the reader that refuses what is malformed.
STRUCTURED: Final = {
    "tiers": long_context,
    "service_tiers": service_tiers,
    "tool_prices": tool_prices,
}
RULES: Final = {"match": check_match, "provider_match": check_match}
