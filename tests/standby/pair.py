"""A primary and its synchronous standby, and a service on the primary."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import httpx2
import psycopg
from pytest_django import DjangoDbBlocker

from budgets.admission import Caller, StartAsk, start_fields, start_settings, statement
from tests import factories
from tests.api.harness import WORK_ORDER, Api, api_service
from tests.clusters import Cluster, pointing_at, programs
from tests.waiting import wait_until
from workorders.tokens import digest

NAME = "nearby"
CLIENTS = THREADS = 4
START = {"workOrderId": WORK_ORDER, "agentName": "a", "estimatedCostUsd": "0.01"}
ASK = StartAsk(WORK_ORDER, "a", estimated_cost_usd=Decimal("0.01"))
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
OLD = min((major for major in programs() if major < 17), default=0)
NEW = max(programs())


ENDED = {
    "canceled": "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
    "terminated": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE wait_event = 'SyncRep'",
    "given up": "SELECT 1",  # by the client, in DATABASE_TIMEOUT
}


@dataclass
class Pair:
    primary: Cluster
    standby: Cluster
    api: Api
    http: httpx2.Client
    acknowledged: set[str] = field(default_factory=set)
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return self.api.service.url

    def ask(self, key: str = "", url: str = "") -> httpx2.Response:
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.http.post(f"{url}/api/work-orders/start", json=START, headers=headers)
        if answer.status_code == 201:
            self.acknowledged.add(answer.json()["runId"])
        return answer

    def admitted(self, key: str = "", url: str = "") -> httpx2.Response:
        """The answer, once it is one."""

        def admitted() -> httpx2.Response | None:
            answer = self.ask(key, url)
            return answer if answer.status_code == 201 else None

        return wait_until(admitted)

    @contextmanager
    def asking(self) -> Iterator[Callable[[], httpx2.Response]]:
        """Somebody asks meanwhile."""
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(self.ask).result

    @contextmanager
    def canceling(self) -> Iterator[None]:
        """An operator cancels every wait for the standby meanwhile."""
        stop = threading.Event()

        def cancel() -> bool:
            self.primary.sql(ENDED["canceled"])
            return stop.is_set()

        with ThreadPoolExecutor(1) as pool:
            canceling = pool.submit(wait_until, cancel)
            try:
                yield
            finally:
                stop.set()
        canceling.result()

    def ask_until_it_is_gone(self) -> None:
        while not self.gone.is_set():
            with suppress(httpx2.HTTPError):
                assert self.ask().status_code in (201, 503)

    def ask_without_the_guard(self) -> str:
        """The same procedure, by a client that does not look at the server's warnings."""
        fields = start_fields(ASK, caller=Caller(digest(self.api.tokens["all"]), "127.0.0.1"))
        fields |= start_settings()
        url = self.primary.url("tollgate_app", self.api.service.database)
        with psycopg.connect(url, autocommit=True) as app:
            app.execute("SET statement_timeout = 500")
            call = statement("start", len(fields), procedure=True)
            row = app.execute(call, list(fields.values())).fetchone()
        assert row is not None
        assert row[0] == 201
        run_id: str = json.loads(row[6])["runId"]
        return run_id

    def inside(self, blocker: DjangoDbBlocker) -> AbstractContextManager[None]:
        return factories.inside(self.api.service.database, blocker)

    def unconfirmed(self, url: str = "") -> float:
        for line in self.http.get(f"{url}/metrics").text.splitlines():
            if line.startswith("tollgate_unconfirmed_commits_total"):
                return float(line.split()[1])
        return 0.0

    def setting(self, name: str, value: str) -> None:
        """Of the server, while it runs."""
        self.primary.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.primary.sql("SELECT pg_reload_conf()")

    @contextmanager
    def of_the_role(self, **values: str) -> Iterator[None]:
        """Settings of the application's role; processes connect anew."""
        for name, value in values.items():
            self.primary.sql(f"ALTER ROLE tollgate_app SET {name} = '{value}'")
        self.connect_anew()
        try:
            yield
        finally:
            self.primary.sql("ALTER ROLE tollgate_app RESET ALL")
            self.connect_anew()

    def connect_anew(self) -> None:
        self.primary.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tollgate_app'"
        )

    @contextmanager
    def without_standby(self) -> Iterator[None]:
        """It is gone, and every commit waits for it."""
        self.standby.stop()
        wait_until(lambda: self.primary.sql(STREAMING) == [(0,)])
        try:
            yield
        finally:
            self.standby.start()
            wait_until(lambda: self.primary.sql(STREAMING) == [(1,)])

    def waits(self) -> bool:
        """Whether a commit waits for the standby."""
        return self.primary.sql(WAITING) != [(0,)]

    def runs_on(self, server: Cluster) -> set[str]:
        rows = server.sql("SELECT id FROM work_order_runs", database=self.api.service.database)
        return {str(row[0]) for row in rows}


@contextmanager
def pair_of(major: int, folder: Path, blocker: DjangoDbBlocker, **env: str) -> Iterator[Pair]:
    primary = Cluster(major, folder / "primary").make()
    servers = [primary]
    try:
        with (
            pointing_at(primary.url("tollgate_app"), primary.url("tollgate_owner", "tollgate")),
            api_service(None, blocker, page_workers=0, env=env) as api,
            api.client() as http,
        ):
            standby = primary.standby(NAME, folder / "standby")
            servers.append(standby)
            pair = Pair(primary, standby, api, http)
            pair.setting("synchronous_standby_names", NAME)
            wait_until(lambda: primary.sql(STREAMING) == [(1,)])
            wait_until(lambda: pair.ask().status_code == 201)
            yield pair
            if primary.process is None:  # so that its databases can be dropped
                primary.settings["synchronous_standby_names"] = ""
                primary.start()
    finally:
        for server in servers:
            if server.process:
                server.stop()
