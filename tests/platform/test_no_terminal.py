"""What asks back does nothing without somebody to ask, says so, and ends with an error."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from config.run.children import BASE_DIR
from config.run.scratch import child_environment, scratch_database
from tests.waiting import HANG_SECONDS

STOP = ["killswitch", "on", "global", "--reason", "runaway"]


@pytest.fixture(scope="module")
def env(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[dict[str, str]]:
    with django_db_blocker.unblock(), scratch_database(pristine_database) as database:
        yield {**os.environ, **child_environment(database, {})}


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """Nine dollars: over what goes unconfirmed."""
    file = tmp_path / "batch.json"
    file.write_text('[{"workOrderId": "nightly", "name": "a", "estimatedCostUsd": "9.00"}]')
    return file


def manage(env: dict[str, str], *words: str, stdin: str) -> "subprocess.CompletedProcess[str]":
    """`stdin`: none at all, /dev/null, or a pipe that stays open and in which nobody writes."""
    argv = [sys.executable, "manage.py", *words]
    reading, writing = os.pipe()
    try:
        return subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *argv] if stdin == "closed" else argv,
            stdin=reading if stdin == "silent" else subprocess.DEVNULL,
            cwd=BASE_DIR,
            env=env,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)


def stopped(env: dict[str, str]) -> int:
    with psycopg.connect(env["DATABASE_URL"]) as database:
        row = database.execute("SELECT count(*) FROM kill_switches WHERE enabled").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("stdin", ["closed", "empty", "silent"])
def test_a_stop_that_stops_nothing_says_so(env: dict[str, str], stdin: str) -> None:
    ended = manage(env, *STOP, stdin=stdin)
    assert ended.returncode == 1
    assert ended.stderr == (
        "CommandError: Nothing was stopped. There is no terminal to ask at: confirm with --yes.\n"
    )
    assert stopped(env) == 0


def test_a_script_confirms_with_yes(env: dict[str, str]) -> None:
    assert manage(env, *STOP, "--yes", stdin="empty").returncode == 0
    assert stopped(env) == 1
    off = ["killswitch", "off", "global", "--reason", "over"]  # needs none
    assert manage(env, *off, stdin="empty").returncode == 0
    assert stopped(env) == 0


@pytest.mark.parametrize("stdin", ["closed", "empty", "silent"])
def test_nobody_is_made(env: dict[str, str], stdin: str) -> None:
    """Django's own command ends with 0 here."""
    ended = manage(env, "createsuperuser", stdin=stdin)
    assert ended.returncode == 1
    assert ended.stderr.startswith("CommandError: Nobody was made: there is no terminal")


def test_no_password_is_changed(env: dict[str, str]) -> None:
    made = ["createsuperuser", "--noinput", "--username", "root", "--email", "root@example.org"]
    assert manage(env, *made, stdin="empty").returncode == 0
    ended = manage(env, "changepassword", "root", stdin="empty")
    assert ended.returncode == 1
    assert "CommandError: Nothing was changed" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("stdin", ["closed", "empty", "silent"])
def test_a_batch_is_not_confirmed(env: dict[str, str], batch: Path, stdin: str) -> None:
    ended = manage(env, "preflight", str(batch), "--dry-run", stdin=stdin)
    assert ended.returncode == 1
    assert "Ready to start" not in ended.stdout
    assert "CommandError: " in ended.stderr
