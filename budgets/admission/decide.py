"""Admission from Python: pass what was asked, make the one call, give back what was decided.

The decision itself is the stored routine in `sql/admission.sql`; there is no rule here. Prices are
the exception that is none: they are computed from the price book in memory, and the routine refuses
a price that was computed with another version of the book than the one in force.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection
from psycopg.types.json import Jsonb

from budgets import alerts
from opslog.database import authority
from opslog.identities import canonical, sent_as
from opslog.price_book import prices
from opslog.pricing import Usage
from opslog.pricing.money import usd
from opslog.request_context import current_request_id

# The concurrency class of a model that the price book does not know; own prices say otherwise.
UNPRICED_TIER = "middle"
ABSENT: Final[tuple[Any, ...]] = (None, "", {})  # in a fingerprint


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the digest of the token and the client's address ("" when there is none)."""

    digest: bytes
    address: str


@dataclass(frozen=True, slots=True)
class StartAsk:
    """What a start asks for. Money in US dollars; `lease_seconds` None: the setting's.

    Names in any spelling: they are compared, and kept, in their one spelling (`opslog.identities`,
    models by the price book).
    """

    work_order_id: str
    agent_name: str
    estimated_cost_usd: Decimal | None = None
    model: str = ""
    estimated_input_tokens: int | None = None
    estimated_output_tokens: int | None = None
    lease_seconds: int | None = None
    user_id: str = ""
    surface: str = ""
    feature: str = ""
    dry_run: bool = False
    confirm: bool = False


@dataclass(frozen=True, slots=True)
class FinishTold:
    """How a run ended: with a cost in US dollars, or with the usage of a model."""

    status: str
    cost_usd: Decimal | None = None
    model: str = ""
    provider: str = ""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the database decided. `denial` is empty where the request was granted; `body` is the
    JSON text of the answer then. Of a refusal by a shared limit, `body` has the limit's `scope` and
    `subject`. `retry_after` is in seconds."""

    status: int
    denial: str
    error: str
    retry_after: int | None
    reset_at: datetime | None
    replayed: bool
    body: str
    reserved_usd: Decimal
    settled_usd: Decimal


Fields = dict[str, Any]  # the parameters of a routine, by name and in its order


def call(routine: str, fields: Fields) -> Decision:
    """The one round trip. Outside a transaction it is the procedure, which frees its locks before
    the flush; inside one (or when switched off) the plain function of the same decision."""
    early = settings.TOLLGATE_EARLY_LOCK_RELEASE and not connection.in_atomic_block
    early = early and routine != "check"  # it locks nothing, and grants nothing
    params = [Jsonb(each) if isinstance(each, dict) else each for each in fields.values()]
    decision, alerted = decision_of(
        authority.fetch_row(statement(routine, len(params), procedure=early), params)
    )
    if alerted:
        alerts.tell_soon()
    return decision


def decision_of(row: tuple[Any, ...]) -> tuple[Decision, bool]:
    """What a routine returned, and whether it wrote an alert."""
    status, denial, error, retry_after, reset_at, replayed, body, reserved, settled, alerted = row
    decision = Decision(
        status=status,
        denial=denial or "",
        error=error or "",
        retry_after=retry_after,
        reset_at=reset_at,
        replayed=bool(replayed),
        body=body or "",
        reserved_usd=reserved or Decimal(0),
        settled_usd=settled or Decimal(0),
    )
    return decision, bool(alerted)


@cache
def statement(routine: str, parameters: int, *, procedure: bool) -> str:
    """The text of a call: of the procedure, or of the plain function."""
    places = ", ".join(["%s"] * parameters)
    if procedure:
        return f"CALL tollgate.{routine}_v1({places}{', NULL' * 10})"
    return f"SELECT * FROM tollgate.{routine}_run_v1({places})"  # noqa: S608  (no user text in it)


def usage_as_json(model: str, name: str, provider: str, usage: Usage) -> dict[str, Any]:
    """`name` is what `model`, as it was sent, is counted by."""
    return {
        "model": name,
        **({} if name == model else {"sentModel": model}),
        **({"provider": provider} if provider else {}),
        **usage.body(),
    }


def _retry_after() -> int | None:
    setting = settings.TOLLGATE_RETRY_AFTER
    return None if setting == "midnight" else int(setting)


def fingerprint(asked: Any) -> bytes:
    """A digest of a request, to recognize it when it is sent again. It is stored and compared after
    an upgrade, so it covers only fields that differ from their defaults: a request from before a
    field existed keeps its digest."""
    return hashlib.sha256(json.dumps(_stated(asked), sort_keys=True).encode()).digest()


def _stated(value: Any) -> Any:
    """As JSON, without what is absent: None, empty, or the default of its field. Amounts that are
    equal are the same however many zeros they end with."""
    if is_dataclass(value):
        return {
            each.name: _stated(stated)
            for each in fields(value)
            if (stated := getattr(value, each.name)) != each.default and stated not in ABSENT
        }
    if isinstance(value, Mapping):
        return {name: _stated(stated) for name, stated in value.items() if stated not in ABSENT}
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value


def known_version(decision: Decision) -> int | None:
    """The version of the price book that the routine asks for, when ours was an older one."""
    return int(decision.error) if decision.denial == "stale_prices" else None


def decide(routine: str, prepare: Callable[[int], Fields]) -> Decision:
    """One decision. `prepare` returns the fields with a price book of at least that version: the
    routine refuses prices of an older one than is in force. Raises Unavailable."""
    at_least = 0
    while True:
        decision = call(routine, prepare(at_least))
        if (newer := known_version(decision)) is None:
            return decision
        at_least = newer


def start_fields(
    ask: StartAsk, *, caller: Caller, idempotency_key: str = "", at_least: int = 0
) -> Fields:
    """What `tollgate.start_v1` is called with, but for what is set for all."""
    agent, user = canonical(ask.agent_name), canonical(ask.user_id)
    surface, feature = canonical(ask.surface), canonical(ask.feature)
    same = b""
    if idempotency_key:  # the same ask in another spelling is the same
        same = fingerprint(
            replace(
                ask,
                agent_name=agent,
                user_id=user,
                surface=surface,
                feature=feature,
                model=canonical(ask.model),
            )
        )
    estimate, priced, version, tokens, tier = ask.estimated_cost_usd, None, None, None, ""
    model = ""
    if ask.estimated_input_tokens is not None or ask.estimated_output_tokens is not None:
        tokens = (ask.estimated_input_tokens or 0) + (ask.estimated_output_tokens or 0)
    if ask.model:
        book, now = prices.current_book(at_least=at_least), datetime.now(UTC)
        tier = book.tier(ask.model, now) or UNPRICED_TIER
        model, version = book.name_of(ask.model), book.version
    if ask.model and estimate is None:
        priced = book.find(ask.model, now) is not None
        if tokens is not None:
            usage = Usage(ask.estimated_input_tokens or 0, ask.estimated_output_tokens or 0)
            estimate = book.cost(ask.model, usage, now)
    return {
        "digest": caller.digest,
        "address": caller.address or None,
        "wo": ask.work_order_id,
        "agent": agent,
        "estimate": estimate,
        "priced": priced,
        "book_version": version,
        "lease": ask.lease_seconds or settings.TOLLGATE_LEASE_SECONDS,
        "tokens": tokens,
        "model": model,
        "tier": tier,
        "user_id": user,
        "surface": surface,
        "feature": feature,
        "dry_run": ask.dry_run,
        "confirm": ask.confirm,
        "key": idempotency_key,
        "fingerprint": same,
        "request_id": current_request_id(),
        "sent_as": sent_as(
            agentName=(ask.agent_name, agent),
            userId=(ask.user_id, user),
            surface=(ask.surface, surface),
            feature=(ask.feature, feature),
            model=(ask.model, model),
        )
        or None,
    }


def start_settings() -> Fields:
    """What is set for all starts."""
    return {
        "retry_after": _retry_after(),
        "lift": settings.TOLLGATE_LIFT_ESTIMATES,
        "confirm_over": Decimal(settings.TOLLGATE_CONFIRM_OVER_USD),
        "refusal_events": settings.TOLLGATE_REFUSAL_EVENTS_PER_SECOND,
    }


def start(ask: StartAsk, *, caller: Caller, idempotency_key: str = "") -> Decision:
    """Admit or refuse a run, reserving its estimate. Raises Unavailable."""
    return decide(
        "start",
        lambda at_least: (
            start_fields(ask, caller=caller, idempotency_key=idempotency_key, at_least=at_least)
            | start_settings()
        ),
    )


def finish_fields(run_id: UUID, report: FinishTold, *, caller: Caller, at_least: int = 0) -> Fields:
    """What `tollgate.finish_v1` is called with."""
    cost, version, usage, tokens = report.cost_usd, None, None, None
    if report.usage is not None:
        book = prices.current_book(at_least=at_least)
        model, provider, version = report.model, report.provider, book.version
        cost = book.cost(model, report.usage, datetime.now(UTC), provider=provider)
        name = book.name_of(model, provider=provider)
        usage = usage_as_json(model, name, provider, report.usage)
        tokens = report.usage.input_tokens + report.usage.output_tokens
    return {
        "digest": caller.digest,
        "address": caller.address or None,
        "run": run_id,
        "status": report.status,
        "cost": None if cost is None else usd(cost),
        "usage": usage,
        "tokens": tokens,
        "book_version": version,
        "fingerprint": fingerprint(report),
        "request_id": current_request_id(),
    }


def finish(run_id: UUID, report: FinishTold, *, caller: Caller) -> Decision:
    """Settle a run at what it cost. The same again returns the same answer. Raises Unavailable."""
    return decide(
        "finish",
        lambda at_least: finish_fields(run_id, report, caller=caller, at_least=at_least),
    )


def extend_fields(
    run_id: UUID,
    *,
    additional_usd: Decimal,
    lease_seconds: int | None,
    caller: Caller,
    idempotency_key: str = "",
) -> Fields:
    """What `tollgate.extend_v1` is called with."""
    return {
        "digest": caller.digest,
        "address": caller.address or None,
        "run": run_id,
        "additional": additional_usd,
        "lease": lease_seconds,
        "key": idempotency_key,
        "fingerprint": fingerprint(
            {"additional_usd": additional_usd, "lease_seconds": lease_seconds}
        ),
        "request_id": current_request_id(),
        "retry_after": _retry_after(),
        "refusal_events": settings.TOLLGATE_REFUSAL_EVENTS_PER_SECOND,
    }


def extend(
    run_id: UUID,
    *,
    additional_usd: Decimal,
    lease_seconds: int | None,
    caller: Caller,
    idempotency_key: str = "",
) -> Decision:
    """Reserve more for a run, renew its lease, or both. Raises Unavailable."""
    fields = extend_fields(
        run_id,
        additional_usd=additional_usd,
        lease_seconds=lease_seconds,
        caller=caller,
        idempotency_key=idempotency_key,
    )
    return call("extend", fields)
