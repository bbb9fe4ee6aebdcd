"""What a call costs: the price book, as plain data.

Pure: no database, no clock, no network. `opslog.price_book.prices` fills a book from the database;
`opslog.pricing.price` has its rows, `opslog.pricing.usage` what they are applied to.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final, TypeAlias

from opslog.identities import canonical
from opslog.pricing.model_names import (
    EXACT_NAMES_OF,
    FINE_TUNED,
    OPEN_WEIGHTS,
    OTHER_TERMS,
    SELLS_MODELS_OF,
    Key,
    bare,
    key_of,
    matches,
    names_asked,
    provider_of,
    readings_of,
    with_dashed_date,
)
from opslog.pricing.price import Price
from opslog.pricing.usage import Usage

__all__ = ("OWN", "TIERS", "Price", "PriceBook", "Usage")

OWN: Final = "own"
TIERS: Final = ("largest", "middle", "small")

NAMES_REMEMBERED = 4096
LONGEST_NAME = 256


Series: TypeAlias = tuple[Price, ...]  # of one model from one source, newest first


class PriceBook:
    """All prices at one version. Immutable; what a name means is worked out once and remembered.

    A name is looked up in this order, and the first of these with a price in force wins:

    1. an own price of exactly that name, or of the imported model that the name means;
    2. an own price whose match rule fits the name;
    3. the imported price: "provider/model" and "provider:model" in that provider; a bare name in
       the provider whose rule fits it, else where it is an exact name (`EXACT_NAMES_OF`).

    Where the provider is given separately, "provider/model" is looked up, and the model alone where
    the provider's list has no such model; an own price of exactly the model's name still wins.

    `unusable` are rows that could not be read. Their models have no price at all: falling back to
    another row would charge something nobody decided.
    """

    def __init__(
        self, version: int, prices: Iterable[Price], *, unusable: Iterable[Key] = ()
    ) -> None:
        self.version = version
        self._unusable = frozenset(key_of(provider, model) for provider, model in unusable)
        own: dict[Key, list[Price]] = {}
        imported: dict[str, dict[str, list[Price]]] = {}
        for price in prices:
            provider, model = key_of(price.provider, price.model)
            if price.source == OWN:
                own.setdefault((provider, model), []).append(price)
            else:
                imported.setdefault(provider, {}).setdefault(model, []).append(price)
        self._own: dict[Key, Series] = {key: _newest_first(own[key]) for key in sorted(own)}
        self._own_rules = [series for series in self._own.values() if series[0].match]
        # Rules may overlap; genai-prices lets the first in the order of the names win.
        self._imported: dict[str, dict[str, Series]] = {
            provider: {model: _newest_first(models[model]) for model in sorted(models)}
            for provider, models in sorted(imported.items())
        }
        self._homes = [
            (provider, rule)
            for provider, models in self._imported.items()
            if (rule := next(iter(models.values()))[0].provider_match) is not None
        ]
        self._candidates = lru_cache(NAMES_REMEMBERED)(self._look_up)
        self._name = lru_cache(NAMES_REMEMBERED)(self._name_of)

    def __len__(self) -> int:
        return len(self._own) + sum(len(models) for models in self._imported.values())

    def find(self, model: str, at: datetime, *, provider: str = "") -> Price | None:
        """The price in force for that name at that moment, or None."""
        found = (self._in_force(series, at) for series in self._candidates(model, provider))
        return next(filter(None, found), None)

    def in_force(self, at: datetime) -> Iterator[Price]:
        """One price of each model at that moment, own ones first; an imported one that an own
        price stands for is left out."""
        own = [self._in_force(series, at) for series in self._own.values()]
        hidden = {key_of(price.provider, price.model) for price in own if price is not None}
        yield from (price for price in own if price is not None)
        for provider, models in self._imported.items():
            for model, series in models.items():
                if hidden.isdisjoint({("", model), (provider, model)}) and (
                    price := self._in_force(series, at)
                ):
                    yield price

    @staticmethod
    def _in_force(series: Series, at: datetime) -> Price | None:
        return next((price for price in series if price.effective_from <= at), None)

    def cost(self, model: str, usage: Usage, at: datetime, *, provider: str = "") -> Decimal | None:
        """Dollars, or None where no price is known for a part of it. A price of 0 is a price."""
        price = self.find(model, at, provider=provider)
        return None if price is None else price.cost(usage)

    def tier(self, model: str, at: datetime) -> str | None:
        """largest, middle or small; None for a model without a price. The larger one where a
        seller's list has another tier than the model has by its own name."""
        found = (self.find(model, at), self.find(self.name_of(model), at))
        return min(
            (price.tier for price in found if price is not None), key=TIERS.index, default=None
        )

    def name_of(self, model: str, *, provider: str = "") -> str:
        """The one name that limits, counts and triage know a model by, whoever sells it and which
        snapshot of it is asked for: that of the price it means, without what is no model in it.
        A name that the book does not know is only stripped. "" for no name."""
        return self._name(model, provider)

    def _name_of(self, model: str, provider: str) -> str:
        # The maker's own word first: a host may list two models as one.
        name = self._meant(bare(model), "") or self._meant(model, provider) or bare(model)
        # A host's list may call a model otherwise than its maker's, which a bare name means.
        passed: list[str] = []
        while name not in passed:
            passed.append(name)
            name = self._meant(name, "") or name
        return min(passed[passed.index(name) :])

    def _meant(self, model: str, provider: str) -> str:
        """The bare name of the price that a name finds; an imported one before an own one, whose
        rule may stand for many models."""
        found = self._candidates(model, provider)
        if not found:
            return ""
        series = found[0] if found[-1][0].source == OWN else found[-1]
        return bare(series[0].model)

    def _look_up(self, sent: str, provider: str) -> tuple[Series, ...]:
        name = canonical(sent)
        if not name or len(name) > LONGEST_NAME:
            return ()
        names = names_asked(name, provider)
        keys: list[Key] = [] if name in names else [("", name)]
        imported: Series | None = None
        for asked in names:
            keys += [("", asked), *readings_of(asked)]
            if imported is None and (imported := self._find_imported(asked)):
                keys += _meanings(imported, bare=not self._has_host(asked))
        if not self._unusable.isdisjoint(keys):
            return ()
        if imported is not None and self._is_a_guess(imported[0], provider):
            imported = None
        found = [self._own[key] for key in dict.fromkeys(keys) if key in self._own]
        found += [
            series
            for series in self._own_rules
            if (rule := series[0].match) and any(matches(rule, asked) for asked in (name, *names))
        ]
        if imported is not None:
            found.append(imported)
        return tuple(found)

    def _is_a_guess(self, price: Price, provider: str) -> bool:
        """Does the provider asked have a list, and not this model? An open model is sold by many,
        at many prices: that of another seller may be far too low. (Every server that speaks
        OpenAI's protocol is called "openai" by its clients, so that says nothing.)"""
        seller = provider_of(provider)
        return (
            seller != "openai"
            and seller in self._imported
            and price.provider not in (seller, *SELLS_MODELS_OF.get(seller, ()))
            and OPEN_WEIGHTS.search(price.model.lower()) is not None
        )

    def _has_host(self, name: str) -> bool:
        """Is the name prefixed by a provider that is not the model's home?"""
        homes = {provider for provider, _ in self._homes}
        return any(
            provider in self._imported and provider not in homes
            for provider, _ in readings_of(name)
        )

    def _find_imported(self, name: str) -> Series | None:
        found = self._match_imported(name)
        if found is None:
            dashed = with_dashed_date(name)
            found = self._match_imported(dashed) if dashed != name else None
        return found

    def _match_imported(self, name: str) -> Series | None:
        for provider, model in readings_of(name):
            if provider in self._imported and (series := self._sold_by(provider, model)):
                return series
        if OTHER_TERMS.search(name):  # a slug of OpenRouter's, which may leave the gateway out
            return self._imported.get("openrouter", {}).get(name) or self._of_home(name)
        if any(provider in self._imported for provider, _ in readings_of(name)):
            return None
        return self._of_home(name)

    def _of_home(self, name: str) -> Series | None:
        if name.startswith(FINE_TUNED):
            return self._sold_by("openai", name)
        for provider, rule in self._homes:
            if matches(rule, name):
                return self._sold_by(provider, name)
        for provider in EXACT_NAMES_OF:
            if series := self._imported.get(provider, {}).get(name):
                return series
        return None

    def _sold_by(self, provider: str, name: str) -> Series | None:
        for seller in (provider, *SELLS_MODELS_OF.get(provider, ())):
            models = self._imported.get(seller, {})
            if series := models.get(name):
                return series
            if OTHER_TERMS.search(name):
                continue
            for series in models.values():
                rule = series[0].match
                if rule is not None and matches(rule, name):
                    return series
        return None


def _meanings(imported: Series, *, bare: bool) -> list[Key]:
    """The own prices that stand for an imported model: always provider and model, and the bare
    model name where the model was not asked for at a host (a host has prices of its own)."""
    provider, model = key_of(imported[0].provider, imported[0].model)
    return [(provider, model), ("", model)] if bare else [(provider, model)]


def _newest_first(prices: list[Price]) -> Series:
    return tuple(sorted(prices, key=lambda price: price.effective_from, reverse=True))
