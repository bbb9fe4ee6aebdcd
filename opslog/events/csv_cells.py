"""Cells of CSV files that a spreadsheet shows and never runs. Pure: knows no Django.

A spreadsheet takes a cell for a formula by its first character, whatever quotes are around it. An
apostrophe before it makes it text; the full-width forms count in some of them, too.
"""

import csv
import io
from collections.abc import Sequence
from decimal import Decimal

FORMULA_STARTS = ("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠")
CONTROLS = ("\t", "\r", "\n")


def cell(value: object) -> str:
    """The text of a cell: None is empty, numbers are as they are, and text that would start a
    formula gets an apostrophe. Null characters, which no CSV may hold, are left out."""
    if value is None:
        return ""
    if isinstance(value, int | float | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    text = str(value).replace("\x00", "")
    # Some programs skip blanks before they look.
    if text.startswith(CONTROLS) or text.lstrip().startswith(FORMULA_STARTS):
        return f"'{text}"
    return text


def line(values: Sequence[object]) -> str:
    """One line of a CSV file. Everything is quoted, so that no other separator splits a cell."""
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerow([cell(value) for value in values])
    return buffer.getvalue()
