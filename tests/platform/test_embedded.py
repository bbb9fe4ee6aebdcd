"""The embedded server through the accidents that a folder of data meets."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from config.run.data_folder import DataFolder, EmbeddedError
from config.run.embedded import EmbeddedPostgres, free_port
from tests.waiting import HANG_SECONDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    return DataFolder(tmp_path_factory.mktemp("embedded") / "data")


@pytest.fixture
def server(folder: DataFolder) -> Iterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(folder, fast=True)
    postgres.start()
    yield postgres
    postgres.stop()


def one(url: str, query: str) -> object:
    with psycopg.connect(url) as database:
        row = database.execute(query).fetchone()
        assert row is not None
        return row[0]


def postmaster(server: EmbeddedPostgres) -> psutil.Process:
    assert server.process is not None
    return psutil.Process(server.process.pid)


def test_only_passwords_open_it_and_only_from_here(server: EmbeddedPostgres) -> None:
    connections = postmaster(server).net_connections()
    assert {where.laddr.ip for where in connections if where.status == "LISTEN"} == {"127.0.0.1"}
    for user in ("postgres", "tollgate_owner", "tollgate_app"):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(
                host="127.0.0.1", port=server.port, user=user, password="guess", dbname="tollgate"
            )
    rules = (server.cluster / "pg_hba.conf").read_text().splitlines()
    assert {rule.split()[-1] for rule in rules if rule and rule[0] != "#"} == {"scram-sha-256"}


def test_neither_role_is_a_superuser(server: EmbeddedPostgres, folder: DataFolder) -> None:
    query = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    assert one(folder.app_url(), query) is False
    assert one(folder.owner_url(), query) is False


def test_locale_and_time_zone(server: EmbeddedPostgres, folder: DataFolder) -> None:
    query = "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'tollgate'"
    assert one(folder.app_url(), query) == "bC.UTF-8"
    assert one(folder.app_url(), "SHOW timezone") == "UTC"
    assert one(folder.app_url(), "SHOW server_encoding") == "UTF8"


def test_durability_is_on_unless_asked_otherwise(server: EmbeddedPostgres) -> None:
    careful = " ".join(EmbeddedPostgres(server.folder)._options())
    assert "fsync" not in careful
    assert "full_page_writes" not in careful
    assert one(server.folder.app_url(), "SHOW synchronous_commit") == "on"
    assert one(server.folder.app_url(), "SHOW data_checksums") == "on"


def test_one_server_per_folder(server: EmbeddedPostgres, folder: DataFolder) -> None:
    second = EmbeddedPostgres(folder, fast=True)
    with pytest.raises(EmbeddedError, match="already runs on the data folder"):
        second.start()
    second.stop()
    assert one(folder.app_url(), "SELECT 1") == 1


def test_starts_after_a_killed_postmaster(server: EmbeddedPostgres, folder: DataFolder) -> None:
    with psycopg.connect(folder.owner_url()) as database:
        database.execute("CREATE TABLE IF NOT EXISTS kept ()")
    postmaster(server).kill()
    server.stop()
    again = EmbeddedPostgres(folder, fast=True)
    again.start()
    assert one(folder.owner_url(), "SELECT count(*) FROM kept") == 0
    again.stop()


def test_stops_a_server_that_was_left_behind(server: EmbeddedPostgres, folder: DataFolder) -> None:
    """As after a supervisor that died where no signal follows its death."""
    old = postmaster(server)
    assert server._lock is not None
    server._lock.close()
    again = EmbeddedPostgres(folder, fast=True)
    again.start()
    assert server.process is not None
    assert server.process.wait(HANG_SECONDS) == 0
    assert not old.is_running()
    assert one(folder.app_url(), "SELECT 1") == 1
    again.stop()


def test_a_process_number_given_to_a_stranger(folder: DataFolder) -> None:
    """After a power cut, the number in postmaster.pid can belong to anybody."""
    note = folder.path / "postgres" / "postmaster.pid"
    note.write_text(f"{os.getppid()}\n{note.parent}\n1\n1\n\n127.0.0.1\n\nready\n")
    server = EmbeddedPostgres(folder, fast=True)
    server.start()
    assert one(folder.app_url(), "SELECT 1") == 1
    assert psutil.pid_exists(os.getppid())
    server.stop()


def test_an_interrupted_first_start_begins_anew(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    half = folder.path / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(folder, fast=True)
    server.start()
    assert one(folder.app_url(), "SELECT 1") == 1
    assert not half.exists()
    process = postmaster(server)
    server.stop()
    assert not process.is_running()
    assert not (folder.path / "app_url").exists()


def test_the_server_runs_as_somebody_else_than_root(server: EmbeddedPostgres) -> None:
    assert postmaster(server).uids().effective != 0


def test_a_free_port_is_given_to_nobody_else() -> None:
    """Between here and its server's start others ask for any port, and connections take one."""
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)):
        pass
