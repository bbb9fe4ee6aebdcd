"""A start that was acknowledged is on the synchronous standby: two real servers, kill -9, promote.

The path of PostgreSQL 17 and newer (a message that flushes, where there is no standby) and that of
15 and 16 (a second commit) differ by the version; both wait by a second commit where a
standby is configured.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from budgets.models import KillSwitch
from config.run.children import WebServer, web_server
from config.run.embedded import free_port
from config.run.scratch import wait_until_it_answers
from opslog.api.errors import UNCONFIRMED
from opslog.database.standby import Notices
from tests import factories
from tests.access.walking import logged_in
from tests.standby.pair import (
    CLIENTS,
    ENDED,
    NAME,
    NEW,
    OLD,
    STREAMING,
    THREADS,
    WAITING,
    Pair,
    pair_of,
)
from tests.waiting import stays, wait_until
from workorders.models import WorkOrder


@pytest.fixture(scope="module", params=[OLD, NEW] if OLD else [NEW], ids=lambda major: f"pg{major}")
def pair(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: DjangoDbBlocker,
    django_test_environment: None,
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    # (A decision waits as long as it may: the server ends the wait sooner.)
    with pair_of(request.param, folder, django_db_blocker, DATABASE_TIMEOUT="2.9") as pair:
        yield pair


@pytest.fixture
def plain(pair: Pair) -> Iterator[str]:
    """The address of a second service on the same database, without early lock release."""
    port = free_port()
    argv = web_server("127.0.0.1", port, workers=1, threads=2, page_workers=0, stop_seconds=1)
    env = {**pair.api.service.env, "EARLY_LOCK_RELEASE": "0"}
    server = WebServer("plain", argv, env, quiet=True)
    server.start()
    try:
        wait_until_it_answers(server, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def test_both_paths_are_tried() -> None:
    """The wheel has a server of either kind; where only one is here, the other is left out."""
    assert NEW >= 17
    assert OLD in (0, 15, 16)


# The server ends a statement sooner than the client gives it up.
SOON = {"statement_timeout": "1500"}
ROLES = {
    "statement_timeout": SOON,
    "no warnings": SOON | {"client_min_messages": "error"},
    "local commits": SOON | {"synchronous_commit": "local"},
    "commits that nobody flushes": SOON | {"synchronous_commit": "off"},
    "remote_write": SOON | {"synchronous_commit": "remote_write"},
    "remote_apply": SOON | {"synchronous_commit": "remote_apply"},
}


@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
def test_a_wait_that_timed_out_is_no_acknowledgement(pair: Pair, role: dict[str, str]) -> None:
    with pair.of_the_role(**role):
        refused_until_it_is_back(pair, pair.url)


def test_nor_is_it_for_the_plain_function(pair: Pair, plain: str) -> None:
    """Which answers a replay in a transaction that has written nothing else."""
    for role in (SOON, ROLES["commits that nobody flushes"], ROLES["no warnings"]):
        with pair.of_the_role(**role), pair.canceling():
            refused_until_it_is_back(pair, plain)


def refused_until_it_is_back(pair: Pair, url: str) -> None:
    key = str(uuid4())
    wait_until(lambda: pair.ask(url=url).status_code == 201)
    with pair.without_standby():
        before = pair.unconfirmed(url)

        def refused() -> bool:
            """The first is a start, those that follow replays of it."""
            answer = pair.ask(key, url=url)
            assert answer.status_code == 503, answer.text
            return pair.unconfirmed(url) >= before + 2

        wait_until(refused)
        assert len(pair.runs_on(pair.primary) - pair.acknowledged) > 0
    again = pair.admitted(key, url)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["runId"] in pair.runs_on(pair.standby)


@pytest.mark.parametrize("statement", ENDED.values(), ids=ENDED)
def test_a_wait_that_somebody_ends_is_no_acknowledgement(pair: Pair, statement: str) -> None:
    with pair.without_standby():
        with pair.asking() as answer:
            wait_until(pair.waits)
            pair.primary.sql(statement)
        assert answer().status_code == 503
    wait_until(lambda: pair.ask().status_code == 201)


def test_a_standby_that_hangs_leaves_no_more_connections_than_there_are_threads(
    pair: Pair,
) -> None:
    """One wave waits; after it, all are refused at once and the probe ends its own wait."""
    with pair.without_standby():
        assert {pair.ask().status_code for _ in range(200)} == {503}
        assert pair.primary.sql(WAITING)[0][0] <= 2 + THREADS
        stays(lambda: pair.ask().status_code == 503, seconds=4)
        assert pair.primary.sql(WAITING)[0][0] <= 2 + THREADS
    wait_until(lambda: pair.ask().status_code == 201)


def test_a_standby_that_is_no_longer_asked_for_is_not_waited_for(pair: Pair) -> None:
    def released() -> bool:
        """(Unless the server reads its configuration too late.)"""
        with pair.asking() as answer:
            wait_until(pair.waits)
            pair.setting("synchronous_standby_names", "")
        wait_until(lambda: pair.ask().status_code == 201)
        pair.setting("synchronous_standby_names", NAME)
        return answer().status_code == 201

    with pair.without_standby():
        wait_until(released)
    wait_until(lambda: pair.ask().status_code == 201)


def test_another_standby_that_is_asked_for_is_waited_for(pair: Pair) -> None:
    with pair.without_standby():
        with pair.asking() as answer:
            wait_until(pair.waits)
            pair.setting("synchronous_standby_names", f"ANY 1 (another, {NAME})")
        assert answer().status_code == 503
        pair.setting("synchronous_standby_names", NAME)
    wait_until(lambda: pair.ask().status_code == 201)


def test_what_people_and_tokens_change_is_not_acknowledged_either(
    pair: Pair, django_db_blocker: DjangoDbBlocker
) -> None:
    """Though it holds at once where it was made: a stop must not wait for a standby to stop."""
    for number, role in enumerate(ROLES.values()):
        user, wo = f"user-{number}", f"order-{number}"
        with pair.of_the_role(**role), pair.inside(django_db_blocker):
            operator = logged_in(factories.make_user("olga", groups=["operations"], is_staff=True))
            operator.raise_request_exception = False
            factories.make_work_order(wo)
            with pair.without_standby(), pair.canceling():
                body = {
                    "scope": "Identity",
                    "target": f"user:{user}",
                    "enabled": True,
                    "reason": "runaway",
                }
                answer = pair.http.post("/api/llm/killswitch", json=body)
                assert answer.status_code == 503, answer.text
                assert answer.json() == {"error": UNCONFIRMED}
                page = operator.post(
                    f"/admin/workorders/workorder/{wo}/suspend/", {"reason": "runaway"}
                )
                assert page.status_code == 503
                assert "did not confirm it" in page.content.decode()
                assert KillSwitch.objects.get(target=f"user:{user}").enabled
                assert WorkOrder.objects.get(pk=wo).status == "suspended"
            assert pair.http.post("/api/llm/killswitch", json=body).status_code == 200


def test_what_is_flushed_does_not_depend_on_the_role(pair: Pair, plain: str) -> None:
    """A killed server loses what it had not written: without a standby, whatever the role says."""
    pair.setting("synchronous_standby_names", "")
    pair.setting("wal_writer_delay", "10s")
    try:
        with pair.of_the_role(synchronous_commit="off"):
            for url in (pair.url, plain):
                answer = pair.admitted(url=url)
                pair.primary.kill()
                pair.primary.start()
                assert answer.json()["runId"] in pair.runs_on(pair.primary)
    finally:
        pair.setting("wal_writer_delay", "200ms")
        pair.setting("synchronous_standby_names", NAME)
        wait_until(lambda: pair.primary.sql(STREAMING) == [(1,)])
    wait_until(lambda: pair.ask().status_code == 201)


def test_a_connection_without_the_driver_hears_of_it(pair: Pair) -> None:
    """As the gatherer of many asks has one."""
    notices = Notices()
    url = pair.primary.url("tollgate_app", pair.api.service.database)
    with psycopg.connect(url, autocommit=True) as app:
        app.pgconn.notice_handler = notices.result_handler
        assert not notices.unconfirmed()
        with pair.without_standby(), pair.canceling():
            app.pgconn.exec_(b"CALL tollgate.commit(true)")
        assert notices.unconfirmed()
        assert not notices.unconfirmed()  # it is reported once


def test_nothing_acknowledged_is_lost_by_a_failover(pair: Pair) -> None:
    """The last of a pair: afterwards the primary is gone.

    The control calls the procedure as anybody could, without a look at the server's warnings: it
    answers 201, and the run is gone.
    """
    pair.acknowledged.clear()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(pair.ask_until_it_is_gone) for _ in range(CLIENTS)]
        wait_until(lambda: len(pair.acknowledged) >= 100)
        pair.standby.stop()
        wait_until(lambda: pair.primary.sql(STREAMING) == [(0,)])
        control = {pair.ask_without_the_guard() for _ in range(3)}
        assert control <= pair.runs_on(pair.primary)
        pair.primary.kill()
        pair.gone.set()
        for client in clients:
            client.result()
    pair.standby.start()
    pair.standby.promote()
    left = pair.runs_on(pair.standby)
    assert len(pair.acknowledged) >= 100
    assert pair.acknowledged - left == set()
    assert control & left == set()
