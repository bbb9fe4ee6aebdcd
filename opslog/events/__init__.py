"""The log of what happened: written in the transaction in which it happens, searched, exported."""

from opslog.events.recording import (
    record,
)

__all__ = [
    "record",
]
