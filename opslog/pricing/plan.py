"""What an import of prices would change. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal

from opslog.pricing import Price


@dataclass(frozen=True, slots=True)
class Change:
    old: Price
    new: Price

    def differences(self) -> list[tuple[str, object, object]]:
        """(column, old, new) for every column that differs."""
        return [
            (field.name, before, after)
            for field in fields(Price)
            if field.name not in ("effective_from", "source")
            and (before := getattr(self.old, field.name))
            != (after := getattr(self.new, field.name))
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import would do. `added` and the new side of `changed` are rows to write, `withdrawn`
    are announced prices that were never in force and no longer stand, `gone` are models that the
    package no longer lists: their prices stay, or programs that still use them would be refused.
    """

    added: tuple[Price, ...]
    changed: tuple[Change, ...]
    withdrawn: tuple[Price, ...]
    gone: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.withdrawn)

    @property
    def rows(self) -> list[Price]:
        return [*self.added, *(change.new for change in self.changed)]


def plan(wanted: Iterable[Price], held: Iterable[Price], *, now: datetime) -> Plan:
    """What to write so that from `now` on the imported prices are the wanted ones.

    A model seen for the first time comes with its history. After that the past is never
    rewritten: what was charged stands, and a correction holds from the moment it is imported.
    `held` are imported rows only; own prices have no part in this.
    """
    have, want = by_model(held), by_model(wanted)
    added: list[Price] = []
    changed: list[Change] = []
    withdrawn: list[Price] = []
    for key, prices in want.items():
        rows = have.get(key)
        if rows is None:
            added += prices
            continue
        announced = {price.effective_from: price for price in prices if price.effective_from > now}
        standing = [
            row
            for row in rows
            if row.effective_from <= now or announced.get(row.effective_from) == row
        ]
        withdrawn += [row for row in rows if row not in standing]
        before, after = in_force(standing, now), in_force(prices, now)
        if after is not None and before is None:
            added.append(after)
        elif before is not None and after is not None:
            after = replace(after, effective_from=now)
            if Change(before, after).differences():
                changed.append(Change(before, after))
        added += [price for price in announced.values() if price not in standing]
    gone = tuple(key for key in have if key not in want)
    return Plan(tuple(added), tuple(changed), tuple(withdrawn), gone)


def plain(value: object) -> str:
    """A price without trailing zeros, for people; anything else as it is."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def by_model(prices: Iterable[Price]) -> dict[tuple[str, str], list[Price]]:
    models: dict[tuple[str, str], list[Price]] = {}
    for price in sorted(prices, key=lambda p: (p.provider, p.model, p.effective_from)):
        models.setdefault((price.provider, price.model), []).append(price)
    return models


def in_force(prices: list[Price], at: datetime) -> Price | None:
    return next((price for price in reversed(prices) if price.effective_from <= at), None)
