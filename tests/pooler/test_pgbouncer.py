"""Behind PgBouncer in transaction mode: 200 connections of the service share ten of the server."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter as Tally
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import psycopg
import pytest
from django.conf import settings
from pytest_django import DjangoDbBlocker

from budgets.admission import counters
from config.run.children import BASE_DIR
from config.run.embedded import free_port
from config.run.privileges import ServerUser
from config.run.scratch import scratch_service
from tests.api.harness import Api, furnish
from tests.factories import inside, make_work_order
from tests.waiting import wait_until

POOL = 10
CLIENTS = 200
STARTS = 600
ROOM = 150  # of the runs a day
INI = """
[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = tollgate_app
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 500
logfile = {folder}/log
"""


@dataclass
class Pooler:
    port: int
    url: str  # of the application's role

    def run(self, command: str) -> list[dict[str, Any]]:
        """On its console."""
        url = urlsplit(self.url)._replace(path="/pgbouncer").geturl()
        with psycopg.connect(url, autocommit=True) as console:
            cursor = psycopg.ClientCursor(console)
            cursor.execute(command)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor] if names else []


@pytest.fixture(scope="module")
def pooler(pristine_database: str) -> Iterator[Pooler]:
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        assert "ALL_TESTS" not in os.environ, "CI installs PgBouncer"
        pytest.skip("PgBouncer is not installed")
    # PgBouncer does not run as root, and only its owner can enter a folder of pytest.
    with tempfile.TemporaryDirectory(prefix="tollgate-pooler-") as folder:
        Path(folder).chmod(0o711)
        yield from pooler_in(Path(folder), program)


def pooler_in(folder: Path, program: str) -> Iterator[Pooler]:
    user, server, port = ServerUser.choose(folder), urlsplit(settings.APP_URL), free_port()
    files = {
        "users": f'"{server.username}" "{server.password}"\n',
        "ini": INI.format(
            host=server.hostname,
            server_port=server.port,
            port=port,
            users=folder / "users",
            pool=POOL,
            folder=folder,
        ),
        "log": "",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
        user.own(folder / name)
    user.own(folder)
    url = server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}").geturl()
    made = Pooler(port, url)
    with (folder / "output").open("ab") as output:
        argv = [program, str(folder / "ini")]
        process = user.popen(argv, output=output.fileno(), on_parent_death=signal.SIGINT)

    def answers() -> bool:
        assert process.poll() is None, (folder / "output").read_text()
        try:
            return bool(made.run("SHOW VERSION"))
        except psycopg.OperationalError:
            return False

    try:
        wait_until(answers)
        yield made
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def api(pooler: Pooler, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    """Its database is migrated with PGBOUNCER=1, past the pooler, as an operator would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "APP_URL", pooler.url)
        patch.setenv("PGBOUNCER", "1")
        with scratch_service(workers=2, page_workers=1, threads=CLIENTS // 2) as service:
            api = Api(service)
            with inside(service.database, django_db_blocker):
                furnish(api, room=True)
                make_work_order(
                    "narrow", runs_per_day=ROOM, usd_per_day="100000", max_concurrent_runs=100_000
                )
            pooler.run("RECONNECT")  # as docs/operations.md says: some connections are older
            yield api


def test_settings_are_in_force_whatever_connection_it_is(api: Api, pooler: Pooler) -> None:
    """Each of ten connections of the server; PgBouncer passes no options on."""
    url = urlsplit(pooler.url)._replace(path=f"/{api.service.database}").geturl()
    names = ("timezone", "lock_timeout", "jit", "client_min_messages")
    held = [psycopg.connect(url, prepare_threshold=None) for _ in range(POOL)]
    try:
        pids = set()
        for connection in held:
            cursor = connection.execute("SELECT pg_backend_pid()")
            pids.add(cursor.fetchone())
            found = [connection.execute(f"SHOW {name}").fetchone() for name in names]
            assert found == [("UTC",), ("2s",), ("off",), ("warning",)]
        assert len(pids) == POOL
    finally:
        for connection in held:
            connection.close()


def test_nothing_is_over_admitted_by_two_hundred_clients(
    api: Api, pooler: Pooler, django_db_blocker: DjangoDbBlocker
) -> None:
    with api.client() as http, ThreadPoolExecutor(CLIENTS) as pool:

        def until_decided(path: str, body: dict[str, Any]) -> httpx2.Response:
            """As a client does: what is not decided in time is asked again, under its key."""
            headers = {"Idempotency-Key": str(uuid4())}

            def decided() -> httpx2.Response | None:
                answer = http.post(path, json=body, headers=headers)
                return None if answer.status_code == 503 else answer

            return wait_until(decided)

        def one(number: int) -> tuple[int, str]:
            start = {"workOrderId": "narrow", "agentName": "a", "estimatedCostUsd": "0.01"}
            answer = until_decided("/api/work-orders/start", start)
            if answer.status_code != 201:
                return answer.status_code, answer.headers["Tollgate-Denial"]
            run = f"/api/work-orders/runs/{answer.json()['runId']}"
            extended = until_decided(f"{run}/extend", {"additionalUsd": "0.01"})
            assert extended.status_code == 200, extended.text
            finished = until_decided(f"{run}/finish", {"status": "success", "costUsd": "0.02"})
            assert finished.status_code == 200, finished.text
            return 201, ""

        # Advice is given by threads, each with a connection: they stay open beside the decisions'.
        advice = {"estimatedCostUsd": "0.01"}
        for answer in pool.map(partial(until_decided, "/v1/llm/check"), [advice] * STARTS):
            assert answer.status_code == 200, answer.text
        tally = Tally(pool.map(one, range(STARTS)))
    assert tally == {(201, ""): ROOM, (429, "runs_per_day"): STARTS - ROOM}
    pools = [each for each in pooler.run("SHOW POOLS") if each["database"] == api.service.database]
    assert sum(each["cl_active"] + each["cl_waiting"] for each in pools) > 5 * POOL
    servers = [
        each for each in pooler.run("SHOW SERVERS") if each["database"] == api.service.database
    ]
    assert len(servers) <= POOL
    with inside(api.service.database, django_db_blocker):
        assert list(counters.differences()) == []
    ((spent, runs),) = api.sql(
        "SELECT sum(cost), count(*) FROM work_order_runs WHERE wo_id = 'narrow'"
    )
    assert (spent, runs) == (Decimal("0.02") * ROOM, ROOM)


def test_decisions_are_procedures_that_commit(api: Api, pooler: Pooler) -> None:
    """So locks are free before the flush, by way of the pooler too."""
    with api.client() as http:
        assert api.start(http, estimatedCostUsd="0.01").status_code == 201
    url = urlsplit(pooler.url)._replace(path=f"/{api.service.database}").geturl()
    with psycopg.connect(url, prepare_threshold=None) as app:
        calls = app.execute("SELECT query FROM pg_stat_activity WHERE query LIKE 'CALL %'")
        assert calls.fetchall()


@pytest.mark.parametrize(
    ("environment", "code", "words"),
    [
        ("development", 0, "(0 silenced)"),
        ("production", 1, "ENVIRONMENT is production, and this database is development's."),
    ],
)
def test_checks_see_through_it(api: Api, environment: str, code: int, words: str) -> None:
    checked = subprocess.run(
        [sys.executable, "manage.py", "check", "--database", "default"],
        cwd=BASE_DIR,
        env={**os.environ, **api.service.env, "PGBOUNCER": "1", "ENVIRONMENT": environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == code, checked.stderr
    assert words in checked.stdout + checked.stderr
    assert "opslog.E003" not in checked.stderr
