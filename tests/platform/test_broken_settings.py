"""What cannot work ends with one line and exit code 2, and the line holds no secret."""

import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from django.conf import settings

from config.run.children import BASE_DIR
from config.run.data_folder import DataFolder, EmbeddedError
from config.run.embedded import EmbeddedPostgres, free_port
from config.run.scratch import with_database
from config.run.supervisor import Supervisor
from tests.waiting import HANG_SECONDS


def supervise(**env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "config.run.supervisor"],
        cwd=BASE_DIR,
        env={**os.environ, "PORT": str(free_port()), **env},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )


SECRET = "hush-hush"
NOBODY_LISTENS = f"postgres://me:{SECRET}@127.0.0.1:1/tollgate"


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"DATABASE_URL": SECRET}, r"DATABASE_URL must name a PostgreSQL .* no scheme\."),
        ({"DATABASE_URL": f"mysql://me:{SECRET}@h/db"}, r"DATABASE_URL must .* “mysql”\."),
        (
            {"DATABASE_URL": f"postgres://me:{SECRET}@h:port/db"},
            r"DATABASE_URL is not an address.*",
        ),
        ({"DATABASE_URL": f"postgres://me:{SECRET}@[::1/db"}, r"DATABASE_URL is not an address.*"),
        ({"DATABASE_URL": f"postgres://me:{SECRET}@localhost"}, r"DATABASE_URL is not an addr.*"),
        ({"DATABASE_URL": NOBODY_LISTENS}, r"DATABASE_URL: no connection: .*refused.*"),
        ({"SECRET_KEY": ""}, r"SECRET_KEY must be set when DATABASE_URL is set\."),
        ({"PORT": "http"}, r"PORT must be a number from 1 to 65535, not 'http'\."),
        ({"PORT": "0"}, r"PORT must be a number from 1 to 65535, not '0'\."),
        ({"DOOR_PORT": "api"}, r"DOOR_PORT must be a number from 0 to 65535, not 'api'\."),
        ({"PORT": "8123", "DOOR_PORT": "8123"}, r"DOOR_PORT and PORT must differ; both are 8123\."),
        ({"HOST": "203.0.113.7"}, r"Port \d+ on 203.0.113.7 is not free .*"),
        ({"HTTPS": "enabled"}, r"HTTPS must be 1 or 0, not 'enabled'\."),
        ({"DEMO": "off, please"}, r"DEMO must be 1 or 0, not 'off, please'\."),
        ({"BASE_URL": "hello"}, r"BASE_URL must be an address .*, not 'hello'\."),
        ({"WEB_WORKERS": "-1"}, r"WEB_WORKERS must be a number from 1 to 64, not '-1'\."),
    ],
)
def test_one_line(env: dict[str, str], line: str) -> None:
    result = supervise(**env)
    assert result.returncode == 2
    assert re.fullmatch(rf"tollgate: {line}\n", result.stderr)
    assert SECRET not in result.stdout + result.stderr


def test_wrong_password_is_one_line() -> None:
    url = re.sub(r":[^:@]+@", f":{SECRET}@", with_database(settings.APP_URL, "postgres"))
    result = supervise(DATABASE_URL=url)
    assert result.returncode == 2
    assert re.fullmatch(r"tollgate: DATABASE_URL: no connection: .*password.*\n", result.stderr)
    assert SECRET not in result.stderr


def test_unknown_database_is_one_line() -> None:
    result = supervise(DATABASE_URL=with_database(settings.APP_URL, "nowhere"))
    assert re.fullmatch(r"tollgate: DATABASE_URL: no connection: .*nowhere.*\n", result.stderr)


def test_a_wrong_setting_is_one_line() -> None:
    result = supervise(LEASE_SECONDS="soon")
    assert result.returncode == 2
    line = "A setting is wrong: LEASE_SECONDS must be a number from 1 to 86400, not 'soon'.\n"
    assert result.stdout + result.stderr == line


@pytest.mark.parametrize("name", ["REQUIRE_MFA", "LIFT_ESTIMATES", "PGBOUNCER", "DEBUG"])
def test_a_boolean_that_is_none_is_one_line(name: str) -> None:
    result = supervise(**{name: "maybe"})
    assert result.returncode == 2
    line = f"A setting is wrong: {name} must be 1 or 0, not 'maybe'.\n"
    assert result.stdout + result.stderr == line


@pytest.mark.parametrize(
    ("env", "lines"),
    [
        ({}, ["Tollgate is open at  http://127.0.0.1:8000/admin/"]),
        (
            {"HOST": "::"},
            [
                "Tollgate is open at  http://127.0.0.1:8000/admin/",
                "It listens on port 8000 of every address.",
            ],
        ),
        ({"HOST": "::1", "PORT": "81"}, ["Tollgate is open at  http://[::1]:81/admin/"]),
        (
            {
                "HTTPS": "1",
                "CSRF_TRUSTED_ORIGINS": "https://*.example.org,https://tollgate.example",
            },
            [
                "Tollgate is open at  https://tollgate.example/admin/",
                "It listens on port 8000 of 127.0.0.1.",
            ],
        ),
        (
            {"HTTPS": "1", "HOST": "10.0.0.5"},
            [
                "Tollgate is open by https only, through your proxy.",
                "It listens on port 8000 of 10.0.0.5.",
            ],
        ),
    ],
)
def test_the_banner_names_the_address_that_people_open(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], lines: list[str]
) -> None:
    for name in ("HOST", "PORT", "HTTPS", "BASE_URL", "CSRF_TRUSTED_ORIGINS"):
        monkeypatch.delenv(name, raising=False)
    for name, text in env.items():
        monkeypatch.setenv(name, text)
    assert Supervisor().where() == lines


def test_cluster_of_another_version(tmp_path: Path) -> None:
    server = EmbeddedPostgres(DataFolder(tmp_path / "data"))
    server.cluster.mkdir(parents=True)
    (server.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="is of PostgreSQL 17, this is 18"):
        server.start()


def test_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(EmbeddedError, match=r"data folder .* is unusable"):
        EmbeddedPostgres(DataFolder(tmp_path / "data")).start()


def test_without_a_server_commands_say_what_to_do(tmp_path: Path) -> None:
    env = {**os.environ, "TOLLGATE_DATA": str(tmp_path / "data"), "DATABASE_URL": ""}
    env.pop("TOLLGATE_OWNER_DATABASE_URL")
    help_text = subprocess.run(
        [sys.executable, "manage.py", "help"], cwd=BASE_DIR, env=env, capture_output=True
    )
    assert help_text.returncode == 0
    result = subprocess.run(
        [sys.executable, "manage.py", "showmigrations"],
        cwd=BASE_DIR,
        env=env,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert result.stderr == (
        "tollgate: no database is running: start it with `make run`, or set DATABASE_URL.\n"
    )


def test_secret_key_is_made_once_however_many_ask(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    barrier = threading.Barrier(8)
    keys: list[str] = []

    def ask() -> None:
        barrier.wait()
        keys.append(folder.secret_key())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(keys[0]) > 50
    assert (folder.path / "secret_key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.path.iterdir()] == ["secret_key"]


def test_a_port_that_listens_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) != port


def old_server(listener: socket.socket) -> None:
    """Speaks the first words of a PostgreSQL 14, as the wire protocol has them."""
    connection, _ = listener.accept()
    with connection:
        while (request := connection.recv(1024))[4:8] != b"\x00\x03\x00\x00":
            assert request[4:7] == b"\x04\xd2\x16"  # asks for TLS or GSS
            connection.sendall(b"N")
        version = b"server_version\x0014.9\x00"
        connection.sendall(
            b"R\x00\x00\x00\x08\x00\x00\x00\x00"
            b"S" + (4 + len(version)).to_bytes(4, "big") + version + b"Z\x00\x00\x00\x05I"
        )
        with suppress(ConnectionResetError):  # who has read the version may go without a word
            while connection.recv(1024):
                connection.sendall(b"C\x00\x00\x00\x0bCOMMIT\x00Z\x00\x00\x00\x05I")


def test_a_server_that_is_too_old_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=old_server, args=(listener,))
        thread.start()
        result = supervise(DATABASE_URL=f"postgres://me@127.0.0.1:{listener.getsockname()[1]}/db")
        thread.join()
    assert result.returncode == 2
    line = "tollgate: DATABASE_URL: PostgreSQL 14 is too old, 15 is the minimum.\n"
    assert result.stderr == line
