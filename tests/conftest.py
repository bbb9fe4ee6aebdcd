"""The databases of the tests: one throw-away PostgreSQL, on it one database per worker."""

import gc
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connections
from pytest_django import DjangoDbBlocker

from config.run.data_folder import DataFolder
from config.run.embedded import EmbeddedPostgres
from config.run.scratch import ScratchService, owner_sql, scratch_service
from config.run.static import collect_if_changed
from tests import pristine
from tests.waiting import until_the_hour_has_turned

# In bytes: a gigabyte of write-ahead log, and the databases of the tests that run.
ROOM = 3 * 1024**3

# Hypothesis' own profile for this: no deadline, and the same examples in every run, so that a first
# `make test` fails neither by the clock nor by chance. `pytest --hypothesis-profile=default` looks
# for new ones.
hypothesis.settings.load_profile("ci")

SERVER = pytest.StashKey[tuple[EmbeddedPostgres, Path]]()
PRISTINE = pytest.StashKey[subprocess.Popen[bytes]]()
BOTH = ("default", "owner")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Settings are read here and not earlier: pytest.ini must not name DJANGO_SETTINGS_MODULE."""
    start_server(config)
    if not hasattr(config, "workerinput"):
        config.stash[PRISTINE] = pristine.begin()
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    settings.DATABASES  # noqa: B018
    spare_work()


def spare_work() -> None:
    """In this process alone: the servers that tests start do all of it."""
    # A million rounds are half a second for each password of each person of each test. (The
    # servers accept the hashes: each says how many it took.)
    PBKDF2PasswordHasher.iterations = 1000
    # Every `Client` has middlewares of its own, and this one reads all static files when made.
    settings.WHITENOISE_AUTOREFRESH = True


def pytest_sessionstart(session: pytest.Session) -> None:
    """Pages need the collected static files; the process that hands the tests out makes them."""
    if not hasattr(session.config, "workerinput"):
        collect_if_changed()


def pytest_collection_finish() -> None:
    """What is imported stays: the collector of garbage need not look at it again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Walks first: few and long, so that no worker is left with one of them at the end."""
    items.sort(key=lambda item: "walks" not in item.path.parts)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    until_the_hour_has_turned()


def memory() -> Path | None:
    """A folder in memory with room for the suite, or None.

    Each test that commits has a database of its own, which is hundreds of files: to make them
    takes 0.03 s in memory and half a second of CPU on some disks, a quarter of the suite.
    """
    folder = Path("/dev/shm")  # noqa: S108
    roomy = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOM
    return folder if roomy else None


def start_server(config: pytest.Config) -> None:
    """Starts PostgreSQL once, in the process that hands the tests out, before settings are read.

    Set both DATABASE_URL and TOLLGATE_OWNER_DATABASE_URL to test against another server.
    """
    os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(50))
    given = {"DATABASE_URL", "TOLLGATE_OWNER_DATABASE_URL"} & os.environ.keys()
    if len(given) == 1:
        raise pytest.UsageError("Set both DATABASE_URL and TOLLGATE_OWNER_DATABASE_URL, or none.")
    if given:
        return
    temporary = Path(tempfile.mkdtemp(prefix="tollgate-tests-", dir=memory()))
    temporary.chmod(0o711)
    server = EmbeddedPostgres(DataFolder(temporary / "data"), fast=True)
    server.start()
    config.stash[SERVER] = (server, temporary)
    os.environ["DATABASE_URL"] = server.folder.app_url()
    os.environ["TOLLGATE_OWNER_DATABASE_URL"] = server.folder.owner_url()


def pytest_unconfigure(config: pytest.Config) -> None:
    if PRISTINE in config.stash:
        pristine.end(config.stash[PRISTINE], drop=SERVER not in config.stash)
    if SERVER in config.stash:
        server, temporary = config.stash[SERVER]
        server.stop()
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture(scope="session")
def pristine_database(
    django_test_environment: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """The name of a migrated database that nobody uses: the template of all others. The tests of
    this process that roll back have a copy."""
    name = pristine.made()
    copy = f"{name}_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    owner_sql("CREATE DATABASE {} TEMPLATE {}", copy, name)
    # What a migration takes from everybody on the database itself is not copied.
    owner_sql("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", copy)
    for alias in BOTH:
        settings.DATABASES[alias]["NAME"] = connections[alias].settings_dict["NAME"] = copy
    yield name
    with django_db_blocker.unblock():
        connections.close_all()
        owner_sql("DROP DATABASE {} WITH (FORCE)", copy)


@pytest.fixture(scope="session")
def django_db_setup(pristine_database: str) -> None:
    """pytest-django's `db`: migrated by the owner, used by the application's role."""


@pytest.fixture
def committed_db(
    pristine_database: str, django_db_blocker: DjangoDbBlocker, request: pytest.FixtureRequest
) -> Iterator[str]:
    """A database for this test alone, where commits are real and threads have connections.

    The log refuses TRUNCATE and an admission commits by itself, so neither a rollback nor
    Django's flush could clean up after such a test. Yields the name of the database.
    """
    assert "db" not in request.fixturenames, "a test has either `db` or `committed_db`"
    name = f"{pristine_database}_{secrets.token_hex(4)}"
    owner_sql("CREATE DATABASE {} TEMPLATE {}", name, pristine_database)
    before = {alias: connections[alias].settings_dict["NAME"] for alias in BOTH}
    with django_db_blocker.unblock():
        try:
            for alias in BOTH:
                connections[alias].close()
                connections[alias].settings_dict["NAME"] = name
            yield name
        finally:
            for alias in BOTH:
                connections[alias].close()
                connections[alias].settings_dict["NAME"] = before[alias]
            owner_sql("DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture(scope="module")
def service(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[ScratchService]:
    """A real web server on a database of its own, one for the module's tests."""
    with scratch_service(template=pristine_database, workers=1) as running:
        yield running
