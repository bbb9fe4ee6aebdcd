"""What usage costs, to the last digit. Pure: no database, no settings."""

from opslog.pricing.book import (
    NAMES_REMEMBERED,
    OWN,
    PriceBook,
)
from opslog.pricing.price import Price
from opslog.pricing.usage import Usage

__all__ = ["NAMES_REMEMBERED", "OWN", "Price", "PriceBook", "Usage"]
