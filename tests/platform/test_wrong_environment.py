"""A process that believes to be another environment's does no work on the database."""

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal

import httpx2
import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from budgets.demo.replay.fixture import Caps, prepare
from config.run.children import BASE_DIR, courier, job_worker, sealer, web_server
from config.run.embedded import free_port
from config.run.scratch import ScratchService, scratch_service
from opslog.database.another_database import connected_to
from tests.waiting import HANG_SECONDS, wait_until

PROBLEM = "ENVIRONMENT is production, and this database is development's."
MANAGE = [sys.executable, "manage.py"]


@pytest.fixture(scope="module")
def service(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[ScratchService]:
    with (
        django_db_blocker.unblock(),
        scratch_service(template=pristine_database, workers=1) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def token(service: ScratchService, django_db_blocker: DjangoDbBlocker) -> str:
    with django_db_blocker.unblock(), connected_to(service.database):
        return prepare(["w"], ["agent-1"], Caps(100, Decimal("2.00"), 8))


PROCESSES = {
    "web": web_server("127.0.0.1", free_port(), workers=1, threads=1),
    "jobs": job_worker(),
    "seals": sealer(),
    "deliver": courier(),
    "prepare": [sys.executable, "-m", "config.run.prepare"],
    "budget": [*MANAGE, "llm_budget", "check"],
    "token": [*MANAGE, "create_token", "mine", "--scope", "start", "--owner", "replay"],
    "stop": [*MANAGE, "killswitch", "on", "global", "--reason", "fire", "--yes"],
    "counters": [*MANAGE, "verify_counters", "--repair", "a test"],
    "migrate": [*MANAGE, "migrate", "--database", "owner"],
    "shell": [*MANAGE, "shell", "-c", "from workorders.models import Run; Run.objects.count()"],
}


@pytest.mark.parametrize("name", PROCESSES)
def test_it_does_not_start(service: ScratchService, token: str, name: str) -> None:
    ended = subprocess.run(
        PROCESSES[name],
        cwd=BASE_DIR,
        env={**service.env, "ENVIRONMENT": "production"},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert ended.returncode != 0
    assert PROBLEM in ended.stderr
    with psycopg.connect(service.owner_url) as owner:
        assert owner.execute("SELECT count(*) FROM kill_switches WHERE enabled").fetchone() == (0,)


def start(service: ScratchService, token: str) -> httpx2.Response:
    return httpx2.post(
        f"{service.url}/api/work-orders/start",
        json={"workOrderId": "w", "agentName": "agent-1", "estimatedCostUsd": "0.01"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=HANG_SECONDS,
    )


def exchange(service: ScratchService, environment: str) -> None:
    """Another database behind the same address: connections end, and new ones find its stamp."""
    with psycopg.connect(service.owner_url, autocommit=True) as owner:
        owner.execute("UPDATE deployment SET environment = %s", (environment,))
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s "
            "AND pid <> pg_backend_pid()",
            (service.database,),
        )


def test_a_database_that_is_exchanged_is_not_used(service: ScratchService, token: str) -> None:
    assert start(service, token).status_code == 201
    exchange(service, "production")
    try:
        refused = start(service, token)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        ready = httpx2.get(f"{service.url}/readyz", timeout=HANG_SECONDS)
        assert ready.status_code == 503
        assert "production's" in ready.json()["environment"]["reason"]
        assert ready.json()["database"]["status"] == "ok"
        listed = httpx2.get(
            f"{service.url}/api/work-orders",
            headers={"Authorization": f"Bearer {token}"},
            timeout=HANG_SECONDS,
        )
        assert listed.status_code == 503
        with psycopg.connect(service.owner_url) as owner:
            assert owner.execute("SELECT count(*) FROM work_order_runs").fetchone() == (1,)
    finally:
        exchange(service, "development")
    wait_until(lambda: start(service, token).status_code == 201)
