"""Reading by a statement of one's own, on the default connection."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection


def fetch_all(sql: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def fetch_one(sql: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Any:
    """The first row; None where there is none."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()
