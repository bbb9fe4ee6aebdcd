"""Prices and moments, for the tests of the price book."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from opslog.pricing import Price

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)

SOLD_BY_MAKER = {"starts_with": "m-"}


def price(
    model: str = "m-1",
    input: str = "1",
    output: str = "2",
    *,
    provider: str = "maker",
    source: str = "genai-prices",
    since: datetime = JANUARY,
    **more: Any,
) -> Price:
    return Price(
        model=model,
        provider=provider,
        source=source,
        effective_from=since,
        input_per_mtok=Decimal(input),
        output_per_mtok=Decimal(output),
        **more,
    )


def own(model: str = "m-1", input: str = "7", output: str = "9", **more: Any) -> Price:
    return price(model, input, output, **{"provider": "", "source": "own", **more})
