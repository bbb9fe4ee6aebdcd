"""The migrated database that all others of the tests are copies of.

It is made once, by a process of its own (`python -m tests.pristine NAME`), while the tests are
collected: migrations take as long as that does.
"""

import fcntl
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import django
from django.core.management import call_command
from django.db import connections

from config.run.scratch import owner_sql

NAME, LOCK = "TOLLGATE_TESTS_PRISTINE", "TOLLGATE_TESTS_PRISTINE_LOCK"


def begin() -> "subprocess.Popen[bytes]":
    """Starts it. What it holds a lock on is known to this process's children by the environment."""
    os.environ[NAME] = f"test_pristine_{secrets.token_hex(4)}"
    descriptor, os.environ[LOCK] = tempfile.mkstemp(prefix="tollgate-pristine-")
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.pristine", os.environ[NAME]], pass_fds=[descriptor]
    )
    os.close(descriptor)
    return process


def end(process: "subprocess.Popen[bytes]", *, drop: bool) -> None:
    process.kill()
    process.wait()
    Path(os.environ[LOCK]).unlink(missing_ok=True)
    if drop:
        for name in (os.environ[NAME], draft_of(os.environ[NAME])):
            owner_sql("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def made() -> str:
    """Waits for its end, and returns the database's name."""
    with Path(os.environ[LOCK]).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    return os.environ[NAME]


def draft_of(name: str) -> str:
    return f"{name}_draft"


def main(name: str) -> None:
    """Under its name it is complete: what fails leaves none."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    draft = draft_of(name)
    owner_sql("CREATE DATABASE {}", draft)
    connections["owner"].settings_dict["NAME"] = draft
    call_command("migrate", database="owner", verbosity=0, skip_checks=True)
    connections.close_all()
    owner_sql("ALTER DATABASE {} RENAME TO {}", draft, name)


if __name__ == "__main__":
    main(sys.argv[1])
