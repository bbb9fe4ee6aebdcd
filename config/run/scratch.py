"""A whole service on a database of its own, for tests, `manage.py replay` and the benchmarks."""

import http.client
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from psycopg import sql

from config.run.children import (
    BASE_DIR,
    Child,
    WebServer,
    courier,
    job_worker,
    stop_all,
    web_server,
)
from config.run.embedded import free_port

START_SECONDS = 300  # ends a hang, and nothing else: a busy machine may take a minute


class ScratchError(ChildProcessError):
    """The service could not be started; the message ends with its own last words."""


@dataclass
class ScratchService:
    """A running service; `stop` and `kill` are for tests of what happens then.

    `url` answers everything, `door_url` what is for programs.
    """

    url: str
    door_url: str
    app_url: str
    owner_url: str
    database: str
    env: Mapping[str, str]
    children: list[Child] = field(default_factory=list)

    def stop(self) -> None:
        """Ends the processes in order; the database stays until the end of the `with`."""
        stop_all(self.children)

    def kill(self) -> None:
        """Ends the processes at once, with nothing finished."""
        for child in self.children:
            child.kill()


def with_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def owner_sql(statement: str, *names: str) -> None:
    """One statement about databases, as the owner."""
    with psycopg.connect(settings.OWNER_URL, autocommit=True) as owner:
        owner.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def child_environment(database: str, extra: Mapping[str, str]) -> dict[str, str]:
    """What makes a child of this process use that database, with the secret key of this one."""
    return {
        "DATABASE_URL": with_database(settings.APP_URL, database),
        "TOLLGATE_OWNER_DATABASE_URL": with_database(settings.OWNER_URL, database),
        "SECRET_KEY": settings.SECRET_KEY,
        "LOG_LEVEL": "WARNING",
        **extra,
    }


@contextmanager
def scratch_database(template: str | None = None) -> Iterator[str]:
    """The name of a fresh, migrated database, dropped afterwards.

    A template is a migrated database that nobody is connected to: cloning one takes 0.1 s.
    """
    name = f"tollgate_scratch_{secrets.token_hex(5)}"
    if template is None:
        owner_sql("CREATE DATABASE {}", name)
    else:
        owner_sql("CREATE DATABASE {} TEMPLATE {}", name, template)
    try:
        if template is None:
            migrate(name)
        yield name
    finally:
        owner_sql("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def migrate(database: str) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--database", "owner", "--verbosity", "0"],
        cwd=BASE_DIR,
        env={**os.environ, **child_environment(database, {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise ScratchError(result.stderr.strip()[-2000:])


@contextmanager
def scratch_service(
    *,
    workers: int = 2,
    page_workers: int = 1,
    threads: int = 4,
    jobs: bool = False,
    env: Mapping[str, str] | None = None,
    template: str | None = None,
) -> Iterator[ScratchService]:
    """A web server (and, if asked for, the job worker with message delivery) on a fresh database
    and two free ports.

    env adds environment variables, that is settings. Raises ScratchError if it does not answer.
    """
    with scratch_database(template) as database:
        port, door_port = free_port(), free_port()
        environment = child_environment(database, env or {})
        service = ScratchService(
            url=f"http://127.0.0.1:{port}",
            door_url=f"http://127.0.0.1:{door_port}",
            app_url=environment["DATABASE_URL"],
            owner_url=environment["TOLLGATE_OWNER_DATABASE_URL"],
            database=database,
            env=environment,
        )
        argv = web_server(
            *("127.0.0.1", port),
            door_port=door_port,
            workers=workers,
            page_workers=page_workers,
            threads=threads,
            stop_seconds=1,
        )
        service.children.append(WebServer("web", argv, environment))
        if jobs:
            service.children.append(Child("jobs", job_worker(), environment))
            service.children.append(Child("deliver", courier(), environment))
        try:
            for child in service.children:
                child.start()
            wait_until_it_answers(service.children[0], port)
            yield service
        finally:
            service.stop()


def wait_until_it_answers(web: Child, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and web.returncode is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.03)
        finally:
            connection.close()
    raise ScratchError("The web server does not answer; its own output says why.")
