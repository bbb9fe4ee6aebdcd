"""The demo's trickle as `make run` starts it: a process of its own against the real server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from budgets.demo.seeding import seed
from config.run.children import BASE_DIR
from config.run.scratch import ScratchService, scratch_service
from opslog.database.another_database import connected_to
from opslog.price_book.imported import bundled
from opslog.price_book.prices import import_prices
from opslog.pricing import PriceBook
from tests.waiting import HANG_SECONDS, wait_until

STARTS = "SELECT count(*) FROM operations_events WHERE created_at > %s AND kind = %s"


@pytest.fixture
def served(committed_db: str, pristine_database: str) -> Iterator[tuple[ScratchService, str]]:
    with scratch_service(template=pristine_database, workers=1) as service:
        with connected_to(service.database):
            prices = list(bundled())
            token = seed(book=PriceBook(0, prices), now=datetime.now(UTC)).token
            import_prices(prices, origin="test", reason="test", by="test")
        yield service, token


def traffic(url: str, token: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "demo_traffic", "--url", url, "--per-second", "20"],
        cwd=BASE_DIR,
        env={**os.environ, "TOLLGATE_TOKEN": token},
    )


def count(service: ScratchService, kind: str, since: datetime) -> int:
    with psycopg.connect(service.owner_url) as owner:
        row = owner.execute(STARTS, [since, kind]).fetchone()
    return int(row[0]) if row else 0


def wait_for_starts(service: ScratchService, least: int, since: datetime) -> None:
    wait_until(lambda: count(service, "WORK_ORDER_START", since) >= least)


def test_it_survives_a_restart_of_the_server_and_ends_at_once(
    served: tuple[ScratchService, str],
) -> None:
    service, token = served
    begun = datetime.now(UTC)
    process = traffic(service.url, token)
    try:
        wait_for_starts(service, 10, begun)
        web = service.children[0]
        web.stop()
        web.start()
        wait_for_starts(service, 10, datetime.now(UTC))
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_SECONDS) == 0
    finally:
        process.kill()
    with psycopg.connect(service.owner_url) as owner:
        left = owner.execute("SELECT count(*) FROM work_order_runs WHERE status = 'running'")
        row = left.fetchone()
    # At most the runs whose settlement the killed server could not take.
    assert row is not None
    assert row[0] <= 8


def test_without_a_token_there_is_no_traffic_and_no_complaint(tmp_path: object) -> None:
    environment = {**os.environ, "TOLLGATE_DATA": str(tmp_path)}
    environment.pop("TOLLGATE_TOKEN", None)
    ended = subprocess.run(
        [sys.executable, "manage.py", "demo_traffic", "--url", "http://127.0.0.1:1"],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0
    assert "No demo token" in ended.stdout
