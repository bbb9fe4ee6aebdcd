"""The one way in which an event is written as bytes before it is hashed.

A row is its columns in a fixed order, each with its type and its length before it, as PostgreSQL
itself sends a row in binary: integers and times as eight bytes, text as UTF-8, `meta` as the text
that the database prints of it. So the bytes of a result are hashed as they came, nothing parsed
or rounded; and because every length stands before its value, no two rows share an encoding.
"""

import hashlib
from collections.abc import Sequence
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
NUMBERS = frozenset({"id", "xact"})
# PostgreSQL's own numbers of bigint, timestamptz and text, which never change.
TYPES = tuple(20 if name in NUMBERS else 1184 if name == "created_at" else 25 for name in COLUMNS)
# Where the values of the three that are not text stand.
ID, CREATED_AT, XACT = slice(12, 20), slice(28, 36), slice(-8, None)
# The first byte tells leaves from nodes (RFC 6962); the rest, events from anything else signed.
PREFIX = b"\x00tollgate.event.v1\x00"
COUNT = Struct(">i")
HEAD = Struct(">Ii")  # type and length
EIGHT_BYTES = Struct(">q")
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def values_in(row: bytes) -> list[bytes]:
    """The binary values of a row's columns. Raises ValueError for what is no row of the log."""
    values, at = [], COUNT.size
    for number in TYPES:
        column, length = HEAD.unpack_from(row, at)
        at += HEAD.size
        if column != number or length < 0:
            raise ValueError("a column of the log has another type, or no value")
        values.append(row[at : at + length])
        at += length
    if at != len(row):
        raise ValueError("the log has other columns")
    return values


def leaf_hash(row: bytes) -> bytes:
    return hashlib.sha256(PREFIX + row).digest()


def event_of(values: Sequence[bytes]) -> dict[str, Any]:
    """An event as data: `created_at` a datetime, `meta` its text."""
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
