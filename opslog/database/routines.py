"""The stored routines, triggers and types: installed after each migration, known by their hash.

They are no migrations: a migration runs once, and a routine that is edited later would never get
into a database that has it. All of them stand in the PostgreSQL schema `tollgate`, from the files
that an app names in `AppConfig.routines`. An installation replaces all of them in one transaction,
and leaves a row that says which release and which hash is there. What the release before had and
this one has not stays until the next: its processes may still be running (docs/operations.md).
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.utils import OperationalError, ProgrammingError
from psycopg.types.json import Jsonb

from opslog.database.roles import APPEND_ONLY_TABLES

SCHEMA = "tollgate"
# `pg_temp` is searched first for tables where it is not named: somebody's temporary table would be
# taken for ours. Nothing but PostgreSQL's own is found without its schema.
SEARCH_PATH = "pg_catalog, pg_temp"
LOCK = "7499, 0"  # advisory: one installation, one migration at a time
ATTEMPTS = 5
KIND = re.compile(
    r"CREATE (?:OR REPLACE |CONSTRAINT )?(FUNCTION|PROCEDURE|AGGREGATE|TYPE|TRIGGER|VIEW) "
    r"(?:tollgate\.)?(\w+)"
)
TRIGGER = re.compile(
    r"CREATE (?:OR REPLACE|CONSTRAINT) TRIGGER (\w+)\s.*?\sON\s+public\.(\w+)", re.DOTALL
)

RECORD = """
CREATE SCHEMA IF NOT EXISTS tollgate;
CREATE TABLE IF NOT EXISTS tollgate.installed (
    release text PRIMARY KEY,
    hash text NOT NULL,
    digest text NOT NULL,
    routines text[] NOT NULL,
    triggers jsonb NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
# All that stands in the schema, as it is now: a change by hand changes it.
DIGEST = """
SELECT encode(sha256(convert_to(
    coalesce(string_agg(d, E'\\n' ORDER BY d COLLATE "C"), ''), 'UTF8')), 'hex')
FROM (
    SELECT pg_get_functiondef(p.oid) FROM pg_proc p
    WHERE p.pronamespace = to_regnamespace('tollgate') AND p.prokind IN ('f', 'p')
    UNION ALL
    SELECT t.tgenabled::text || pg_get_triggerdef(t.oid)
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid
    WHERE p.pronamespace = to_regnamespace('tollgate')
        AND NOT t.tgisinternal AND NOT c.relispartition
) AS x (d)
"""
ROUTINES = """
SELECT p.oid, p.xmin::text, p.oid::regprocedure::text, p.prokind, p.proname,
    p.prokind = 'f' AND (p.prosecdef OR l.lanname = 'plpgsql') AS fixed
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'tollgate'::regnamespace
"""
TRIGGERS = """
SELECT t.tgname, c.relname, t.tgenabled = 'O' FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition
    AND p.pronamespace = 'tollgate'::regnamespace
"""
PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass('public.' || quote_ident(%s)) ORDER BY c.relname
"""
OTHERS = {"auth", "django_q"}  # apps of others whose tables have triggers of ours
DROP = {"f": "FUNCTION", "p": "PROCEDURE", "a": "AGGREGATE"}


class CannotInstall(Exception):
    """One line for whoever migrates."""


@dataclass(frozen=True)
class Statement:
    """One statement of a file, and what it makes."""

    text: str
    kind: str  # FUNCTION, PROCEDURE, AGGREGATE, TYPE, TRIGGER, VIEW
    name: str  # of a trigger: `table.name`

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def files() -> list[Path]:
    """The files of all apps, those of the ground floor first."""
    return [
        Path(config.path) / "sql" / name
        for config in apps.get_app_configs()
        for name in getattr(config, "routines", ())
    ]


def split(text: str) -> Iterator[str]:
    """The statements of a file: one ends where a line ends with a semicolon, outside of `$$`."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if not lines and (not line.strip() or line.startswith("--")):
            continue
        lines.append(line)
        inside ^= line.count("$$") % 2 == 1
        if not inside and line.rstrip().endswith(";"):
            yield "\n".join(lines)
            lines = []
    if lines:
        raise CannotInstall(f"A statement does not end: {lines[0]}")


def append_only_triggers() -> Iterator[str]:
    """Declared tables refuse UPDATE, DELETE and TRUNCATE."""
    for table in sorted(APPEND_ONLY_TABLES):
        yield (
            f"CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON public.{table} "
            "FOR EACH ROW EXECUTE FUNCTION tollgate.refuse_change();"
        )
        yield no_truncate(table)


def no_truncate(table: str) -> str:
    """TRUNCATE triggers are not inherited: a partition has one of its own."""
    return (
        f"CREATE OR REPLACE TRIGGER append_only_truncate BEFORE TRUNCATE ON public.{table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION tollgate.refuse_change();"
    )


@cache
def statements() -> tuple[Statement, ...]:
    """What this release installs, in the order in which it is installed."""
    texts = [text for file in files() for text in split(file.read_text(encoding="utf-8"))]
    return tuple(map(parsed, [*texts, *append_only_triggers()]))


def parsed(text: str) -> Statement:
    found = KIND.match(text)
    if found is None:
        raise CannotInstall(f"Neither a routine nor a trigger nor a type: {text[:80]}")
    kind, name = found.groups()
    if kind == "TRIGGER":
        trigger = TRIGGER.match(text)
        if trigger is None:
            raise CannotInstall(f"A trigger on no table of ours: {text[:80]}")
        name = f"{trigger[2]}.{trigger[1]}"
    return Statement(text, kind, name)


@cache
def wanted_hash() -> str:
    """The hash of all that this release installs."""
    parts = [SEARCH_PATH, *(each.text for each in statements())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def problem(using: str = "default") -> str:
    """Why this process cannot speak with what is installed; empty when it can.

    Raises DatabaseError where the database does not answer.
    """
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT to_regclass('tollgate.installed') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return "the stored routines are not installed: run manage.py migrate --database owner"
        cursor.execute("SELECT release, hash FROM tollgate.installed ORDER BY installed_at DESC")
        rows = dict(cursor.fetchall())
    release = settings.TOLLGATE_RELEASE
    if rows.get(release) == wanted_hash():
        return ""
    if release in rows:
        return (
            f"the stored routines are not those of this copy of release {release}: "
            "run manage.py migrate --database owner"
        )
    return (
        f"the stored routines are of release {', '.join(rows) or 'none'}, this is {release}: "
        "run manage.py migrate --database owner of the newer one, or start that"
    )


def altered(using: str = "default") -> bool:
    """Whether somebody has changed routines or triggers by hand since they were installed."""
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SELECT digest FROM tollgate.installed ORDER BY installed_at DESC LIMIT 1")
        row = cursor.fetchone()
        return row is not None and row[0] != digest(cursor)


def digest(cursor: Any) -> str:
    """Of what is there. Names are written out as the search path wants, so it is set: the rest of
    the transaction has it."""
    cursor.execute("SELECT set_config('search_path', %s, true)", [SEARCH_PATH])
    cursor.execute(DIGEST)
    found: str = cursor.fetchone()[0]
    return found


def tables_are_there(using: str) -> bool:
    """Whether each app that has routines is migrated: `migrate APP` may stop halfway."""
    loader = MigrationLoader(connections[using])
    needed = {config.label for config in apps.get_app_configs() if hasattr(config, "routines")}
    return all(
        leaf in loader.applied_migrations
        for leaf in loader.graph.leaf_nodes()
        if leaf[0] in needed | OTHERS
    )


def version(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release))


@contextmanager
def alone(using: str) -> Iterator[None]:
    """One at a time migrates and installs, on any number of hosts; who comes second waits."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', '0', false)")
        cursor.execute(f"SELECT pg_advisory_lock({LOCK})")
        cursor.execute("RESET lock_timeout")
    try:
        yield
    finally:
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT pg_advisory_unlock({LOCK})")


def install(using: str = "owner") -> bool:
    """Installs what this release has, as the owner; returns whether there was anything to do.

    Waits for running decisions at most as long as they wait for each other (`lock_timeout`), five
    times. Raises CannotInstall, or DatabaseError.
    """
    connection = connections[using]
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic(using=using), connection.cursor() as cursor:
                return Installation(connection, cursor).run()
        except OperationalError as error:
            contended = isinstance(
                error.__cause__,
                psycopg.errors.DeadlockDetected | psycopg.errors.LockNotAvailable,
            )
            if not contended or attempt == ATTEMPTS or connection.in_atomic_block:
                raise
            time.sleep(0.2 * attempt)
    raise AssertionError


class Installation:
    """One transaction that makes the schema what this release wants."""

    def __init__(self, connection: BaseDatabaseWrapper, cursor: Any) -> None:
        self.connection, self.cursor = connection, cursor
        self.release = settings.TOLLGATE_RELEASE
        self.remade: set[str] = set()  # types

    def run(self) -> bool:
        self.cursor.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        self.cursor.execute(RECORD)
        self.cursor.execute(
            "SELECT release, hash, digest, routines, triggers::text FROM tollgate.installed "
            "ORDER BY installed_at"
        )
        rows = {row[0]: row[1:] for row in self.cursor.fetchall()}
        newest = max(rows, key=version, default=self.release)
        if version(newest) > version(self.release):
            if self.release in rows:
                return False  # the newer one kept what this one calls
            raise CannotInstall(
                f"The database is of release {newest}, this is {self.release}: start {newest}."
            )
        if rows.get(self.release, ())[:2] == (wanted_hash(), digest(self.cursor)):
            return False
        before = [row for release, row in rows.items() if release != self.release]
        kept = set(before[-1][2]) if before else set()
        as_installed = json.loads(list(rows.values())[-1][3]) if rows else {}
        old = {row[0]: row[1] for row in self.rows(ROUTINES)}
        for statement in statements():
            self.make(statement, as_installed)
        ours = self.fix_search_paths(old)
        self.drop_what_is_left(ours | kept)
        self.truncate_triggers_of_partitions()
        self.record(ours, before=list(rows))
        return True

    def rows(self, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
        self.cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = self.cursor.fetchall()
        return rows

    def make(self, statement: Statement, as_installed: dict[str, str]) -> None:
        match statement.kind:
            case "TYPE":
                self.make_type(statement)
            case "TRIGGER":
                # A trigger locks its table against writes: only those that are new or changed.
                table, name = statement.name.split(".")
                there = (name, table, True) in self.rows(TRIGGERS)
                if not there or as_installed.get(statement.name) != statement.hash:
                    if there and statement.text.startswith("CREATE CONSTRAINT"):  # no OR REPLACE
                        self.cursor.execute(f"DROP TRIGGER {name} ON public.{table}")
                    self.cursor.execute(statement.text)
            case _:
                self.make_routine(statement)

    def make_type(self, statement: Statement) -> None:
        """Dropping a type takes columns of others along, so whatever holds it is made anew."""
        self.cursor.execute(
            "SELECT obj_description(to_regtype('tollgate.' || quote_ident(%s)), 'pg_type')",
            [statement.name],
        )
        held = set(re.findall(r"tollgate\.(\w+)", statement.text))
        if self.cursor.fetchone()[0] == statement.hash and not held & self.remade:
            return
        self.remade.add(statement.name)
        self.cursor.execute(f"DROP TYPE IF EXISTS tollgate.{statement.name} CASCADE")
        self.cursor.execute(statement.text)
        self.cursor.execute(f"COMMENT ON TYPE tollgate.{statement.name} IS '{statement.hash}'")

    def make_routine(self, statement: Statement) -> None:
        try:
            with transaction.atomic(using=self.connection.alias):
                self.cursor.execute(statement.text)
        except ProgrammingError as error:
            # Other names of parameters, another result: allowed before the release has gone out.
            if not isinstance(
                error.__cause__,
                psycopg.errors.InvalidFunctionDefinition | psycopg.errors.InvalidTableDefinition,
            ):
                raise
            if statement.kind == "VIEW":
                self.cursor.execute(f"DROP VIEW tollgate.{statement.name} CASCADE")
            for row in self.rows(ROUTINES):
                if row[4] == statement.name:
                    self.cursor.execute(f"DROP {DROP[row[3]]} {row[2]} CASCADE")
            self.cursor.execute(statement.text)

    def fix_search_paths(self, old: dict[int, str]) -> set[str]:
        """Of all that PostgreSQL does not put into the calling query, but for what commits.

        Returns the signatures of this release's routines: those that were just written.
        """
        ours = set()
        for oid, xmin, signature, _, _, fixed in self.rows(ROUTINES):
            if old.get(oid) == xmin:
                continue
            ours.add(signature)
            if fixed:
                self.cursor.execute(f"ALTER FUNCTION {signature} SET search_path = {SEARCH_PATH}")
        return ours

    def drop_what_is_left(self, kept: set[str]) -> None:
        """What neither this release nor the one before calls. Triggers are this release's alone."""
        wanted = {each.name for each in statements() if each.kind == "TRIGGER"}
        for name, table, _ in self.rows(TRIGGERS):
            if f"{table}.{name}" not in wanted:
                self.cursor.execute(f'DROP TRIGGER "{name}" ON public."{table}"')
        for _, _, signature, kind, _, _ in self.rows(ROUTINES):
            if signature not in kept:
                self.cursor.execute(f"DROP {DROP[kind]} IF EXISTS {signature} CASCADE")

    def truncate_triggers_of_partitions(self) -> None:
        for table in sorted(APPEND_ONLY_TABLES):
            for (partition,) in self.rows(PARTITIONS, [table]):
                self.cursor.execute(no_truncate(partition))

    def record(self, ours: set[str], *, before: list[str]) -> None:
        """This release and the one before it; what was before that may go."""
        last = next((release for release in reversed(before) if release != self.release), "")
        self.cursor.execute("DELETE FROM tollgate.installed WHERE release <> %s", [last])
        triggers = {each.name: each.hash for each in statements() if each.kind == "TRIGGER"}
        self.cursor.execute(
            "INSERT INTO tollgate.installed (release, hash, digest, routines, triggers) "
            "VALUES (%s, %s, %s, %s, %s)",
            [
                self.release,
                wanted_hash(),
                digest(self.cursor),
                sorted(ours),
                Jsonb(triggers),
            ],
        )


def make_partitions(using: str) -> None:
    """Of the event log and of telemetry, so that what is written next finds its own."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT tollgate.ensure_event_partitions_v1()")
        cursor.execute("SELECT tollgate.ensure_telemetry_partitions_v1()")


def start_problem() -> str:
    """`problem` for a process that starts: empty, too, where the database does not answer yet."""
    try:
        return problem()
    except DatabaseError:
        return ""
    finally:
        connections["default"].close()
