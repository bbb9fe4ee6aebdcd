"""A process that decides is killed while it does: nothing acknowledged is lost, and keys answer."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import psutil
import pytest
from pytest_django import DjangoDbBlocker

from budgets.admission import counters
from tests import factories
from tests.api.harness import WORK_ORDER, Api, api_service
from tests.server.raw import START, Raw, bearer
from tests.waiting import wait_until

CLIENTS = 12
EACH = 40
KILLS = 3
ASK = json.dumps(
    {"workOrderId": WORK_ORDER, "agentName": "agent-1", "estimatedCostUsd": "0.01"}
).encode()
FINISH = b'{"status": "success", "costUsd": "0.004"}'


@pytest.fixture(scope="module")
def api(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    with api_service(pristine_database, django_db_blocker, workers=2) as running:
        yield running


def test_killed_under_load(api: Api, django_db_blocker: DjangoDbBlocker) -> None:
    """Clients ask on both ports, each again with the same key until it has an answer, and finish
    every other run. Meanwhile processes that decide are killed, one after another."""
    acknowledged: dict[str, str] = {}
    finished: set[str] = set()
    interrupted = threading.Event()
    web = api.service.children[0].process
    assert web is not None

    def client(number: int) -> None:
        url = (api.service.url, api.service.door_url)[number % 2]
        for place in range(EACH):
            key = f"{number}-{place}"
            run = ask(url, START, ASK, key)
            acknowledged[key] = run
            if place % 2:
                ask(url, f"/api/work-orders/runs/{run}/finish", FINISH, key)
                finished.add(run)

    def ask(url: str, path: str, body: bytes, key: str) -> str:
        headers = {**bearer(api.tokens["all"]), "Idempotency-Key": key}

        def answered() -> str | None:
            with suppress(OSError, EOFError), Raw(url) as connection:
                answer = connection.ask("POST", path, headers, body)
                if answer.status in (200, 201):
                    return str(json.loads(answer.body)["runId"])
                assert answer.status == 503, answer
            interrupted.set()
            return None

        return wait_until(answered)

    def kill(done: list[int]) -> bool:
        """One that has decided something since the last was killed."""
        usual = psutil.Process(web.pid).nice()  # others give way
        deciding = [
            child
            for child in psutil.Process(web.pid).children()
            if child.nice() == usual and child.pid not in done
        ]
        if not deciding:
            return False
        deciding[0].kill()
        done.append(deciding[0].pid)
        return True

    def reached(enough: int) -> bool:
        return len(acknowledged) > enough

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(client, number) for number in range(CLIENTS)]
        killed: list[int] = []
        for part in range(1, KILLS + 1):
            enough = part * CLIENTS * EACH // (KILLS + 1)
            wait_until(partial(reached, enough))
            wait_until(lambda: kill(killed))
        for each in running:
            each.result()

    assert interrupted.is_set()
    assert len(set(acknowledged.values())) == len(acknowledged) == CLIENTS * EACH
    on_record = {
        str(run): status for run, status in api.sql("SELECT id, status FROM work_order_runs")
    }
    assert set(acknowledged.values()) == set(on_record)
    assert {run for run, status in on_record.items() if status == "success"} == finished
    for key, run in list(acknowledged.items())[::20]:
        assert ask(api.service.door_url, START, ASK, key) == run
    with factories.inside(api.service.database, django_db_blocker):
        assert list(counters.differences()) == []
