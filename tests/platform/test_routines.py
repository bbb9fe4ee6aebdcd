"""The stored routines are installed, known by their hash, and two releases work on one database."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from pytest_django import DjangoDbBlocker

from config.run.children import BASE_DIR, Child, WebServer, stop_all, web_server
from config.run.embedded import free_port
from config.run.scratch import (
    ScratchService,
    child_environment,
    owner_sql,
    scratch_database,
    wait_until_it_answers,
    with_database,
)
from opslog.database import routines
from tests import factories
from tests.waiting import HANG_SECONDS

SAFE = "search_path=pg_catalog, pg_temp"
# These end transactions, which PostgreSQL forbids in a routine with settings of its own. They hold
# nothing but calls with a schema, and run with the caller's rights.
COMMITTING = {"commit", "decide_v1", "start_v1", "finish_v1", "extend_v1", "spend_v1"}
ROUTINES = """
SELECT p.oid::regprocedure::text, p.proname, l.lanname, p.prokind, p.prosecdef,
    coalesce(p.proconfig, '{}'), n.nspname, p.prorettype = 'trigger'::regtype,
    has_function_privilege('public', p.oid, 'EXECUTE')
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname IN ('public', 'tollgate')
"""


def query(sql: str, *params: Any, using: str = "default") -> list[tuple[Any, ...]]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params or None)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.django_db
def test_each_routine_stands_in_its_schema_with_a_safe_search_path() -> None:
    found = query(ROUTINES)
    assert len(found) > 100
    for signature, name, language, kind, definer, config, schema, trigger, public in found:
        assert schema == "tollgate", signature
        assert not public, f"anybody may execute {signature}"
        if kind == "p":
            assert name in COMMITTING, f"{signature}: only what commits is a procedure"
            assert not definer
            assert config == [], signature
        elif language == "plpgsql" or definer or trigger:
            assert SAFE in config, signature


@pytest.mark.django_db
def test_each_trigger_of_ours_calls_a_routine_of_ours() -> None:
    foreign = query(
        "SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "JOIN pg_proc p ON p.oid = t.tgfoid "
        "WHERE NOT t.tgisinternal AND p.pronamespace <> 'tollgate'::regnamespace"
    )
    assert foreign == []


def test_a_second_installation_does_nothing(committed_db: str) -> None:
    before = query("SELECT hash, digest, installed_at FROM tollgate.installed")
    assert not routines.install("owner")
    assert query("SELECT hash, digest, installed_at FROM tollgate.installed") == before


def test_a_change_by_hand_is_found_and_mended(committed_db: str) -> None:
    assert not routines.altered()
    query(
        "CREATE OR REPLACE FUNCTION tollgate.usd(amount numeric) RETURNS text "
        "LANGUAGE sql IMMUTABLE AS $$ SELECT 'nothing' $$",
        using="owner",
    )
    query("ALTER TABLE work_orders DISABLE TRIGGER guard_caps", using="owner")
    query("DROP TRIGGER order_with_admission ON budgets", using="owner")
    assert routines.problem() == ""
    assert routines.altered()
    assert routines.install("owner")
    assert not routines.altered()
    assert query("SELECT tollgate.usd(1.5)") == [("1.50",)]
    states = query(
        "SELECT tgenabled FROM pg_trigger WHERE tgname = ANY (%s) "
        "AND tgrelid IN ('work_orders'::regclass, 'budgets'::regclass)",
        ["guard_caps", "order_with_admission"],
    )
    assert states == [("O",)] * 3


def test_a_type_that_holds_another_is_made_anew_with_it(committed_db: str) -> None:
    query("DROP TYPE tollgate.start_check CASCADE", using="owner")
    query("CREATE TYPE tollgate.start_check AS ENUM ('another')", using="owner")
    assert routines.install("owner")
    held = "SELECT (NULL::tollgate.charge).check_name, (NULL::tollgate.look).way"
    assert query(held) == [(None, None)]
    assert not routines.altered()


def test_what_no_release_calls_any_more_goes(committed_db: str) -> None:
    query(
        "CREATE FUNCTION tollgate.of_old() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RETURN NEW; END $$",
        using="owner",
    )
    query(
        "CREATE TRIGGER of_old BEFORE UPDATE ON agents FOR EACH ROW "
        "EXECUTE FUNCTION tollgate.of_old()",
        using="owner",
    )
    assert routines.install("owner")
    assert query("SELECT to_regproc('tollgate.of_old')") == [(None,)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("-- nothing\n\n", 0),
        ("CREATE TYPE tollgate.x AS (a int,\n    b int);\n", 1),
        ("CREATE FUNCTION f() AS $$\nBEGIN\n  a;\nEND $$;\n-- next\nCREATE TYPE x AS ();", 2),
    ],
)
def test_statements_of_a_file(text: str, count: int) -> None:
    assert len(list(routines.split(text))) == count


def test_a_statement_that_does_not_end_is_no_file_of_ours() -> None:
    with pytest.raises(routines.CannotInstall, match="does not end"):
        list(routines.split("CREATE TYPE tollgate.x AS (a int)\n"))
    with pytest.raises(routines.CannotInstall, match="Neither"):
        routines.parsed("DROP TABLE work_orders;")


# --- copies of the tree, on one database ---


@dataclass(frozen=True)
class Tree:
    """A copy of this checkout whose files may be changed."""

    path: Path

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.path / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def manage(self, database: str, *argv: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *argv],
            cwd=self.path,
            env={**os.environ, **child_environment(database, {"DEMO": "0"})},
            capture_output=True,
            text=True,
        )

    def migrate(self, database: str) -> None:
        result = self.manage(database, "manage.py", "migrate", "--database", "owner")
        assert result.returncode == 0, result.stderr


def copy_of_this_tree(target: Path) -> Tree:
    for name in ("config", "opslog", "workorders", "budgets", "templates", "client"):
        shutil.copytree(
            BASE_DIR / name, target / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(BASE_DIR / "manage.py", target)
    (target / ".static").symlink_to(BASE_DIR / ".static")
    return Tree(target)


@pytest.fixture
def empty_database(django_db_setup: None) -> Iterator[str]:
    name = f"tollgate_scratch_{os.urandom(5).hex()}"
    owner_sql("CREATE DATABASE {}", name)
    try:
        yield name
    finally:
        owner_sql("DROP DATABASE {} WITH (FORCE)", name)


def test_two_first_starts_on_one_empty_database(empty_database: str) -> None:
    """On two hosts, say: both succeed, and there is one of everything."""
    here = Tree(BASE_DIR)
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(here.manage, empty_database, "-m", "config.run.prepare") for _ in range(2)
        ]
    results = [each.result() for each in both]
    assert [each.returncode for each in results] == [0, 0], [each.stderr for each in results]
    assert sorted("Applying" in each.stdout for each in results) == [False, True]
    with psycopg.connect(with_database(settings.OWNER_URL, empty_database)) as database:
        assert database.execute("SELECT count(*) FROM tollgate.installed").fetchall() == [(1,)]


def test_a_file_that_was_edited_gets_into_a_database_that_is_there(
    pristine_database: str, tmp_path: Path
) -> None:
    tree = copy_of_this_tree(tmp_path)
    tree.edit("budgets/sql/admission.sql", "'admission found no quiet", "'found no quiet")
    with scratch_database(pristine_database) as database:
        check = tree.manage(database, "manage.py", "check", "--database", "default")
        assert check.returncode == 1
        assert "opslog.E001" in check.stderr
        worker = tree.manage(database, "manage.py", "qcluster", "--run-once")
        assert worker.returncode == 2
        assert worker.stderr.startswith("tollgate: the job worker does not start: the stored")
        tree.migrate(database)
        check = tree.manage(database, "manage.py", "check", "--database", "default")
        assert check.returncode == 0, check.stderr
        # The same release of other files, this one, is not what is installed any more.
        check = Tree(BASE_DIR).manage(database, "manage.py", "check", "--database", "default")
        assert "opslog.E001" in check.stderr


def ready(url: str) -> tuple[int, Any]:
    try:
        with urlopen(f"{url}/readyz", timeout=HANG_SECONDS) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_a_web_server_without_its_routines_is_not_ready(service: ScratchService) -> None:
    with psycopg.connect(service.owner_url, autocommit=True) as owner:
        (was,) = owner.execute("SELECT hash FROM tollgate.installed").fetchone() or ("",)
        owner.execute("UPDATE tollgate.installed SET hash = 'of something else'")
        try:
            status, body = ready(service.url)
        finally:
            owner.execute("UPDATE tollgate.installed SET hash = %s", [was])
    assert status == 503
    assert body["routines"]["status"] == "failed"
    assert "run manage.py migrate --database owner" in body["routines"]["reason"]
    assert ready(service.url)[1]["routines"] == {"status": "ok"}


def post(url: str, token: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    request = Request(
        url,
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=HANG_SECONDS) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_old_and_new_processes_work_on_one_database(
    pristine_database: str, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    """A rolling upgrade: what the new release calls has another name.

    Both admit, on the same counters; the old one is ready through it; the next release but one
    takes the old one's routines away.
    """
    new = copy_of_this_tree(tmp_path / "new")
    release = f'TOLLGATE_RELEASE = "{settings.TOLLGATE_RELEASE}"'
    new.edit("config/settings.py", release, 'TOLLGATE_RELEASE = "99.1"')
    new.edit("budgets/sql/admission.sql", "tollgate.start_v1(", "tollgate.start_v2(")
    new.edit("budgets/sql/admission.sql", "tollgate.start_run_v1(", "tollgate.start_run_v2(")
    new.edit(
        "budgets/admission/decide.py", "tollgate.{routine}_v1(", "tollgate.{VERSIONED[routine]}("
    )
    new.edit(
        "budgets/admission/decide.py",
        "@cache\ndef statement(",
        "VERSIONED = {'start': 'start_v2', 'finish': 'finish_v1'}\n\n\n@cache\ndef statement(",
    )
    last = copy_of_this_tree(tmp_path / "last")
    last.edit("config/settings.py", release, 'TOLLGATE_RELEASE = "99.2"')
    last.edit("budgets/sql/admission.sql", "tollgate.start_v1(", "tollgate.start_v3(")
    last.edit("budgets/sql/admission.sql", "tollgate.start_run_v1(", "tollgate.start_run_v3(")

    with scratch_database(pristine_database) as database:
        with factories.inside(database, django_db_blocker):
            factories.make_work_order("both")
            token = factories.make_token()[1]
        old_server, old = serve(Tree(BASE_DIR), database)
        try:
            new.migrate(database)
            new_server, fresh = serve(new, database)
            try:
                body = {"workOrderId": "both", "agentName": "a", "estimatedCostUsd": "0.50"}
                for url in (old, fresh):
                    assert ready(url)[1]["routines"] == {"status": "ok"}
                answers = [
                    post(f"{url}/api/work-orders/start", token, body) for url in (old, fresh)
                ]
                assert [status for status, _ in answers] == [201, 201]
                assert [answer["usage"]["runsToday"] for _, answer in answers] == [1, 2]
                for url, (_, answer) in zip((fresh, old), answers, strict=True):
                    finish = f"{url}/api/work-orders/runs/{answer['runId']}/finish"
                    payload = {"status": "success", "costUsd": "0.40"}
                    assert post(finish, token, payload)[0] == 200
                body["estimatedCostUsd"] = "1.30"  # $0.80 of $2.00 is used
                for url in (old, fresh):
                    assert post(f"{url}/api/work-orders/start", token, body)[0] == 429
            finally:
                stop_all([new_server])
            # An older release does not install over a newer one, nor does it need to.
            again = Tree(BASE_DIR).manage(database, "-m", "config.run.prepare")
            assert again.returncode == 0, again.stderr
            last.migrate(database)
            status, answer = ready(old)
            assert status == 503
            assert answer["routines"]["status"] == "failed"
            again = Tree(BASE_DIR).manage(database, "manage.py", "migrate", "--database", "owner")
            assert again.returncode == 1
            assert "The database is of release 99.2" in again.stderr
        finally:
            stop_all([old_server])
        with psycopg.connect(with_database(settings.OWNER_URL, database)) as owner:
            (used,) = owner.execute(
                "SELECT settled_usd FROM counters WHERE scope = 'work_order' AND subject = 'both' "
                "AND \"window\" = 'day'"
            ).fetchone() or (None,)
            assert used == Decimal("0.80")


def serve(tree: Tree, database: str) -> tuple[Child, str]:
    port = free_port()
    server = WebServer(
        "", web_server("127.0.0.1", port, workers=1, threads=2), child_environment(database, {})
    )
    server.cwd = tree.path
    server.start()
    wait_until_it_answers(server, port)
    return server, f"http://127.0.0.1:{port}"
