"""Own prices: set by people, they win over the imported ones."""

from typing import Any

from django.db import transaction

from opslog.events import record
from opslog.models import ModelPrice
from opslog.price_book.prices import lock_price_book
from opslog.pricing.price import RATES, STRUCTURED


def set_price(price: ModelPrice, *, by: str, reason: str) -> ModelPrice:
    """Add an own price, or change one, with its event (before and after).

    Raises ValueError for an imported price and where no reason is given.
    """
    if price.source != ModelPrice.Source.OWN:
        raise ValueError("imported prices change by an import only")
    if not reason.strip():
        raise ValueError("a change of prices needs a reason")
    with transaction.atomic():
        lock_price_book()
        before = ModelPrice.objects.filter(pk=price.pk).first() if price.pk else None
        price.save()
        record(
            "PRICE_BOOK_UPDATE",
            message=f"Own price of {price.model} {'changed' if before else 'added'}: {reason}",
            owner=("model_price", str(price.pk)),
            label=price.model,
            actor=by,
            meta={"reason": reason, "before": _rates(before), "after": _rates(price)},
        )
    return price


def _rates(price: ModelPrice | None) -> dict[str, Any] | None:
    if price is None:
        return None
    rates = {kind: getattr(price, kind) for kind in RATES}
    return {
        "model": price.model,
        "provider": price.provider,
        "effectiveFrom": price.effective_from.isoformat(),
        "tier": price.tier,
        **{kind: None if rate is None else format(rate, "f") for kind, rate in rates.items()},
        **{column: getattr(price, column) for column in STRUCTURED},
    }
