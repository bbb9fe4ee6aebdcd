"""What there is no time for is answered as overloaded, on connections that stay open."""

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from config.run.scratch import ScratchService, scratch_service
from tests import factories
from tests.server.raw import START, Answer, Raw, head
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
        result = in_time(SECONDS, ask_all)
        holder.rollback()
    assert {each.status for each in result} == {503}
    assert {each.headers.get("tollgate-denial") for each in result} == {"overloaded"}
    assert {each.headers["retry-after"] for each in result} == {"1"}
    assert {each.headers.get("connection") for each in result} == {None}
    # As the views and the door write it.
    assert {each.body for each in result} == {
        b'{"error":"the budget authority is unavailable: nothing was decided"}'
    }
    wait_until(decides)
    for line in lines:
        line.socket.close()


def test_the_door_refuses_before_it_reads(service: tuple[ScratchService, dict[str, str]]) -> None:
    """While nothing is decided. What does not decode is the views' to answer, and costs a thread:
    so it is refused with the rest."""
    running, headers = service
    good = b'{"workOrderId": "w1", "agentName": "a", "estimatedCostUsd": "0.01"}'

    def asked(body: bytes) -> bytes:
        return head("POST", START, headers | {"Content-Length": str(len(body))}) + body

    with ExitStack() as stack, psycopg.connect(running.owner_url) as holder:
        line = stack.enter_context(Raw(running.door_url))

        def answer() -> Answer:
            line.send(asked(b"{"))
            return line.answer("POST")

        assert answer().status == 400
        holder.execute("LOCK TABLE work_orders IN ACCESS EXCLUSIVE MODE")
        waiting: list[Raw] = []

        def refused() -> Answer | None:
            waiting.append(stack.enter_context(Raw(running.door_url)))
            waiting[-1].send(asked(good))
            got = answer()
            return got if got.status == 503 else None

        early = wait_until(refused)
        late = waiting[0].answer("POST")  # its lock was not acquired in time
        holder.rollback()
    assert late.status == 503
    assert early.body == late.body
    assert list(early.headers) == list(late.headers)
    for varies in ("date", "x-request-id", "retry-after"):
        assert early.headers.pop(varies)
        assert late.headers.pop(varies)
    assert early.headers == late.headers
    with Raw(running.door_url) as line:

        def decides() -> bool:
            line.send(asked(b"{"))
            return line.answer("POST").status == 400

        wait_until(decides)
