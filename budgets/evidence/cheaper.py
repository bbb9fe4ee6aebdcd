"""What the same tokens would have cost on the cheaper models of the price book. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from opslog.pricing import OWN, Price, PriceBook, Usage
from opslog.pricing.money import usd

SHOWN_OF_A_TIER: Final = 2
TIERS: Final = ("largest", "middle", "small")


@dataclass(frozen=True, slots=True)
class TokensUsed:
    """The tokens of all runs on one model whose input has `above` tokens or more, and below the
    next threshold of any long-context price: within it every price is linear, so sums suffice."""

    model: str
    above: int
    runs: int
    cost_usd: Decimal
    usage: Usage


@dataclass(frozen=True, slots=True)
class ModelCost:
    """A model of the price book, and what the same tokens would have cost on it; `period_usd` is
    the period's dollars in the same proportion."""

    model: str
    provider: str
    tier: str
    usd: Decimal
    period_usd: Decimal


@dataclass(frozen=True, slots=True)
class Alternatives:
    """`usd` is what the `runs` that reported their tokens cost, of the last `sampled` settled runs;
    `period_usd` what all runs of the period cost. `models` would have cost less, at the prices of
    now, the costliest first: a few of each tier, the book's own prices before imported ones."""

    sampled: int
    runs: int
    usd: Decimal
    period_usd: Decimal
    tokens: Usage
    models: tuple[ModelCost, ...]


def thresholds(book: PriceBook, at: datetime) -> list[int]:
    """From how many input tokens on any long-context price in force applies, ascending."""
    return sorted(
        {tier.above_input_tokens + 1 for price in book.in_force(at) for tier in price.tiers}
    )


def alternatives(
    used: Sequence[TokensUsed],
    book: PriceBook,
    at: datetime,
    *,
    sampled: int,
    period_usd: Decimal,
) -> Alternatives:
    """Candidates are own prices and what the providers of the models used sell: a model of the
    same vendor needs another name in a request, one of another vendor needs a contract. What has
    no price for input or for output (embeddings, free models) is none."""
    spent = sum((each.cost_usd for each in used), Decimal(0))
    found: dict[str, list[tuple[bool, Decimal, Price]]] = {tier: [] for tier in TIERS}
    names = {each.model for each in used}
    sellers = {price.provider for name in names if (price := book.find(name, at))} - {""}
    for price in book.in_force(at) if used else ():
        own = price.source == OWN
        if price.model in names or not (own or price.provider in sellers):
            continue
        if not price.input_per_mtok or not price.output_per_mtok:
            continue
        costs = [_flat(price, each.above).cost(each.usage) for each in used]
        cost = sum((cost for cost in costs if cost is not None), Decimal(0))
        if None not in costs and cost < spent:
            found.setdefault(price.tier, []).append((not own, cost, price))
    models = [
        ModelCost(price.model, price.provider, price.tier, cost, usd(period_usd * cost / spent))
        for candidates in found.values()
        for cost, price in _cheapest(candidates)
    ]
    return Alternatives(
        sampled=sampled,
        period_usd=period_usd,
        runs=sum(each.runs for each in used),
        usd=spent,
        tokens=_sum(each.usage for each in used),
        models=tuple(sorted(models, key=lambda each: (-each.usd, each.model))),
    )


def _cheapest(candidates: list[tuple[bool, Decimal, Price]]) -> list[tuple[Decimal, Price]]:
    """Own prices first, then the cheapest; what costs the same (dated names of one model) once."""
    chosen: dict[tuple[bool, Decimal], Price] = {}
    for imported, cost, price in sorted(candidates, key=lambda each: (*each[:2], each[2].model)):
        chosen.setdefault((imported, cost), price)
    return [(cost, price) for (_, cost), price in chosen.items()][:SHOWN_OF_A_TIER]


def _flat(price: Price, input_tokens: int) -> Price:
    """The price of every token of calls with that many input tokens, however many calls."""
    rates: dict[str, Any] = {}
    for tier in price.tiers:
        if input_tokens > tier.above_input_tokens:
            rates |= tier.stated()
    return replace(price, tiers=(), **rates)


def _sum(usages: Iterable[Usage]) -> Usage:
    total = Usage(0, 0)
    for usage in usages:
        total = Usage(
            total.input_tokens + usage.input_tokens,
            total.output_tokens + usage.output_tokens,
            cached_input_tokens=total.cached_input_tokens + usage.cached_input_tokens,
            reasoning_tokens=total.reasoning_tokens + usage.reasoning_tokens,
            cache_write_tokens=total.cache_write_tokens + usage.cache_write_tokens,
            cache_write_1h_tokens=total.cache_write_1h_tokens + usage.cache_write_1h_tokens,
        )
    return total
