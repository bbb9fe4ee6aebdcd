"""Text in a CSV that a spreadsheet opens: never the start of a formula."""

from collections.abc import Iterable
from decimal import Decimal

# What spreadsheets take for a formula or a command; full-width forms count.
STARTS = ("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠")


def cell(value: object) -> str:
    """Numbers as they are; text that could be a formula with an apostrophe before it, which a
    spreadsheet shows as text. Null characters, which no CSV may hold, are left out."""
    if value is None:
        return ""
    if isinstance(value, int | float | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    text = str(value).replace("\x00", "")
    if text.lstrip().startswith(STARTS) or text.startswith(("\t", "\r", "\n")):
        return f"'{text}"
    return text


def row(values: Iterable[object]) -> list[str]:
    return [cell(value) for value in values]
