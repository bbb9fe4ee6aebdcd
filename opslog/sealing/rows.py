"""Reading events as the bytes that are hashed, through a cursor of the server.

Results are taken in PostgreSQL's binary form, past Django's and psycopg's conversions.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from opslog.seal_format import encoding

FETCH = 5000  # rows at a time: a few megabytes
_columns = ", ".join("meta::text" if name == "meta" else name for name in encoding.COLUMNS)
EVENT_ROW = f"ROW({_columns})"  # in binary: what `encoding` reads

_names = count(1)


@dataclass(slots=True)
class Row:
    """An event as bytes, and its leaf of the tree."""

    id: int
    leaf: bytes
    image: bytes

    @property
    def created_at(self) -> datetime:
        return encoding.time_of(self.image[encoding.CREATED_AT])

    @property
    def xact(self) -> int:
        return encoding.number_of(self.image[encoding.XACT])


Fetch = Callable[[], "psycopg.Cursor[Any]"]


class Reader:
    """An open cursor of the server; `next` returns the rows of one fetch, and none at the end."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    def next(self) -> list[Row]:
        result: Any = self._fetch().pgresult
        get, number, leaf, place = (
            result.get_value,
            encoding.number_of,
            encoding.leaf_hash,
            encoding.ID,
        )
        return [
            Row(number(image[place]), leaf(image), image)
            for image in [get(at, 0) for at in range(result.ntuples)]
        ]


@contextmanager
def declared(
    connection: BaseDatabaseWrapper, query: str, params: Any = (), *, at_once: int
) -> Iterator[Fetch]:
    """A cursor of the server within the caller's transaction; each call fetches the next rows, in
    binary."""
    if not connection.in_atomic_block:
        raise TransactionManagementError("A cursor of the server lives in a transaction.")
    name = f"tollgate_rows_{next(_names)}"

    def fetch() -> "psycopg.Cursor[Any]":
        rows: psycopg.Cursor[Any] = psycopg.Cursor(connection.connection)
        with connection.wrap_database_errors:
            rows.execute(f"FETCH FORWARD {at_once} FROM {name}", binary=True)
        return rows

    with connection.cursor() as cursor:
        cursor.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {query}", params)
        yield fetch
        cursor.execute(f"CLOSE {name}")


@contextmanager
def reading(
    connection: BaseDatabaseWrapper, query: str, params: Sequence[Any] | dict[str, Any] = ()
) -> Iterator[Reader]:
    """Open a query whose first column is `EVENT_ROW`, within the caller's transaction."""
    with connection.cursor() as cursor:
        # All rows are wanted: plan for the last one, not for the first.
        cursor.execute("SET LOCAL cursor_tuple_fraction = 1")
    with declared(connection, query, params, at_once=FETCH) as fetch:
        yield Reader(fetch)


def all_rows(reader: Reader) -> Iterator[Row]:
    while rows := reader.next():
        yield from rows
