"""What usage costs, to the last digit. Pure: no database, no settings."""

from opslog.pricing.book import OWN, PriceBook
from opslog.pricing.price import Price
from opslog.pricing.usage import Usage

__all__ = [
    "OWN",
    "Price",
    "PriceBook",
    "Usage",
    "model_names",
    "money",
    "plan",
    "price",
    "terms",
    "usage",
]
