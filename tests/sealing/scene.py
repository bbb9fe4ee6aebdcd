"""What the tests of the seals do to a database: write, seal, verify, and tamper as a superuser."""

import threading
from collections.abc import Callable, Iterator, Sequence
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
from opslog.models import Seal, SealMembers
from opslog.sealing import heads, merkle, sealer
from opslog.sealing.findings import Report
from opslog.sealing.rows import EVENT_ROW, all_rows, reading
from opslog.sealing.snapshots import Snapshot
from opslog.sealing.statements import NO_SEAL, Signer
from opslog.sealing.verifier import TOO_LONG, examine, own_key, verify

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
        trusted = {*known.keys, *own_key()} if pinned is None else pinned
        if connection.in_atomic_block:
            return examine(known, pinned=trusted, too_long=too_long, progress=lambda done: None)
        return verify(known, pinned=trusted, too_long=too_long)

    def tamper(self, *statements: str, params: Sequence[Any] | None = None) -> None:
        """As who rules the database: for good, or within `ruled`, until the end of that."""
        if connection.in_atomic_block:
            with connection.cursor() as ours:
                for statement in statements:
                    ours.execute(statement, params)
            return
        with psycopg.connect(with_database(settings.OWNER_URL, self.database)) as owner:
            cursor: Any = owner.cursor()
            without_guards(cursor)
            for statement in statements:
                cursor.execute(statement, params)
            cursor.execute(TABLES)
            for (table,) in cursor.fetchall():
                cursor.execute(f'ALTER TABLE "{table}" ENABLE TRIGGER USER')


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


def insert(writer: "psycopg.Connection[Any]", kind: str = "LATE") -> int:
    row = writer.execute(
        "INSERT INTO operations_events (kind) VALUES (%s) RETURNING id", [kind]
    ).fetchone()
    assert row is not None
    return int(row[0])


def leaves_now(event_ids: list[int]) -> list[bytes]:
    """Of these events, as they are in the log now."""
    query = f"SELECT {EVENT_ROW} FROM operations_events WHERE id = ANY (%s) ORDER BY id, created_at"
    with transaction.atomic(), reading(connection, query, [event_ids]) as reader:
        return [row.leaf for row in all_rows(reader)]


def sign_anew(sealed: Sealed, signer: Signer, *, upwards_from: int = 1, shift: int = 0) -> None:
    """Make the seals from that one on agree with the log and with each other, under this key.

    `shift` is added to the numbers of transactions in their snapshots.
    """
    previous = NO_SEAL
    for seal in Seal.objects.order_by("number"):
        if seal.number >= upwards_from:
            members = SealMembers.objects.get(pk=seal.number)
            leaves = leaves_now(members.event_ids)
            seal.previous, seal.root, seal.key_id = previous, merkle.root(leaves), signer.key_id
            seen = Snapshot.parse(seal.snapshot)
            seal.snapshot = str(
                Snapshot(seen.ceiling + shift, frozenset(each + shift for each in seen.running))
            )
            told = seal.statement()
            sealed.tamper(
                "UPDATE seals SET previous = %s, root = %s, key_id = %s, snapshot = %s, hash = %s,"
                " signature = %s WHERE number = %s",
                params=[
                    *(seal.previous, seal.root, seal.key_id, seal.snapshot, told.hash()),
                    *(signer.sign(told.text()), seal.number),
                ],
            )
            sealed.tamper(
                "UPDATE seal_members SET leaf_hashes = %s WHERE seal = %s",
                params=[b"".join(leaves), seal.number],
            )
            seal.hash = told.hash()
        previous = bytes(seal.hash)


def run_all(work: list[Callable[[], None]]) -> None:
    failed: list[BaseException] = []

    def guarded(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=[one]) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
