"""A database as `migrate` leaves it, with its own privileges, which a clone would not have; and a
connection of the application's role and of the owner, each in a transaction that is rolled back."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings

from config.run.scratch import scratch_database, with_database


class Connection:
    """One role's. `sql` gives the rows; what fails undoes itself alone."""

    def __init__(self, url: str) -> None:
        self.db = psycopg.connect(url)
        self.db.execute("SELECT 1")  # begins the transaction in which all is done

    def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        with self.db.transaction():
            cursor = self.db.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def events(self, kind: str) -> list[tuple[Any, ...]]:
        """As the end of the transaction would leave them: owner, actor, database user, meta."""
        self.sql("SET CONSTRAINTS ALL IMMEDIATE")
        return self.sql(
            "SELECT owner_type, owner_id, actor, db_user, meta FROM operations_events "
            "WHERE kind = %s ORDER BY id",
            kind,
        )


@pytest.fixture(scope="session")
def migrated() -> Iterator[str]:
    with scratch_database() as name:
        yield name


def connect(url: str, database: str) -> Iterator[Connection]:
    connection = Connection(with_database(url, database))
    try:
        yield connection
    finally:
        connection.db.rollback()
        connection.db.close()


@pytest.fixture
def app(migrated: str) -> Iterator[Connection]:
    yield from connect(settings.APP_URL, migrated)


@pytest.fixture
def owner(migrated: str) -> Iterator[Connection]:
    yield from connect(settings.OWNER_URL, migrated)
