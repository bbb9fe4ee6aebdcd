"""A number as pages show it, with its name and its exact value for whatever reads the page:
a program, or the test that computes every figure again from the tables."""

from decimal import Decimal
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from opslog.pricing.money import usd_text


def exact(value: Any) -> str:
    """Without an exponent, and without zeros that say nothing; empty where there is no number."""
    if value is None or value == "":
        return ""
    number = Decimal(str(value))
    return f"{number.normalize():f}" if number else "0"


def figure(name: str, value: Any, text: str) -> SafeString:
    """`text` is what people read of `value`, as a `data` element. Where money is rounded for the
    eye, the exact amount is its title."""
    title = f"${usd_text(Decimal(value))}" if value is not None and text.startswith("$") else text
    return format_html(
        '<data data-figure="{}" value="{}"{}>{}</data>',
        name,
        exact(value),
        "" if title == text else format_html(' title="{}"', title),
        text,
    )
