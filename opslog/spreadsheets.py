"""Cells of CSV files that a spreadsheet shows and never runs. Pure: knows no Django.

A spreadsheet takes a cell for a formula by its first character, whatever quotes are around it. An
apostrophe before it makes it text; the full-width forms count in some of them, too.
"""

import csv
import io
from collections.abc import Sequence

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "|")


def cell(value: object) -> str:
    """The text of a cell: None is empty, and what would start a formula gets an apostrophe.

    Numbers that begin with a minus are told as text, too: who reads them back strips the
    apostrophe.
    """
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) or _begins(text) else text


def _begins(text: str) -> bool:
    """Some programs skip blanks before they look."""
    return text.lstrip().startswith(FORMULA_STARTS)


def line(values: Sequence[object]) -> str:
    """One line of a CSV file. Everything is quoted, so that no other separator splits a cell."""
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerow([cell(value) for value in values])
    return buffer.getvalue()
