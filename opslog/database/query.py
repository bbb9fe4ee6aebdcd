"""One statement, and what it returns: rows, one row, or one value. For reads and writes of the
application's own; what decides goes through `opslog.database.authority`."""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections


def rows(sql: str, params: Any = None, *, using: str = DEFAULT_DB_ALIAS) -> list[tuple[Any, ...]]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def one(sql: str, params: Any = None, *, using: str = DEFAULT_DB_ALIAS) -> Any:
    """The first row; None where there is none."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()


def value(sql: str, params: Any = None, *, using: str = DEFAULT_DB_ALIAS) -> Any:
    """The first column of the first row."""
    return one(sql, params, using=using)[0]


def run(sql: str, params: Any = None, *, using: str = DEFAULT_DB_ALIAS) -> None:
    """A statement that returns nothing, such as a lock."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
