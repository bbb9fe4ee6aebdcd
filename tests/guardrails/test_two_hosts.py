"""Two hosts, each with settings of its own and clocks ten minutes apart, hold one set of limits."""

import os
import threading
from collections import Counter as Tally
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pytest_django import DjangoDbBlocker

from budgets.admission import counters
from budgets.controls import breaker, kill_switch
from config.run.children import WebServer, web_server
from config.run.embedded import free_port
from config.run.scratch import ScratchService, child_environment, scratch_service
from tests import factories
from tests.admission.storms import Connection
from tests.waiting import HANG_SECONDS, wait_until

CLIENTS = 64
ROOM = 7
PRICE = Decimal("0.05")
SECOND = timedelta(seconds=1)
AHEAD = """
import datetime, time_machine
time_machine.travel(
    datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=10), tick=True
).start()
"""


@dataclass
class Hosts:
    urls: tuple[str, str]
    service: ScratchService
    blocker: DjangoDbBlocker
    token: str

    def inside(self) -> Any:
        return factories.inside(self.service.database, self.blocker)

    def ask(self, body: dict[str, Any]) -> Tally[Any]:
        """Half of the clients on each host, all at the same moment."""
        barrier = threading.Barrier(CLIENTS)

        def one(number: int) -> Any:
            desk = Connection(self.urls[number % 2], self.token)
            desk.connect()
            barrier.wait()
            status, _, denial = desk.post("/api/work-orders/start", body)
            desk.close()
            return denial or status

        with ThreadPoolExecutor(CLIENTS) as pool:
            return Tally(pool.map(one, range(CLIENTS)))


@pytest.fixture(scope="module")
def hosts(
    pristine_database: str,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("clock")
    Path(folder / "sitecustomize.py").write_text(AHEAD)
    with scratch_service(template=pristine_database) as service:
        port = free_port()
        settings = {"LEASE_SECONDS": "60", "RETRY_AFTER": "midnight", "CONFIRM_OVER_USD": "1.00"}
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))
        second = WebServer(
            "second",
            web_server("127.0.0.1", port, workers=1, threads=4),
            {**child_environment(service.database, settings), "PYTHONPATH": path},
            quiet=True,
        )
        second.start()
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
            with factories.inside(service.database, django_db_blocker):
                factories.lift_limits()
                token = factories.make_token(["start", "read"])[1]
            urls = (service.url, f"http://127.0.0.1:{port}")
            yield Hosts(urls, service, django_db_blocker, token)
        finally:
            second.stop()


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=HANG_SECONDS).status_code == 200
    except httpx2.HTTPError:
        return False


def test_their_clocks_are_apart(hosts: Hosts) -> None:
    """What the second says is the time is ten minutes after what the first says around it."""
    first, second = hosts.urls
    shown = []
    for url in (first, second, first):
        log_in = httpx2.get(f"{url}/account/login/", timeout=HANG_SECONDS)
        expires = next(
            part.split("=", 1)[1]
            for part in log_in.headers["set-cookie"].split("; ")
            if part.lower().startswith("expires=")
        )
        shown.append(parsedate_to_datetime(expires).astimezone(UTC))
    before, ahead, after = shown
    # A cookie says it in whole seconds.
    assert before - SECOND <= ahead - 600 * SECOND <= after + SECOND


def test_one_breaker(hosts: Hosts) -> None:
    with hosts.inside():
        factories.lift_limits()
        factories.make_work_order("tripped", usd_per_day="1000", max_concurrent_runs=CLIENTS)
        # The first that spends anything here: nothing leaves the sixty seconds, and makes room.
        assert breaker.committed().usd == 0
        factories.set_limit("global", "rolling_minute", "usd", PRICE * ROOM)
    ask = {"workOrderId": "tripped", "agentName": "a", "estimatedCostUsd": str(PRICE)}
    assert hosts.ask(ask) == {201: ROOM, "breaker_open": CLIENTS - ROOM}
    first, second = hosts.urls
    waits = []
    for url in (first, second, first):
        answer = httpx2.post(
            f"{url}/api/work-orders/start",
            json=ask,
            headers={"x-api-key": hosts.token},
            timeout=HANG_SECONDS,
        )
        assert answer.headers["Tollgate-Denial"] == "breaker_open"
        waits.append(int(answer.headers["Retry-After"]))
    assert waits[0] >= waits[1] >= waits[2]  # by the database's clock, not by theirs
    with hosts.inside():
        breaker.reset("global", "", reason="over", by="test")


def test_one_budget(hosts: Hosts) -> None:
    for number in range(3):
        name = f"shared-{number}"
        with hosts.inside():
            factories.lift_limits()
            factories.make_work_order(name, usd_per_day="1000", max_concurrent_runs=CLIENTS)
            factories.set_limit("surface", "rolling_hour", "usd", PRICE * ROOM)
        ask = {"workOrderId": name, "agentName": "a", "estimatedCostUsd": str(PRICE)}
        answers = hosts.ask({**ask, "surface": name})
        assert answers == {201: ROOM, "budget:surface:rolling_hour": CLIENTS - ROOM}
    with hosts.inside():
        assert not list(counters.differences())


def test_one_kill_switch(hosts: Hosts) -> None:
    with hosts.inside():
        factories.lift_limits()
        factories.make_work_order("stopped", usd_per_day="1000", max_concurrent_runs=CLIENTS)
        kill_switch.switch("Global", None, enabled=True, reason="a test", by="test")
    ask = {"workOrderId": "stopped", "agentName": "a", "estimatedCostUsd": "0.01"}
    assert hosts.ask(ask) == {"kill_switch": CLIENTS}
    with hosts.inside():
        kill_switch.switch("Global", None, enabled=False, reason="over", by="test")
    assert hosts.ask(ask)[201] == CLIENTS
