"""The one way in which an event is written as bytes before it is hashed.

A row is its columns in a fixed order, each with its length before it, as PostgreSQL itself sends
them in binary: integers and times as eight bytes, text as UTF-8, `meta` as the text that the
database prints of it. So the bytes of a result are hashed as they came, with nothing parsed and
nothing rounded; and because every length stands before its value, no two rows share an encoding.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any

VERSION = 1
# A new column of the log gets a new version; seals say by which one they were made.
COLUMNS = (
    "id",
    "created_at",
    "kind",
    "message",
    "owner_type",
    "owner_id",
    "owner_label",
    "actor",
    "meta",
    "request_id",
    "db_user",
    "xact",
)
ID, CREATED_AT, XACT = 0, 1, 11
NUMBERS = frozenset({"id", "xact"})
# The first byte tells leaves from nodes (RFC 6962); the rest, events from anything else signed.
PREFIX = b"\x00tollgate.event.v1\x00"
LENGTH = Struct(">i")
EIGHT_BYTES = Struct(">q")
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def row_bytes(values: Sequence[bytes]) -> bytes:
    """One event from the binary values of its columns, in the order of `COLUMNS`."""
    pack = LENGTH.pack
    return b"".join([part for value in values for part in (pack(len(value)), value)])


def leaf_hash(row: bytes) -> bytes:
    return hashlib.sha256(PREFIX + row).digest()


def values_of(event: Mapping[str, Any]) -> list[bytes]:
    """The binary values of an event told as data: `created_at` a datetime, `meta` its text."""
    values = []
    for column in COLUMNS:
        told = event[column]
        if column in NUMBERS:
            values.append(EIGHT_BYTES.pack(told))
        elif column == "created_at":
            values.append(EIGHT_BYTES.pack((told - EPOCH) // MICROSECOND))
        else:
            values.append(told.encode())
    return values


def event_of(values: Sequence[bytes]) -> dict[str, Any]:
    """The reverse of `values_of`."""
    event: dict[str, Any] = {}
    for column, value in zip(COLUMNS, values, strict=True):
        if column in NUMBERS:
            (event[column],) = EIGHT_BYTES.unpack(value)
        elif column == "created_at":
            event[column] = time_of(value)
        else:
            event[column] = value.decode()
    return event


def time_of(value: bytes) -> datetime:
    (microseconds,) = EIGHT_BYTES.unpack(value)
    return EPOCH + timedelta(microseconds=microseconds)


def number_of(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)
