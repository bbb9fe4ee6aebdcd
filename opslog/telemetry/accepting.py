"""Taking drafts in: one statement a batch, an answer for each item.

Sending again is safe. The same event id of the same sender within four days is the same event,
whether its time is the same, another or missing: half of the four days because a late
event may be 48 hours old, half because it may be sent again for as long.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4
from zlib import crc32

import msgspec
from django.db.utils import DEFAULT_DB_ALIAS, OperationalError
from psycopg.errors import LockNotAvailable

from opslog.database.query import value
from opslog.exceptions import Unavailable
from opslog.identities import canonical
from opslog.price_book import prices
from opslog.pricing import PriceBook, Usage
from opslog.pricing.money import usd
from opslog.principal import TOLLGATE, Principal
from opslog.telemetry.drafts import D, InferenceDraft, ToolDraft

EARLY: Final = timedelta(minutes=5)  # clocks differ
LATE: Final = timedelta(hours=48) + EARLY
OLDEST: Final = timedelta(days=3650)  # as far back as partitions are made
SAME_EVENT: Final = timedelta(days=4)
MOST: Final = 1000  # a batch
SHARES: Final = 64  # of all ids; batches with ids of the same share wait for each other


class Status(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item. `reason`: why it was refused; or a note on what was accepted."""

    status: Status
    event_id: str
    reason: str = ""


OTHER_WORK_ORDER: Final = "workOrderId: this token may not be used for this work order"
UNPRICED: Final = "this usage of the model has no price: its cost is unknown"
NO_USAGE: Final = "neither a cost nor tokens: its cost is unknown"
HALF_KNOWN: Final = "inputTokens or outputTokens is missing: its cost is unknown"
IN_THE_FUTURE: Final = "createdAt: more than five minutes ahead of the clock here"
TOO_OLD: Final = "createdAt: more than 48 hours ago (manage.py import_events takes older ones)"
ANCIENT: Final = "createdAt: more than ten years ago"


def accept_inference(
    drafts: Sequence[InferenceDraft],
    *,
    source: str,
    principal: Principal = TOLLGATE,
    now: datetime | None = None,
    any_age: bool = False,
    using: str = DEFAULT_DB_ALIAS,
) -> list[Outcome]:
    """Write the calls of models that are new, all of them or (on an error) none; outcomes in the
    order of the drafts.

    `source` is one of InferenceEvent.Source; `principal`, what the token that tells is limited to.
    The cost that counts is `cost_usd` of the draft; without it, of what the price book computes at
    the time of the call and what the sender says, the one that `CostPreference` prefers. Where
    there is none it stays unknown, and the outcome says so. `any_age`: for imports, whose
    partitions the caller makes.

    Raises DatabaseError, and Unavailable where others are in the way for too long.
    """
    book = prices.current_book()
    return _accept(
        drafts,
        lambda draft, event_id, at: _inference_row(draft, event_id, at, principal, book),
        sql=ACCEPT_INFERENCE,
        more=(source, principal.owner_id),
        principal=principal,
        now=now or datetime.now(UTC),
        any_age=any_age,
        using=using,
    )


def accept_tools(
    drafts: Sequence[ToolDraft],
    *,
    principal: Principal = TOLLGATE,
    now: datetime | None = None,
    any_age: bool = False,
    using: str = DEFAULT_DB_ALIAS,
) -> list[Outcome]:
    """Write the calls of tools that are new. As `accept_inference`. Raises DatabaseError."""
    return _accept(
        drafts,
        lambda draft, event_id, at: _tool_row(draft, event_id, at, principal),
        sql=ACCEPT_TOOLS,
        more=(principal.owner_id,),
        principal=principal,
        now=now or datetime.now(UTC),
        any_age=any_age,
        using=using,
    )


class _InferenceRow(msgspec.Struct, omit_defaults=True):
    """As the database takes it; what is absent there has the column's default."""

    event_id: str
    created_at: datetime
    model: str
    sent_model: str
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None = None  # given; the database decides where it is not
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    units: dict[str, Any] = {}
    service_tier: str = ""
    sender_cost_usd: Decimal | None = None
    computed_cost_usd: Decimal | None = None
    success: bool = True
    user_id: str | None = None
    feature: str | None = None
    trigger_type: str | None = None
    run_id: UUID | None = None
    wo_id: str | None = None
    agent_name: str | None = None
    session_id: str | None = None
    surface: str | None = None
    user_agent: str | None = None


class _ToolRow(msgspec.Struct, omit_defaults=True):
    event_id: str
    created_at: datetime
    tool_name: str
    success: bool = True
    retries: int = 0
    duration_ms: int | None = None
    inference_event_id: str | None = None
    run_id: UUID | None = None
    wo_id: str | None = None
    user_id: str | None = None
    feature: str | None = None
    agent_name: str | None = None
    session_id: str | None = None


def _inference_row(
    draft: InferenceDraft, event_id: str, at: datetime, principal: Principal, book: PriceBook
) -> tuple[_InferenceRow, str]:
    usage, provider = draft.usage(), draft.provider or ""
    computed, note = _computed(draft, usage, at, book)
    given = draft.cost_usd
    sender = given if draft.sender_cost_usd is None else draft.sender_cost_usd
    if given is None and sender == 0 and (usage.input_tokens or usage.output_tokens):
        sender = None  # tokens are never free: the sender had no price
    model = book.name_of(draft.model, provider=provider)
    row = _InferenceRow(
        event_id,
        at,
        model,
        "" if model == draft.model else draft.model,
        usage.input_tokens,
        usage.output_tokens,
        None if given is None else usd(given),
        draft.cached_input_tokens,
        draft.cache_write_tokens,
        draft.cache_write_1h_tokens,
        draft.reasoning_tokens,
        usage.units(),
        draft.service_tier or "",
        None if sender is None else usd(sender),
        computed,
        draft.success,
        _name(draft.user_id),
        _name(principal.feature or draft.feature),
        _name(draft.trigger_type),
        draft.run_id,
        draft.work_order_id,
        _name(draft.agent_name),
        draft.session_id,
        _name(principal.surface or draft.surface),
        draft.user_agent,
    )
    return row, note if sender is None else ""


def _computed(
    draft: InferenceDraft, usage: Usage, at: datetime, book: PriceBook
) -> tuple[Decimal | None, str]:
    """US dollars by the price book, or None and why there are none."""
    if draft.is_unknown:
        return None, NO_USAGE
    price = book.find(draft.model, at, provider=draft.provider or "")
    if price is None:
        return None, UNPRICED
    if (draft.lacks(draft.input_tokens) and price.input_per_mtok) or (
        draft.lacks(draft.output_tokens) and price.output_per_mtok
    ):
        return None, HALF_KNOWN
    cost = price.cost(usage)
    return cost, UNPRICED if cost is None else ""


def _name(text: str | None) -> str | None:
    """In the spelling that is compared."""
    return canonical(text) if text else None


def _tool_row(
    draft: ToolDraft, event_id: str, at: datetime, principal: Principal
) -> tuple[_ToolRow, str]:
    row = _ToolRow(
        event_id,
        at,
        draft.tool_name,
        draft.success,
        draft.retries,
        draft.duration_ms,
        draft.inference_event_id,
        draft.run_id,
        draft.work_order_id,
        _name(draft.user_id),
        _name(principal.feature or draft.feature),
        _name(draft.agent_name),
        draft.session_id,
    )
    return row, ""


ACCEPT_INFERENCE: Final = "SELECT tollgate.accept_inference_v1(%s::json, %s, %s, %s, %s, %s)"
ACCEPT_TOOLS: Final = "SELECT tollgate.accept_tools_v1(%s::json, %s, %s, %s, %s)"


def _accept(
    drafts: Sequence[D],
    row_of: Callable[[D, str, datetime], tuple[Any, str]],
    *,
    sql: str,
    more: tuple[str | int, ...],
    principal: Principal,
    now: datetime,
    any_age: bool,
    using: str,
) -> list[Outcome]:
    allowed: tuple[str, ...] = principal.work_orders
    oldest, newest = now - (OLDEST if any_age else LATE), now + EARLY
    outcomes: list[Outcome] = []
    rows: dict[str, Any] = {}
    for draft in drafts:
        event_id = draft.event_id or str(uuid4())
        at = draft.created_at or now
        if at > newest:
            outcomes.append(Outcome(Status.REFUSED, event_id, IN_THE_FUTURE))
        elif at < oldest:
            outcomes.append(Outcome(Status.REFUSED, event_id, ANCIENT if any_age else TOO_OLD))
        elif allowed and draft.work_order_id not in (None, "", *allowed):
            outcomes.append(Outcome(Status.REFUSED, event_id, OTHER_WORK_ORDER))
        elif event_id in rows:
            outcomes.append(Outcome(Status.DUPLICATE, event_id))
        else:
            rows[event_id], note = row_of(draft, event_id, at.astimezone(UTC))
            outcomes.append(Outcome(Status.ACCEPTED, event_id, note))
    if not rows:
        return outcomes
    times = [row.created_at for row in rows.values()]
    params = [
        msgspec.json.encode(list(rows.values())).decode(),
        sorted({crc32(event_id.encode()) % SHARES for event_id in rows}),
        min(times) - SAME_EVENT,
        max(times) + SAME_EVENT,
        *more,
    ]
    try:
        known = set(value(sql, params, using=using))
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise Unavailable("too many batches at once") from error
        raise
    if not known:
        return outcomes
    return [
        Outcome(Status.DUPLICATE, each.event_id)
        if each.status is Status.ACCEPTED and each.event_id in known
        else each
        for each in outcomes
    ]
