"""The price book of this process, and the import of prices into its table."""

import logging
import threading
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import transaction

from opslog.database import authority
from opslog.database.query import value
from opslog.events import record
from opslog.models import ModelPrice, PriceBookVersion
from opslog.pricing import Price, PriceBook
from opslog.pricing.model_names import Key
from opslog.pricing.plan import Plan, plain, plan
from opslog.pricing.price import RATES, RULES, STRUCTURED, as_json

logger = logging.getLogger(__name__)

CHECK_AFTER_SECONDS = 60.0
CHANGES_ON_RECORD = 200

COLUMNS = (
    "model",
    "provider",
    "source",
    "effective_from",
    *RATES,
    *STRUCTURED,
    "match",
    "provider_match",
    "tier",
)


class _Held:
    """The book that this process works with, and when its version was last compared."""

    book: PriceBook | None = None
    checked_at = 0.0


_held = _Held()
_lock = threading.Lock()


def current_book(*, at_least: int = 0) -> PriceBook:
    """The price book, from memory: a query only on first use, when the version held is below
    `at_least` (an admission saw a newer one), and every 60 s for the version number.

    Threads that find the book merely old do not wait for the one that is looking: they use it.
    Raises django.db.DatabaseError when a book is needed and the database does not answer.
    """
    book = _held.book
    if book is not None and book.version >= at_least:
        if time.monotonic() - _held.checked_at < CHECK_AFTER_SECONDS:
            return book
        if not _lock.acquire(blocking=False):
            return book
    else:
        _lock.acquire()
    try:
        return _refreshed(at_least)
    finally:
        _lock.release()


def at_hand() -> bool:
    """Whether `current_book()` returns the book now without a look at the database. For an event
    loop, which must not wait for one."""
    if _held.book is None:
        return False
    fresh = time.monotonic() - _held.checked_at < CHECK_AFTER_SECONDS - 0.05
    return fresh or _lock.locked()  # another thread is looking


def forget_book() -> None:
    """Drop the book held: for tests, whose databases change under the process."""
    with _lock:
        _held.book = None


def _refreshed(at_least: int) -> PriceBook:
    held, now = _held.book, time.monotonic()
    fresh = now - _held.checked_at < CHECK_AFTER_SECONDS
    if held is not None and fresh and held.version >= at_least:
        return held  # another thread was quicker
    # The number first, the rows after it: a change in between makes the rows newer than their
    # number, and the next look loads them again. The other way round it would be missed.
    # Through the authority, which does not wait for a database that hangs.
    (version,) = authority.fetch_row("SELECT version FROM price_book_version", ())
    if held is None or held.version != version:
        held = load_book(version)
    _held.book, _held.checked_at = held, now
    return held


def load_book(version: int) -> PriceBook:
    """All rows as a book. A row that cannot be read leaves its model without a price, and is named
    in the log: it must neither stop every start nor be charged as something else."""
    prices: list[Price] = []
    unusable: list[Key] = []
    for row in ModelPrice.objects.values_list(*COLUMNS):
        try:
            prices.append(_price(row))
        except ValueError as error:
            logger.warning("model price %s/%s cannot be read: %s", row[1], row[0], error)
            unusable.append((row[1], row[0]))
    return PriceBook(version, prices, unusable=unusable)


def _price(row: tuple[Any, ...]) -> Price:
    values = dict(zip(COLUMNS, row, strict=True))
    for column, read in STRUCTURED.items():
        values[column] = read(values[column])
    for column, check in RULES.items():
        if values[column] is not None:
            check(values[column])
    return Price(**values)


def imported_prices() -> list[Price]:
    """The imported rows, own prices left out."""
    rows = ModelPrice.objects.filter(source=ModelPrice.Source.IMPORTED).values_list(*COLUMNS)
    return [_price(row) for row in rows]


def preview(wanted: Iterable[Price]) -> Plan:
    """What `import_prices` would do now. Writes nothing."""
    return plan(wanted, imported_prices(), now=_database_now())


@transaction.atomic
def import_prices(wanted: Iterable[Price], *, origin: str, reason: str, by: str) -> Plan:
    """Make `wanted` the imported prices from now on, with its event.

    Own prices are neither read nor written. Where nothing changes, nothing is recorded. `origin`
    names the release that the prices come from, `by` who imports. Raises ValueError without a
    reason.
    """
    if not reason.strip():
        raise ValueError("an import of prices needs a reason")
    lock_price_book()
    change = plan(wanted, imported_prices(), now=_database_now())
    if not change:
        return change
    imported = ModelPrice.objects.filter(source=ModelPrice.Source.IMPORTED)
    for price in change.withdrawn:
        imported.filter(
            provider=price.provider,
            model=price.model,
            effective_from=price.effective_from,
        ).delete()
    ModelPrice.objects.bulk_create([_row(price) for price in change.rows], batch_size=500)
    record(
        "PRICE_BOOK_UPDATE",
        message=f"Prices of {origin}: {len(change.added)} rows added, "
        f"{len(change.changed)} models changed",
        owner=("price_book", ""),
        actor=by,
        meta={"reason": reason, "origin": origin, **_summary(change)},
    )
    return change


def lock_price_book() -> None:
    """Let no other import or edit in until this transaction ends: whoever changes a price counts
    this row up."""
    PriceBookVersion.objects.select_for_update().get()


def _summary(change: Plan) -> dict[str, Any]:
    return {
        "added": len(change.added),
        "changed": len(change.changed),
        "withdrawn": len(change.withdrawn),
        "gone": len(change.gone),
        "changes": [
            {"provider": each.new.provider, "model": each.new.model}
            | {column: {"old": plain(old), "new": plain(new)} for column, old, new in differences}
            for each in change.changed[:CHANGES_ON_RECORD]
            if (differences := each.differences())
        ],
    }


def _database_now() -> datetime:
    now: datetime = value("SELECT clock_timestamp()")
    return now


def _row(price: Price) -> ModelPrice:
    values = {column: getattr(price, column) for column in COLUMNS}
    values["tiers"] = [as_json(tier) for tier in price.tiers]
    values["service_tiers"] = {name: as_json(tier) for name, tier in price.service_tiers.items()}
    values["tool_prices"] = {tool: format(rate, "f") for tool, rate in price.tool_prices.items()}
    return ModelPrice(**values)
