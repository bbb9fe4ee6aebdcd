"""The log of what happened: written in the transaction in which it happens, searched, exported."""

from opslog.events.recording import (
    as_text,
    changed,
    record,
)

__all__ = [
    "as_text",
    "changed",
    "csv_cells",
    "detail",
    "export",
    "filters",
    "record",
    "registry",
    "saved_views",
    "search",
]
