"""The door answers as the views do, byte for byte: two services, one of which has no door, get the
same requests one after another."""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from config.run import children, scratch
from config.server import reader
from config.server.door import has_our_name, is_json, is_our_host, is_type_of_json
from tests import factories
from tests.api.harness import Api, api_service
from tests.server.raw import START, Raw
from tests.server.requests import NOBODY, PRICED, PROXIED, RUNS, SPENDS, STARTS, TABLE, request
from tests.waiting import wait_until

WITHOUT_DOOR = """
from config.wsgi import application
import config.server.door as door
from config.server.__main__ import main

door.frames = lambda application: {}
main()
"""
# What differs between any two answers to the same.
VARIES = (
    (re.compile(rb"\r\nDate: [^\r]*"), b"\r\nDate: -"),
    (re.compile(rb"\r\nX-Request-ID: [0-9a-f]{16}\r"), b"\r\nX-Request-ID: -\r"),
    (re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), b"<run>"),
    (re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), b"<moment>"),
)


WRITTEN = """
SELECT concat_ws(' ', kind, message, owner_type, owner_id, actor, meta::text)
FROM operations_events WHERE kind <> 'TOKEN_CREATED' ORDER BY id
"""
COUNTED = re.compile(
    r"^tollgate_(?:\w+_total|admission_seconds_count)\{?.* [0-9.e+-]+$", re.MULTILINE
)


@contextmanager
def pair(template: str, blocker: DjangoDbBlocker, **env: str) -> Iterator[list[Api]]:
    """Two services on databases that are alike; the second has no door."""

    def without_door(*args: Any, **options: Any) -> list[str]:
        _, _, _, *rest = children.web_server(*args, **options)
        return [sys.executable, "-c", WITHOUT_DOOR, *rest]

    with ExitStack() as stack:
        door = stack.enter_context(api_service(template, blocker, env=env))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scratch, "web_server", without_door)
            views = stack.enter_context(api_service(template, blocker, env=env))
        for api in (door, views):
            with factories.inside(api.service.database, blocker):
                factories.make_work_order("full", max_concurrent_runs=1)
                factories.make_work_order("used-up", runs_per_day=1)
                factories.make_work_order("suspended", status="suspended")
        yield [door, views]


@pytest.fixture(scope="module")
def services(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[list[Api]]:
    with pair(pristine_database, django_db_blocker) as both:
        yield both


@pytest.fixture(scope="module")
def proxied(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[list[Api]]:
    env = {"HTTPS": "1", "TRUSTED_PROXIES": "127.0.0.1/32"}
    with pair(pristine_database, django_db_blocker, **env) as both:
        yield both


class Caller:
    """Sends to one service, and remembers the run that it started last."""

    def __init__(self, api: Api, url: str) -> None:
        self.api, self.url, self.run = api, url, NOBODY

    def send(self, sent: bytes) -> bytes:
        for name, token in self.api.tokens.items():
            sent = sent.replace(b"{%b}" % name.encode(), token.encode())
        sent = sent.replace(b"{run}", self.run.encode())
        with Raw(self.url) as connection:
            connection.send(sent)
            answer = whole_answer(connection, has_body=not sent.startswith(b"HEAD"))
        if found := re.search(rb'"runId":"([^"]+)"', answer):
            self.run = found[1].decode()
        return answer


def whole_answer(connection: Raw, *, has_body: bool) -> bytes:
    """As it came, up to the end of the connection where that is announced."""
    answer = b""
    try:
        head = connection.until(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            return head + whole_answer(connection, has_body=has_body)
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        answer = head + connection.exactly(int(length[1]) if length and has_body else 0)
        while b"\r\nConnection: close" in head:
            connection.more()
    except (EOFError, ConnectionResetError):
        answer += b"<end>"
    return answer + connection.buffer


def without_what_varies(answer: bytes) -> bytes:
    for pattern, instead in VARIES:
        answer = pattern.sub(instead, answer)
    return answer


def compare(callers: Sequence[Caller], table: Mapping[str, bytes]) -> dict[str, bytes]:
    """What the first answered; the others the same."""
    different: dict[str, list[bytes]] = {}
    same: dict[str, bytes] = {}
    for name, sent in table.items():
        answers = [without_what_varies(caller.send(sent)) for caller in callers]
        same[name] = answers[0]
        if len(set(answers)) > 1:
            different[name] = answers
    assert different == {}
    return same


def written(api: Api) -> list[bytes]:
    """Events but for ids and moments."""
    return [without_what_varies(line.encode()) for (line,) in api.sql(WRITTEN)]


def counted(api: Api) -> list[str]:
    """What the metrics counted."""
    text = api.client().get("/metrics", headers={"X-Forwarded-Proto": "https"}).text
    return sorted(line for line in COUNTED.findall(text) if "preflight" not in line)


def access_lines(api: Api) -> list[tuple[str, str, int]]:
    lines = [json.loads(line) for line in api.lines]
    return [
        (line["method"], line["route"], line["status"])
        for line in lines
        if line["event"] == "request" and line["route"] not in ("/healthz", "/metrics")
    ]


@pytest.mark.parametrize("port", ["url", "door_url"])
def test_same_bytes(services: list[Api], port: str) -> None:
    """Status, headers, their order, and the body; on both ports."""
    callers = [Caller(each, getattr(each.service, port)) for each in services]
    same = compare(callers, TABLE)
    hosts = [
        same[f"an absolute address {whose}"] for whose in ("of ours", "by number", "elsewhere")
    ]
    assert [int(answer.split()[1]) for answer in hosts] == [201, 201, 400]
    statuses = {int(answer.split()[1]) for answer in same.values()}
    assert {200, 201, 400, 401, 403, 404, 405, 409, 413, 415, 422, 428, 429} <= statuses


def test_same_bytes_behind_a_proxy(proxied: list[Api]) -> None:
    """With redirects to HTTPS and HSTS; what the proxy vouches for decides on both."""
    same = compare([Caller(each, each.service.url) for each in proxied], PROXIED)
    assert {int(answer.split()[1]) for answer in same.values()} >= {201, 301, 401}
    assert b"Strict-Transport-Security" in same["by HTTPS"]
    door, views = proxied
    assert written(door) == written(views)
    assert any(b'"sourceIp": "2001:db8::1"' in line for line in written(door))


def test_same_records_metrics_and_access_lines(services: list[Api]) -> None:
    """(Of all that the tests before have sent.)"""
    door, views = services
    compare([Caller(each, each.service.door_url) for each in services], RUNS | SPENDS)
    assert written(door) == written(views)
    assert counted(door) == counted(views)
    wait_until(lambda: access_lines(door) == access_lines(views))
    assert len(access_lines(door)) > len(RUNS | SPENDS) - 5


def test_what_is_remembered_is_short() -> None:
    """Whoever sends long names, hosts and types takes no memory: 2,200 heads of 60 KB each had a
    process grow by 190 MB."""

    def remembered() -> tuple[int, ...]:
        kept = (has_our_name.cache_info(), is_type_of_json.cache_info())
        return (len(reader.NAMES), *(each.currsize for each in kept))

    before = remembered()
    long = "x" * 60_000
    assert reader.key_of(long.encode()) == f"HTTP_{long.upper()}"
    assert not is_our_host(f"localhost:{'8' * 60_000}")
    assert not is_json(f"application/json; a={long}")
    assert remembered() == before


def test_a_price_of_a_moment_ago_is_that_of_the_answer(services: list[Api]) -> None:
    """The database says that the book is an old one, and the views read it again."""
    door, _ = services
    client = Caller(door, door.service.door_url)
    ask = request(START, {**PRICED, "estimatedInputTokens": 100_000, "estimatedOutputTokens": 0})

    def reserved() -> str:
        return str(json.loads(client.send(ask).partition(b"\r\n\r\n")[2])["reservedUsd"])

    assert [reserved(), reserved()] == ["0.015", "0.015"]  # $0.15 a million
    door.sql("UPDATE model_prices SET input_per_mtok = 0.45 WHERE model = 'gpt-4o-mini'")
    assert [reserved(), reserved()] == ["0.045", "0.045"]


def test_nothing_of_this_went_wrong_inside(services: list[Api], proxied: list[Api]) -> None:
    for api in (*services, *proxied):
        assert [line for line in api.errors() if "Invalid HTTP_HOST" not in line] == []


def test_a_start_waits_for_no_thread(
    pristine_database: str, django_db_blocker: DjangoDbBlocker
) -> None:
    """While all threads of the one process that decides wait for a lock, starts are answered."""
    threads = 4
    with (
        api_service(pristine_database, django_db_blocker) as api,
        ExitStack() as stack,
        psycopg.connect(api.service.owner_url) as holder,
    ):
        Caller(api, api.service.url).send(STARTS["plain"])
        switch = {"scope": "Global", "enabled": False, "reason": "test"}

        def waiting() -> bool:
            ((number,),) = api.sql("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool(number >= threads)

        def answered_meanwhile() -> bool:
            holder.execute("LOCK TABLE auth_permission IN ACCESS EXCLUSIVE MODE")
            held = [stack.enter_context(Raw(api.service.url)) for _ in range(threads)]
            for each in held:
                each.send(
                    request("/api/llm/killswitch", switch).replace(
                        b"{all}", api.tokens["all"].encode()
                    )
                )
            wait_until(waiting)
            answer = Caller(api, api.service.url).send(STARTS["plain"])
            done = waiting() and answer.startswith(b"HTTP/1.1 201 ")
            holder.rollback()
            for each in held:
                each.answer()
            return done

        wait_until(answered_meanwhile)
