"""A number as pages show it, with its name and its exact value for whatever reads the page:
a program, or the test that computes every figure again from the tables."""

from decimal import Decimal
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString


def exact(value: Any) -> str:
    """Without an exponent, and without zeros that say nothing; empty where there is no number."""
    if value is None or value == "":
        return ""
    number = Decimal(str(value))
    return f"{number.normalize():f}" if number else "0"


def figure(name: str, value: Any, text: str) -> SafeString:
    """`text` is what people read of `value`. A `data` element, as HTML has it for this."""
    return format_html(
        '<data class="tg-figure" data-figure="{}" value="{}">{}</data>', name, exact(value), text
    )
