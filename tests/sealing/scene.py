"""What the tests of the seals do to a database: write, seal, verify, and tamper as a superuser."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection, connections, transaction

from config.scratch import with_database
from opslog import events
from opslog.sealing import heads, sealer
from opslog.sealing.findings import Report
from opslog.sealing.verifier import TOO_LONG, examine, verify

NAMES = "('operations_events', 'seals', 'seal_members', 'seal_keys', 'event_tombstones')"
TABLES = f"SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relname IN {NAMES}"
FOREIGN_KEYS = f"""
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype = 'f' AND conrelid::regclass::text IN {NAMES}
"""


def files_in(folder: Path) -> dict[str, str]:
    """The settings of the seals, with all files in that folder."""
    return {
        "TOLLGATE_SEAL_SECRET_KEY": "",
        "TOLLGATE_SEAL_KEY_FILE": str(folder / "seal_key"),
        "TOLLGATE_SEAL_HEADS_FILE": str(folder / "seal_heads.jsonl"),
        "TOLLGATE_SEAL_WEBHOOK_SECRET_URL": "",
    }


@contextmanager
def connected_to(database: str, *, as_owner: bool = False) -> Iterator[None]:
    """Django's connections lead to another database meanwhile, the application's as the owner."""
    before = {alias: dict(connections[alias].settings_dict) for alias in ("default", "owner")}
    try:
        for alias in before:
            connections[alias].close()
            connections[alias].settings_dict["NAME"] = database
        if as_owner:
            for part in ("USER", "PASSWORD"):
                connections["default"].settings_dict[part] = before["owner"][part]
        yield
    finally:
        for alias, told in before.items():
            connections[alias].close()
            connections[alias].settings_dict.update(told)


@contextmanager
def ruled(database: str) -> Iterator[None]:
    """As the owner of the tables, with every trigger and foreign key out of the way, in one
    transaction that is rolled back."""
    with connected_to(database, as_owner=True), transaction.atomic():
        with connection.cursor() as cursor:
            without_guards(cursor)
        yield
        transaction.set_rollback(True)


def without_guards(cursor: Any) -> None:
    for query, statement in (
        (TABLES, 'ALTER TABLE "{}" DISABLE TRIGGER USER'),
        (FOREIGN_KEYS, 'ALTER TABLE "{}" DROP CONSTRAINT "{}"'),
    ):
        cursor.execute(query)
        for names in cursor.fetchall():
            cursor.execute(statement.format(*names))


@dataclass
class Sealed:
    folder: Path
    database: str

    @property
    def key_file(self) -> Path:
        return self.folder / "seal_key"

    @property
    def heads_file(self) -> Path:
        return self.folder / "seal_heads.jsonl"

    def app(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(with_database(settings.APP_URL, self.database), autocommit=True)

    def write(self, many: int, *, of: str = "T") -> list[int]:
        """So many events, each committed by itself."""
        return [write_event(of, number) for number in range(many)]

    def seal(self, *sizes: int) -> None:
        """Seals of so many new events each; without sizes, of what is there."""
        for size in sizes:
            self.write(size)
            sealer.seal()
        if not sizes:
            sealer.seal()

    def verify(self, *, too_long: timedelta = TOO_LONG, pinned: set[bytes] | None = None) -> Report:
        known = heads.read(self.heads_file) if self.heads_file.exists() else heads.KnownHeads()
        trusted = set(known.keys) if pinned is None else pinned
        if connection.in_atomic_block:
            return examine(known, pinned=trusted, too_long=too_long, progress=lambda done: None)
        return verify(known, pinned=trusted, too_long=too_long)

    def tamper(self, *statements: str, params: Sequence[Any] | None = None) -> None:
        """As who rules the database: for good, or within `ruled`, until the end of that."""
        if connection.in_atomic_block:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement, params)
            return
        with psycopg.connect(with_database(settings.OWNER_URL, self.database)) as owner:
            cursor = owner.cursor()
            without_guards(cursor)
            for statement in statements:
                cursor.execute(statement.encode(), params)
            cursor.execute(TABLES)
            for (table,) in cursor.fetchall():
                cursor.execute(f'ALTER TABLE "{table}" ENABLE TRIGGER USER'.encode())


def write_event(kind: str, number: int) -> int:
    with transaction.atomic():
        return events.record(
            kind,
            message=f"number {number}",
            actor="somebody",
            owner=("work_order", f"wo-{number}"),
            meta={"cap": "2.00", "n": number, "ü": [1, None]},
        )


def kinds(report: Report) -> set[str]:
    return {each.kind.value for each in report.findings}


def log_ids() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM operations_events ORDER BY id")
        return [number for (number,) in cursor.fetchall()]
