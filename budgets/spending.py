"""Calls that a program makes to a model by itself: advice before one, and what it cost after it.

`check` is advice: it reserves nothing. `spend` is recorded even over a limit, because it was spent.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from budgets.admission import Caller, Decision, call, fingerprint, known_version, usage_as_json
from opslog import authority, prices
from opslog.money import usd
from opslog.pricing import Usage
from opslog.request_context import current_request_id

ZERO = Decimal(0)
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Who:
    """Whom a call is for; "" where it is not told."""

    user_id: str = ""
    surface: str = ""
    feature: str = ""
    agent_name: str = ""


@dataclass(frozen=True, slots=True)
class DayStatus:
    """The day's money of all. US dollars; the limits are None where they are switched off.

    `spent_usd` is settled spend; admission counts what is reserved besides.
    """

    date: str
    spent_usd: Decimal
    warning_usd: Decimal | None
    limit_usd: Decimal | None

    @property
    def blocked(self) -> bool:
        return self.limit_usd is not None and self.spent_usd >= self.limit_usd

    @property
    def warning(self) -> bool:
        return self.warning_usd is not None and self.spent_usd >= self.warning_usd

    @property
    def status(self) -> str:
        return "BLOCKED" if self.blocked else "WARNING" if self.warning else "OK"

    @property
    def remaining_usd(self) -> Decimal | None:
        return None if self.limit_usd is None else max(self.limit_usd - self.spent_usd, ZERO)

    @property
    def message(self) -> str:
        spent = f"${self.spent_usd.quantize(CENT):,}"
        if self.blocked:
            return f"Hard limit reached: {spent}"
        of = "no limit" if self.limit_usd is None else f"${self.limit_usd.quantize(CENT):,}"
        return f"Budget {'warning' if self.warning else 'OK'}: {spent} / {of}"


def day_status(figures: dict[str, Any]) -> DayStatus:
    """From what the database says of the day (`tollgate.day_figures_v1`)."""

    def amount(name: str) -> Decimal | None:
        return None if figures[name] is None else Decimal(figures[name])

    return DayStatus(
        figures["date"], amount("spentUsd") or ZERO, amount("warningUsd"), amount("limitUsd")
    )


def today() -> DayStatus:
    """Raises Unavailable."""
    (figures,) = authority.fetch_row("SELECT tollgate.day_figures_v1(tollgate.now())::text", [])
    return day_status(msgspec.json.decode(figures))


def check(
    *,
    caller: Caller,
    who: Who,
    estimated_usd: Decimal | None = None,
    model: str = "",
    usage: Usage | None = None,
) -> Decision:
    """What a call like this would be told now by everything that is shared. Raises Unavailable."""
    at_least = 0
    while True:
        estimate, priced, version = estimated_usd, None, None
        if model and estimate is None:
            book, now = prices.current_book(at_least=at_least), datetime.now(UTC)
            priced, version = book.find(model, now) is not None, book.version
            estimate = book.cost(model, usage, now) if usage else None
        tokens = usage.input_tokens + usage.output_tokens if usage else 0
        decision = call(
            "check",
            [
                *(caller.digest, caller.address or None),
                *(estimate, tokens, priced, version, model),
                *(who.user_id, who.surface, who.feature, who.agent_name),
            ],
        )
        if (newer := known_version(decision)) is None:
            return decision
        at_least = newer


def spend(
    *,
    caller: Caller,
    who: Who,
    cost_usd: Decimal | None = None,
    model: str = "",
    usage: Usage | None = None,
    idempotency_key: str = "",
) -> Decision:
    """Record what a call cost, told in US dollars or as usage of a model. Raises Unavailable."""
    at_least = 0
    while True:
        cost, version = cost_usd, None
        if cost is None and usage is not None:
            book = prices.current_book(at_least=at_least)
            cost, version = book.cost(model, usage, datetime.now(UTC)), book.version
        decision = call(
            "spend",
            [
                *(caller.digest, caller.address or None),
                None if cost is None else usd(cost),
                usage.input_tokens + usage.output_tokens if usage else 0,
                Jsonb(usage_as_json(model, usage)) if usage else None,
                *(version, model, who.user_id, who.surface, who.feature, who.agent_name),
                idempotency_key,
                fingerprint(who, cost_usd, model, usage),
                current_request_id(),
            ],
        )
        if (newer := known_version(decision)) is None:
            return decision
        at_least = newer
