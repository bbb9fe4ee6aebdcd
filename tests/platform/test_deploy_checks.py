"""`manage.py check --deploy` says what production lacks: seals, and a stamp of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from config.run.children import BASE_DIR
from config.run.scratch import child_environment, scratch_database

GOOD = {
    "HTTPS": "1",
    "ALLOWED_HOSTS": "tollgate.example",
    "SECRET_KEY": "Zp4xJ8q2Lm6v-not-a-real-one-0123456789-abcdefghijklmnop",
}


@pytest.fixture
def env(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[dict[str, str]]:
    with django_db_blocker.unblock(), scratch_database(pristine_database) as database:
        yield {**os.environ, **child_environment(database, GOOD)}


def manage(env: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "manage.py", *words]
    return subprocess.run(argv, cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False)


def warnings(env: dict[str, str]) -> list[str]:
    return re.findall(r"\((\w+\.[EWI]\d+)\)", manage(env, "check", "--deploy").stderr)


def test_what_nobody_thought_of_is_named(env: dict[str, str], tmp_path: Path) -> None:
    assert warnings(env) == ["config.W001", "opslog.W002"]
    stamped = manage(env, "stamp_environment", "production", "--reason", "a test")
    assert stamped.returncode == 0
    # The database is production's now, and this process says development.
    assert warnings(env) == ["config.E019", "config.W001", "opslog.W002"]
    production = {**env, "ENVIRONMENT": "production"}
    assert warnings(production) == ["opslog.W002"]
    sealing = {**production, "SEAL_KEY_FILE": str(tmp_path / "seal_key")}
    assert manage(sealing, "seal_events").returncode == 0
    assert warnings(sealing) == []
    assert warnings(production) == []  # another host has the key, and seals


def test_a_sealer_that_stands_still_is_named(env: dict[str, str], tmp_path: Path) -> None:
    """The key is there, and nobody uses it."""
    env |= {"ENVIRONMENT": "production", "SEAL_KEY_FILE": str(tmp_path / "seal_key")}
    assert manage(env, "stamp_environment", "production", "--reason", "a test").returncode == 0
    with psycopg.connect(env["TOLLGATE_OWNER_DATABASE_URL"]) as owner:
        owner.execute("ALTER TABLE operations_events DISABLE TRIGGER USER")
        owner.execute(
            "INSERT INTO operations_events (kind, message, created_at) "
            "VALUES ('NOTE', 'long ago', now() - interval '20 minutes')"
        )
    assert warnings(env) == ["opslog.W002"]
