"""Storms of asks for nothing, of refused asks, and of probes, over real HTTP."""

import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from http.client import HTTPConnection
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from budgets.admission import counters
from budgets.controls import breaker, features
from budgets.models import Alert, CircuitBreaker, FeatureControl
from config.run.scratch import ScratchService
from opslog.models import OperationsEvent
from tests import factories
from tests.admission.storms import CLIENTS, PRICE, ROOM, Connection, Storm, storm_on
from tests.waiting import HANG_SECONDS, wait_until
from workorders.models import Run


@pytest.fixture(scope="module")
def storm(service: ScratchService, django_db_blocker: DjangoDbBlocker) -> Storm:
    return storm_on(service, django_db_blocker)


def ask(wo: str, usd: Decimal | str, **more: Any) -> dict[str, Any]:
    return {"workOrderId": wo, "agentName": "a", "estimatedCostUsd": str(usd), **more}


def test_zero_dollar_asks_end_with_the_cap(storm: Storm) -> None:
    """Half of them ask for nothing: each was admitted while something was left, none after."""
    for number in range(5):
        name = f"zero-{number}"
        with storm.inside():
            factories.lift_limits()
            cap = PRICE * ROOM
            factories.make_work_order(name, usd_per_day=cap, max_concurrent_runs=CLIENTS)
        answers = storm.ask([ask(name, PRICE), ask(name, "0")] * (CLIENTS // 2))
        with storm.inside():
            # In the order of their events: those of one batch have started at one moment.
            starts = OperationsEvent.objects.filter(kind="WORK_ORDER_START", owner_id=name)
            ids = [meta["runId"] for meta in starts.order_by("id").values_list("meta", flat=True)]
            runs = {str(run.pk): run for run in Run.objects.filter(wo=name)}
            reserved = [runs[each].reserved_usd for each in ids]
            assert answers[201] == len(reserved)
            assert reserved.count(PRICE) == ROOM
            assert reserved[-1] == PRICE  # the one that used it up is the last
            assert not list(counters.differences())
        assert storm.ask([ask(name, "0")] * CLIENTS) == {"usd_per_day": CLIENTS}


def test_a_storm_of_refused_asks_changes_nothing_for_one(storm: Storm) -> None:
    """Asks that are too large, on a work order that refuses them all, beside one that is good."""
    with storm.inside():
        factories.lift_limits()
        factories.set_limit("global", "rolling_minute", "usd", "500.00")
        factories.make_work_order("good", usd_per_day="1000.00", max_concurrent_runs=CLIENTS)
        factories.make_work_order("stopped", status="suspended")
        features.change("shared", {"cost_cap_usd": Decimal(5)}, reason="a test", by="test")
        switched = Alert.objects.count()
    large = ask("stopped", "7.00", feature="shared", confirm=True)
    huge = ask("good", "499.99", confirm=True)
    good = ask("good", "0.01", feature="shared")
    answers = storm.ask([large, huge, good, good] * (CLIENTS // 4))
    with storm.inside():
        assert FeatureControl.objects.get(feature="shared").enabled
        assert CircuitBreaker.objects.get(scope="global").state == "closed"
        assert Alert.objects.count() == switched
        admitted = Run.objects.filter(wo="good", reserved_usd=Decimal("0.01")).count()
        assert admitted == CLIENTS // 2
        factories.lift_limits()
    assert answers["feature_rate"] == CLIENTS // 4
    assert answers[201] + answers["breaker_open"] == CLIENTS * 3 // 4


def test_one_probe_of_sixty_four_in_each_of_its_minutes(storm: Storm) -> None:
    with storm.inside():
        factories.lift_limits()
        factories.make_work_order("probes", usd_per_day="1000.00", max_concurrent_runs=CLIENTS)
        breaker.trip("global", "", reason="a test", by="test")
    for _ in range(4):
        with storm.inside():
            row = CircuitBreaker.objects.get(scope="global")
            over = row.changed_at
            CircuitBreaker.objects.filter(pk=row.pk).update(half_open_at=over)
        answers = storm.ask([ask("probes", "0.01", leaseSeconds=86_400)] * CLIENTS)
        assert answers == {201: 1, "breaker_open": CLIENTS - 1}
    with storm.inside():
        assert CircuitBreaker.objects.get(scope="global").state == "half_open"
        breaker.reset("global", "", reason="over", by="test")
        starts = Run.objects.filter(wo="probes").order_by("started_at")
        assert all(one.started_at < next.started_at for one, next in pairwise(starts))


PROBER = """
import json, sys, time
from http.client import HTTPConnection
from urllib.parse import urlsplit
url, token = sys.argv[1:]
desk = HTTPConnection(urlsplit(url).netloc)
body = {"workOrderId": "dies", "agentName": "a", "estimatedCostUsd": "0.01", "leaseSeconds": 86400}
desk.request("POST", "/api/work-orders/start", json.dumps(body),
    {"Authorization": "Bearer " + token, "Content-Type": "application/json"})
print(desk.getresponse().status, flush=True)
sys.stdin.read()
"""


def test_a_prober_that_is_killed_is_replaced(storm: Storm) -> None:
    """Its lease is a day, its deadline two seconds: the others do not wait for the first."""
    with storm.inside():
        factories.lift_limits()
        factories.make_work_order("dies", usd_per_day="1000.00", max_concurrent_runs=CLIENTS)
        row = CircuitBreaker.objects.filter(scope="global")
        row.update(probe_seconds=2)
        breaker.trip("global", "", reason="a test", by="test")
        row.update(half_open_at=row.get().changed_at)
    command = [sys.executable, "-c", PROBER, storm.service.url, storm.token]
    prober = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert prober.stdout is not None
    assert prober.stdout.readline() == "201\n"
    os.kill(prober.pid, signal.SIGKILL)
    prober.wait()
    desk = Connection(storm.service.url, storm.token)
    begun = []

    def admitted() -> bool:
        status, answer, denial = desk.post("/api/work-orders/start", ask("dies", "0.01"))
        begun.append(denial or answer["runId"])
        return status == 201

    wait_until(admitted)
    status, _, _ = desk.post(
        f"/api/work-orders/runs/{begun[-1]}/finish", {"status": "success", "costUsd": "0.01"}
    )
    desk.close()
    assert status == 200
    assert set(begun[:-1]) <= {"breaker_open"}
    with storm.inside():
        assert row.get().state == "closed"
        assert Run.objects.filter(wo="dies", status="running").count() == 1
        row.update(probe_seconds=60)


def test_readyz_warns_of_rows_from_the_future(storm: Storm) -> None:
    def clock() -> dict[str, str] | None:
        desk = HTTPConnection(urlsplit(storm.service.url).netloc, timeout=HANG_SECONDS)
        desk.request("GET", "/readyz")
        body: dict[str, dict[str, str]] = json.loads(desk.getresponse().read())
        desk.close()
        assert body["database"] == {"status": "ok"}
        return body.get("clock")

    wait_until(lambda: clock() is None)
    with psycopg.connect(storm.service.owner_url, autocommit=True) as owner:
        owner.execute(
            'INSERT INTO counters (key, scope, subject, "window", starts_at) '
            "VALUES ('ahead', 'user', 'u', 'day', '2999-01-01 00:00+00')"
        )
        found = wait_until(clock)
        assert found["status"] == "warning"
        assert found["reason"].endswith("counters: 1, the latest 2999-01-01 00:00 UTC")
        owner.execute("DELETE FROM counters WHERE key = 'ahead'")
    wait_until(lambda: clock() is None)
