"""Calls that a program makes to a model by itself: advice before one, and what it cost after it.

`check` is advice: it reserves nothing. `spend` is recorded even over a limit, because it was spent.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from budgets.admission import Caller, Decision, Fields, decide, fingerprint, usage_as_json
from opslog.database import authority
from opslog.identities import canonical, sent_as
from opslog.price_book import prices
from opslog.pricing import Usage
from opslog.pricing.money import usd
from opslog.request_context import current_request_id

ZERO = Decimal(0)
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whom a call is for; "" where it is not reported."""

    user_id: str = ""
    surface: str = ""
    feature: str = ""
    agent_name: str = ""

    def canonical(self) -> "Attribution":
        """In the spelling that is compared."""
        names = (self.user_id, self.surface, self.feature, self.agent_name)
        return Attribution(*map(canonical, names))


@dataclass(frozen=True, slots=True)
class DayStatus:
    """The day's money of all. US dollars; the limits are None where they are switched off.

    `spent_usd` is settled spend, which is what `remaining_usd` leaves; admission counts
    `reserved_usd` besides, so an ask has to fit into `available_usd`.
    """

    date: str
    spent_usd: Decimal
    warning_usd: Decimal | None
    limit_usd: Decimal | None
    reserved_usd: Decimal = ZERO

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
    def available_usd(self) -> Decimal | None:
        used = self.spent_usd + self.reserved_usd
        return None if self.limit_usd is None else max(self.limit_usd - used, ZERO)

    def fits(self, usd: Decimal) -> bool:
        """Whether an ask of that amount has room under the day's limit now. At a limit that is used
        up nothing has, zero dollars included."""
        available = self.available_usd
        return available is None or (available > 0 and usd <= available)

    @property
    def message(self) -> str:
        spent = f"${self.spent_usd.quantize(CENT):,}"
        if self.blocked:
            return f"Hard limit reached: {spent}"
        of = "no limit" if self.limit_usd is None else f"${self.limit_usd.quantize(CENT):,}"
        return f"Budget {'warning' if self.warning else 'OK'}: {spent} / {of}"


def status_of(figures: dict[str, Any]) -> DayStatus:
    """From what the database says of the day (`tollgate.day_figures_v1`)."""

    def amount(name: str) -> Decimal | None:
        return None if figures[name] is None else Decimal(figures[name])

    return DayStatus(
        figures["date"],
        amount("spentUsd") or ZERO,
        amount("warningUsd"),
        amount("limitUsd"),
        amount("reservedUsd") or ZERO,
    )


def as_numbers(day: DayStatus) -> dict[str, Any]:
    """The shape that services and dashboards know. Numbers here, unlike everywhere else."""

    def number(amount: Decimal | None) -> float | None:
        return None if amount is None else float(amount)

    return {
        "date": day.date,
        "current_spend_usd": float(day.spent_usd),
        "reserved_usd": float(day.reserved_usd),
        "warning_threshold_usd": number(day.warning_usd),
        "hard_limit_usd": number(day.limit_usd),
        "remaining_usd": number(day.remaining_usd),
        "status": day.status,
        "warning": day.warning,
        "blocked": day.blocked,
        "message": day.message,
    }


def day_status() -> DayStatus:
    """Of today. Raises Unavailable."""
    (figures,) = authority.fetch_row("SELECT tollgate.day_figures_v1(tollgate.now())::text", [])
    return status_of(msgspec.json.decode(figures))


def check(
    *,
    caller: Caller,
    who: Attribution,
    estimated_usd: Decimal | None = None,
    model: str = "",
    usage: Usage | None = None,
) -> Decision:
    """The answer that every shared control would give a call like this now. Raises Unavailable."""
    who = who.canonical()

    def prepare(at_least: int) -> Fields:
        estimate, priced, version, name = estimated_usd, None, None, ""
        if model:
            book, now = prices.current_book(at_least=at_least), datetime.now(UTC)
            name, version = book.name_of(model), book.version
        if model and estimate is None:
            priced = book.find(model, now) is not None
            estimate = book.cost(model, usage, now) if usage else None
        return {
            "digest": caller.digest,
            "address": caller.address or None,
            "estimate": estimate,
            "tokens": usage.input_tokens + usage.output_tokens if usage else 0,
            "priced": priced,
            "book_version": version,
            "model": name,
            "user_id": who.user_id,
            "surface": who.surface,
            "feature": who.feature,
            "agent": who.agent_name,
        }

    return decide("check", prepare)


@dataclass(frozen=True, slots=True)
class SpendTold:
    """What a call cost: US dollars, or the usage of a model."""

    who: Attribution
    cost_usd: Decimal | None = None
    model: str = ""
    provider: str = ""
    usage: Usage | None = None


def spend_fields(
    report: SpendTold, *, caller: Caller, idempotency_key: str = "", at_least: int = 0
) -> Fields:
    """What `tollgate.spend_v1` is called with."""
    sent, who = report.who, report.who.canonical()
    model, provider, usage = report.model, report.provider, report.usage
    cost, version, name = report.cost_usd, None, ""
    if model:
        book = prices.current_book(at_least=at_least)
        name, version = book.name_of(model, provider=provider), book.version
    if cost is None and usage is not None:
        cost = book.cost(model, usage, datetime.now(UTC), provider=provider)
    return {
        "digest": caller.digest,
        "address": caller.address or None,
        "cost": None if cost is None else usd(cost),
        "tokens": usage.input_tokens + usage.output_tokens if usage else 0,
        "usage": usage_as_json(model, name, provider, usage) if usage else None,
        "book_version": version,
        "model": name,
        "user_id": who.user_id,
        "surface": who.surface,
        "feature": who.feature,
        "agent": who.agent_name,
        "key": idempotency_key,
        "fingerprint": fingerprint(
            {
                "who": who,
                "cost_usd": report.cost_usd,
                "model": canonical(model),
                "provider": canonical(provider),
                "usage": usage,
            }
        ),
        "request_id": current_request_id(),
        "sent_as": sent_as(
            userId=(sent.user_id, who.user_id),
            surface=(sent.surface, who.surface),
            feature=(sent.feature, who.feature),
            agentName=(sent.agent_name, who.agent_name),
            model=(model, name),
        )
        or None,
    }


def spend(
    *,
    caller: Caller,
    who: Attribution,
    cost_usd: Decimal | None = None,
    model: str = "",
    provider: str = "",
    usage: Usage | None = None,
    idempotency_key: str = "",
) -> Decision:
    """Record what a call cost, in US dollars or as usage of a model. Raises Unavailable."""
    report = SpendTold(who, cost_usd, model, provider, usage)
    return decide(
        "spend",
        lambda at_least: spend_fields(
            report, caller=caller, idempotency_key=idempotency_key, at_least=at_least
        ),
    )
