"""`make run` as a person meets it: real processes on a data folder of the test's own."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import psycopg
import pytest

from config.run.children import BASE_DIR
from config.run.embedded import free_port
from config.run.scratch import child_environment, scratch_database
from tests.waiting import HANG_SECONDS, wait_until

OUTSIDE = ("DATABASE_URL", "TOLLGATE_OWNER_DATABASE_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE")


class Run:
    """One `make run` on a data folder."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.port, self.door_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        clean = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "config.run.supervisor"],
            cwd=BASE_DIR,
            env={
                **clean,
                "TOLLGATE_DATA": str(folder),
                "PORT": str(self.port),
                "DOOR_PORT": str(self.door_port),
                "DEMO": "0",
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def answers(self) -> bool:
        assert self.process.poll() is None, self.printed()
        try:
            urlopen(f"{self.url}/healthz", timeout=HANG_SECONDS).close()
        except OSError:
            return False
        return True

    def wait_until_open(self) -> None:
        wait_until(self.answers, self.lines)

    def family(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def end(self, number: signal.Signals) -> str:
        """Sends the signal, waits, and returns everything that was printed."""
        self.process.send_signal(number)
        return self.printed()

    def printed(self) -> str:
        """Everything that was printed, once the process has ended."""
        self.process.wait(timeout=HANG_SECONDS)
        self.reader.join(timeout=HANG_SECONDS)
        return "".join(self.lines)

    def wait_until_it_says(self, text: str) -> None:
        wait_until(lambda: any(text in line for line in self.lines), self.lines)


def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=HANG_SECONDS)
    return not alive


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in a path with spaces, which a first start has filled."""
    place = tmp_path_factory.mktemp("a place with spaces") / "data"
    first = Run(place)
    first.wait_until_open()
    first.wait_until_it_says(f"{first.url}/admin/")
    family = first.family()
    printed = first.end(signal.SIGTERM)
    assert first.process.returncode == 0
    assert "Traceback" not in printed
    assert all_gone(family), "a process outlived `make run`"
    return place


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Run]:
    run = Run(folder)
    run.wait_until_open()
    yield run
    if run.process.poll() is None:
        run.end(signal.SIGTERM)


def test_a_folder_in_use_is_one_line(running: Run, folder: Path) -> None:
    again = Run(folder)
    printed = again.printed()
    assert again.process.returncode == 2
    assert re.fullmatch(r"tollgate: Tollgate already runs on the data folder .*\n", printed)


def test_another_server_is_used_when_named(tmp_path: Path) -> None:
    """With DATABASE_URL nothing embedded is started, and no demo is put into that database."""
    with scratch_database() as name:
        environment = child_environment(name, {"DEMO": ""})
        run = Run(tmp_path / "data", **environment)
        run.wait_until_open()
        assert "postgres" not in {child.name() for child in run.family()}
        with psycopg.connect(environment["DATABASE_URL"]) as database:
            assert database.execute("SELECT count(*) FROM auth_user").fetchone() == (0,)
        family = run.family()
        run.end(signal.SIGINT)
        assert run.process.returncode == 0
        assert all_gone(family)
    assert not (tmp_path / "data").exists()


def test_private_files_are_private(running: Run, folder: Path) -> None:
    assert folder.stat().st_mode & 0o007 == 0
    for name in ("secret_key", "passwords.json", "app_url", "owner_url"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600, name
    assert not (folder / "initdb.password").exists()


def test_commands_find_the_running_database(running: Run, folder: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
    result = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", ROLE],
        cwd=BASE_DIR,
        env={**clean, "TOLLGATE_DATA": str(folder)},
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == ["tollgate_app", "False", "UTC"], result.stderr


ROLE = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT current_user, rolsuper, current_setting('TimeZone') "
                   "FROM pg_roles WHERE rolname = current_user")
    print(*cursor.fetchone())
"""


def test_a_taken_port_is_one_line(running: Run, tmp_path: Path) -> None:
    other = Run(tmp_path / "data", PORT=str(running.port))
    printed = other.printed()
    assert other.process.returncode == 2
    assert re.fullmatch(rf"tollgate: Port {running.port} on 127.0.0.1 is not free .*\n", printed)


def test_a_taken_door_port_is_one_line(running: Run, tmp_path: Path) -> None:
    other = Run(tmp_path / "data", DOOR_PORT=str(running.door_port))
    assert "make run DOOR_PORT=" in other.printed()
    assert other.process.returncode == 2


def test_programs_have_a_port_of_their_own(running: Run) -> None:
    door = f"http://127.0.0.1:{running.door_port}"
    running.wait_until_it_says(f"API for programs at  {door}/api/")
    with urlopen(f"{door}/healthz", timeout=HANG_SECONDS) as answer:
        assert answer.status == 200
    with pytest.raises(HTTPError, match="404"):
        urlopen(f"{door}/admin/", timeout=HANG_SECONDS)


def test_readyz_names_the_worker(running: Run) -> None:
    """The worker reports soon after the start; each check has a name."""
    names = ("database", "migrations", "routines", "environment", "worker")

    def ready() -> bool:
        try:
            with urlopen(f"{running.url}/readyz", timeout=HANG_SECONDS) as answer:
                assert json.load(answer) == {name: {"status": "ok"} for name in names}
        except HTTPError:
            return False
        return True

    wait_until(ready)


def test_a_crashed_job_worker_comes_back(running: Run) -> None:
    def workers() -> set[int]:
        found = set()
        for child in psutil.Process(running.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # a zombie is one
                if "qcluster" in child.cmdline():
                    found.add(child.pid)
        return found

    (pid,) = workers()
    psutil.Process(pid).kill()
    wait_until(lambda: workers() - {pid})


def test_killed_supervisor_leaves_nothing_and_starts_again(running: Run, folder: Path) -> None:
    family = running.family()
    assert any("config.server" in " ".join(child.cmdline()) for child in family)
    running.process.kill()
    after = Run(folder)  # while the old processes are still ending
    after.wait_until_open()
    assert all_gone(family), "a process outlived its killed supervisor"
    running.printed()

    (postgres,) = [
        child
        for child in psutil.Process(after.process.pid).children()
        if child.name() == "postgres"
    ]
    family = after.family()
    postgres.kill()
    printed = after.printed()
    assert after.process.returncode == 2
    assert "tollgate: PostgreSQL ended by itself" in printed
    assert all_gone(family)
