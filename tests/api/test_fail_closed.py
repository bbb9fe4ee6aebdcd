"""The database away, frozen, stuck or refusing: never an admission, a quick and honest 503, and
back by itself. On a PostgreSQL of this module's own, so that nobody else is stopped.

What is promised in seconds is kept by a machine that is not busy with something else, so an outage
is made anew until it was (`tests.waiting`). Without the product's limits it never would be.
"""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from config.run.data_folder import DataFolder
from config.run.embedded import EmbeddedPostgres
from tests.api.harness import WORK_ORDER, Api, api_service
from tests.clusters import pointing_at
from tests.waiting import HANG_SECONDS, in_time, stays, timed, wait_until

FIRST_SECONDS = 3
AFTERWARDS_SECONDS = 1
THREADS = 4
START = {"workOrderId": WORK_ORDER, "agentName": "agent-1", "estimatedCostUsd": "0.01"}


@dataclass
class Own:
    postgres: EmbeddedPostgres
    api: Api
    http: httpx2.Client
    run_id: str

    def processes(self) -> list[psutil.Process]:
        assert self.postgres.process is not None
        parent = psutil.Process(self.postgres.process.pid)
        return [parent, *parent.children(recursive=True)]

    def ask(self) -> httpx2.Response:
        return self.http.post("/api/work-orders/start", json=START)

    def superuser(self, statement: str) -> None:
        url = self.postgres.url("postgres", self.postgres._passwords(), "postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="module")
def own(
    tmp_path_factory: pytest.TempPathFactory,
    pristine_database: str,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Own]:
    folder: Path = tmp_path_factory.mktemp("own-postgres")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o711)
    postgres = EmbeddedPostgres(DataFolder(folder / "data"), fast=True)
    postgres.start()
    try:
        with (
            pointing_at(postgres.folder.app_url(), postgres.folder.owner_url()),
            # One process, because each learns of an outage by itself.
            api_service(None, django_db_blocker, page_workers=0) as api,
            api.client() as http,
        ):
            run_id = api.start(http, estimatedCostUsd="0.01").json()["runId"]
            yield Own(postgres, api, http, run_id)
    finally:
        postgres.stop()


def send(processes: list[psutil.Process], number: signal.Signals) -> None:
    """To each that is still there: a worker of autovacuum may have ended meanwhile."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def fails_closed(own: Own, outage: Callable[[], AbstractContextManager[object]]) -> None:
    """Checks the answers in a state in which nothing can be decided, then the recovery."""

    def first_answers_in_time() -> bool:
        assert own.ask().status_code == 201
        with outage():
            with ThreadPoolExecutor(THREADS) as pool:
                first = list(pool.map(lambda _: timed(own.ask), range(THREADS)))
            for answer, _ in first:
                assert_refused(answer)
            refused_at_once(own)
        comes_back(own)
        return all(seconds < FIRST_SECONDS for _, seconds in first)

    wait_until(first_answers_in_time)


def refused_at_once(own: Own) -> None:
    """Once the outage is known. (A probe distinguishes a stuck lock from a stuck row.)"""
    run = f"/api/work-orders/runs/{own.run_id}"
    for method, path, body in (
        ("POST", "/api/work-orders/start", START),
        ("POST", "/api/work-orders/start", START | {"dryRun": True}),
        ("POST", f"{run}/finish", {"status": "success", "costUsd": 1}),
        ("POST", f"{run}/extend", {}),
        ("GET", "/api/work-orders", None),
        ("GET", f"/api/work-orders/{WORK_ORDER}/usage", None),
        ("GET", f"/api/work-orders/{WORK_ORDER}/runs", None),
        ("GET", "/api/operations-events", None),
        ("POST", "/api/work-orders", {"title": "never"}),
    ):

        def refused(method: str = method, path: str = path, body: object = body) -> None:
            assert_refused(own.http.request(method, path, json=body))

        in_time(AFTERWARDS_SECONDS, refused)
    assert own.http.get("/healthz").status_code == 200


def assert_refused(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "1"
    assert answer.json() == {"error": "the budget authority is unavailable: nothing was decided"}


def comes_back(own: Own) -> None:
    def admitted() -> bool:
        if (answer := own.ask()).status_code == 201:
            return True
        assert_refused(answer)
        return False

    wait_until(admitted)
    assert own.http.get("/api/work-orders").status_code == 200


def scrape(own: Own) -> str:
    return in_time(FIRST_SECONDS, lambda: own.http.get("/metrics").text)


def readiness(own: Own) -> tuple[int, dict[str, Any]]:
    answer = in_time(FIRST_SECONDS, lambda: own.http.get("/readyz"))
    return answer.status_code, answer.json()


@contextmanager
def frozen(own: Own) -> Iterator[None]:
    processes = own.processes()
    send(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        send(processes, signal.SIGCONT)


def test_frozen(own: Own) -> None:
    fails_closed(own, lambda: frozen(own))
    with frozen(own):
        status, result = readiness(own)
        assert (status, result["database"]["status"]) == (503, "failed")
        wait_until(lambda: "tollgate_database_up 0.0" in scrape(own))
    comes_back(own)
    wait_until(lambda: "tollgate_database_up 1.0" in scrape(own))
    wait_until(lambda: readiness(own)[1]["database"] == {"status": "ok"})


def test_frozen_when_a_read_comes_first(own: Own) -> None:
    def refused_in_time() -> bool:
        with frozen(own):
            answer, seconds = timed(lambda: own.http.get("/api/work-orders"))
            assert_refused(answer)
        comes_back(own)
        return seconds < FIRST_SECONDS

    wait_until(refused_in_time)


def test_killed(own: Own) -> None:
    @contextmanager
    def killed() -> Iterator[None]:
        for process in own.processes():
            process.kill()
        assert own.postgres.process is not None
        own.postgres.process.wait()
        yield
        assert readiness(own)[1]["database"]["status"] == "failed"
        own.postgres.start()
        own.api.owner = None

    fails_closed(own, killed)


def test_refusing_connections(own: Own) -> None:
    name = own.api.service.database

    @contextmanager
    def refusing() -> Iterator[None]:
        own.superuser(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        own.superuser(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        yield
        own.superuser(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        own.api.owner = None

    fails_closed(own, refusing)


def test_connections_that_were_ended_while_idle_are_opened_anew(own: Own) -> None:
    for _ in range(10):
        assert own.ask().status_code == 201
    of_here = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    sessions = [psutil.Process(pid) for (pid,) in own.api.sql(of_here)]
    own.superuser(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{own.api.service.database}'"
    )
    own.api.owner = None
    psutil.wait_procs(sessions, timeout=HANG_SECONDS)  # their sockets are closed by then
    for _ in range(10):
        assert own.ask().status_code == 201


def test_the_lock_that_all_need_is_held(own: Own) -> None:
    @contextmanager
    def held() -> Iterator[None]:
        with psycopg.connect(own.api.service.owner_url) as holder:
            before = own.api.written()
            holder.execute("SELECT tollgate.hold_counters()")
            yield
            assert own.api.written() == before
            holder.rollback()

    fails_closed(own, held)


def test_the_lock_of_one_work_order_stops_only_that_one(own: Own) -> None:
    other = own.http.post("/api/work-orders", json={"title": "Other"}).json()["id"]

    def admits_the_other() -> bool:
        answer = own.api.start(own.http, workOrderId=other, estimatedCostUsd=0, dryRun=True)
        return answer.status_code == 200

    assert admits_the_other()

    def refused_in_time() -> bool:
        with psycopg.connect(own.api.service.owner_url) as holder:
            holder.execute("SELECT tollgate.hold_work_order(%s)", [WORK_ORDER])
            answer, seconds = timed(own.ask)
            assert_refused(answer)
            stays(admits_the_other, seconds=1)  # longer than the probe for an outage takes
            holder.rollback()
        comes_back(own)
        return seconds < FIRST_SECONDS

    wait_until(refused_in_time)


def test_what_cannot_be_recorded_is_not_done(own: Own) -> None:
    """Start, finish, extend, and a registration: each with a log that takes nothing."""
    run_id = own.api.start(own.http, estimatedCostUsd="0.01").json()["runId"]
    sql = own.api.sql
    sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no space left: %', NEW.kind; END $$"
    )
    sql(
        "CREATE TRIGGER full_disk BEFORE INSERT ON operations_events"
        " FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    before = own.api.written()
    rows = sql("SELECT * FROM counters ORDER BY id")
    try:
        for path, body in (
            ("/start", START),
            (f"/runs/{run_id}/finish", {"status": "success", "costUsd": "0.01"}),
            (f"/runs/{run_id}/extend", {"additionalUsd": "0.01"}),
            ("", {"title": "never"}),
        ):
            answer = own.http.post(
                f"/api/work-orders{path}", json=body, headers={"Idempotency-Key": "once"}
            )
            assert_refused(answer)
            assert "space" not in answer.text
        assert own.api.written() == before
        assert sql("SELECT * FROM counters ORDER BY id") == rows
    finally:
        sql("DROP TRIGGER full_disk ON operations_events")
        sql("DROP FUNCTION full_disk()")
    answer = own.http.post(
        "/api/work-orders/start", json=START, headers={"Idempotency-Key": "once"}
    )
    assert answer.status_code == 201
    assert "Idempotent-Replayed" not in answer.headers
