"""What threads cannot begin in time is answered as overloaded, on connections that stay open."""

from collections.abc import Iterator

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService, scratch_service
from tests import factories
from tests.server.raw import Answer, Raw, head
from tests.waiting import in_time, wait_until

PREFLIGHT = "/api/work-orders/preflight"
BODY = b'{"tasks": [{"workOrderId": "w1", "name": "one", "estimatedCostUsd": "0.01"}]}'
AT_ONCE = 12
SECONDS = 12  # one after the other, each waiting two seconds for the lock, they would take 24


@pytest.fixture(scope="module")
def service(
    pristine_database: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[tuple[ScratchService, dict[str, str]]]:
    # On a busy machine, too, a call ends by its lock's time (two seconds) and not by its own, which
    # would be an outage.
    env = {"DATABASE_TIMEOUT": "2.9"}
    with scratch_service(template=pristine_database, workers=1, threads=1, env=env) as running:
        with factories.inside(running.database, django_db_blocker):
            factories.make_work_order("w1")
            token = factories.make_token()[1]
        yield (
            running,
            {
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Content-Length": str(len(BODY)),
            },
        )


def test_what_no_thread_begins_in_time(service: tuple[ScratchService, dict[str, str]]) -> None:
    running, headers = service
    lines = [Raw(running.url) for _ in range(AT_ONCE)]

    def ask_all() -> list[Answer]:
        for line in lines:
            line.send(head("POST", PREFLIGHT, headers) + BODY)
        return [line.answer("POST") for line in lines]

    def decides() -> bool:
        return {each.status for each in ask_all()} == {200}

    with psycopg.connect(running.owner_url) as holder:
        holder.execute("LOCK TABLE work_orders IN ACCESS EXCLUSIVE MODE")
        told = in_time(SECONDS, ask_all)
        holder.rollback()
    assert {each.status for each in told} == {503}
    assert {each.headers.get("tollgate-denial") for each in told} == {"overloaded"}
    assert {each.headers["retry-after"] for each in told} == {"1"}
    assert {each.headers.get("connection") for each in told} == {None}
    # As the views and the door write it.
    assert {each.body for each in told} == {
        b'{"error":"the budget authority is unavailable: nothing was decided"}'
    }
    wait_until(decides)
    for line in lines:
        line.socket.close()
