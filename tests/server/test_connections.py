"""What a connection may cost: by raw sockets, on a real server."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from config.server.exchange import Exchange
from tests.api.harness import Api, api_service
from tests.server.raw import ASK, START, Raw, bearer, head, start, trickle
from tests.waiting import wait_until

MANY = 60  # more than all threads of all processes


@pytest.fixture(scope="module")
def api(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    """A service of the shipped sizes that is quick to lose patience."""
    env = {"REQUEST_TIMEOUT": "1", "TRUSTED_PROXIES": "127.0.0.9/32"}
    with api_service(pristine_database, django_db_blocker, workers=2, env=env) as running:
        yield running


def test_trailers_without_end_are_cut_off(api: Api) -> None:
    """The parser would gather them, and copy what it has for each packet."""
    headers = {**bearer("tg_nobody"), "Transfer-Encoding": "chunked"}
    with Raw(api.service.url) as connection:
        connection.send(head("POST", START, headers) + b"1\r\na\r\n0\r\nX: ")
        sent = 0
        with suppress(OSError):
            while sent < 64 * 1024 * 1024:
                connection.socket.sendall(b"a" * 65_536)
                sent += 65_536
        assert sent < 64 * 1024 * 1024
    assert start(api) == 201


def test_an_answer_that_looked_at_no_token_says_nothing_of_it() -> None:
    asked = Exchange(None, "POST", "HTTP/1.1", True, None)  # type: ignore[arg-type]
    assert not asked.was_judged(400, [])
    assert asked.was_judged(401, [("Tollgate-Denial", "token")])
    assert not asked.was_judged(503, [("Tollgate-Denial", "overloaded")])
    assert asked.was_judged(503, [("Tollgate-Denial", "breaker_open")])
    assert asked.was_judged(201, [])
    asked.method = "OPTIONS"
    assert not asked.was_judged(200, [])


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_a_client_that_would_rather_speak_http_2(api: Api, cut: int) -> None:
    """Java's offers it with its first request, whatever that is; the body follows."""
    body = ASK
    headers = {
        **bearer(api.tokens["start"]),
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    with Raw(api.service.url) as connection:
        connection.send(head("POST", START, headers) + body[:cut])
        connection.send(body[cut:])
        assert connection.answer().status == 201


def test_a_body_that_trickles_is_cut_off(api: Api) -> None:
    with Raw(api.service.url) as connection:
        headers = {**bearer(api.tokens["start"]), "Content-Length": "60000"}
        connection.send(head("POST", START, headers))
        trickle(connection)
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.json == {"error": "the request did not arrive in time"}
    assert start(api) == 201


@pytest.mark.parametrize("begun", [b"GE", b"POST /api/work-orders/start HTTP/1.1\r\nX-A: "])
def test_a_head_that_trickles_is_cut_off(api: Api, begun: bytes) -> None:
    with Raw(api.service.url) as connection:
        connection.send(begun)
        trickle(connection)
        assert connection.buffer == b"" or connection.answer().status in (400, 408)


def test_a_connection_that_says_nothing_is_closed(api: Api) -> None:
    with Raw(api.service.url) as connection:
        assert connection.ended()


def test_a_short_body_of_such_a_caller_does_not_cost_the_connection(api: Api) -> None:
    with Raw(api.service.url) as connection:
        connection.send(head("POST", START, {"Content-Length": "20"}))
        assert connection.answer().status == 401
        connection.send(b"x" * 12)
        connection.send(b"x" * 8 + head("GET", "/healthz", {}))
        assert connection.answer().status == 200
        assert connection.ask("POST", START, bearer(api.tokens["start"]), ASK).status == 201


@pytest.mark.parametrize("sizes", [[1000], [7, 1, 30, 1000]])
def test_chunked_bodies(api: Api, sizes: list[int]) -> None:
    body, rest = b"", ASK
    for size in sizes:
        part, rest = rest[:size], rest[size:]
        body += b"%x;a=b\r\n%b\r\n" % (len(part), part)
    before = api.written()
    with Raw(api.service.url) as connection:
        headers = {**bearer(api.tokens["start"]), "Transfer-Encoding": "chunked"}
        connection.send(head("POST", START, headers) + body + b"0\r\nX-Trailer: 1\r\n\r\n")
        answer = connection.answer()
        assert answer.status == 201, answer
        assert connection.ask("GET", "/healthz").status == 200
    assert api.written() != before


def test_chunks_without_end(api: Api) -> None:
    """Nobody in particular may send 64 KiB."""
    with Raw(api.service.url) as connection:
        connection.send(head("POST", "/account/login/", {"Transfer-Encoding": "chunked"}))
        for _ in range(5):
            connection.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        assert connection.answer().status == 413


def test_too_large_is_said_at_once(api: Api) -> None:
    for path, headers, length in (
        ("/account/login/", {}, 65_537),
        ("/account/login/", {"Cookie": "sessionid=abc"}, 70_000_000),
        (START, bearer(api.tokens["start"]), 20_000_000),
    ):
        with Raw(api.service.url) as connection:
            connection.send(head("POST", path, {**headers, "Content-Length": str(length)}))
            answer = connection.answer()
            body = {"error": "the request body is too large"}
            assert (answer.status, answer.json) == (413, body)


def test_a_large_body_arrives(api: Api) -> None:
    """Beyond what is kept in memory, and what the endpoint takes: its own answer, not ours."""
    with Raw(api.service.url) as connection:
        answer = connection.ask("POST", START, bearer(api.tokens["start"]), b" " * 3_000_000)
        assert (answer.status, answer.json) == (413, {"error": "the request body is too large"})
        assert connection.ask("POST", START, bearer(api.tokens["start"]), ASK).status == 201


def test_expect_100_continue(api: Api) -> None:
    with Raw(api.service.url) as connection:
        headers = {**bearer(api.tokens["start"]), "Content-Length": str(len(ASK))}
        connection.send(head("POST", START, {**headers, "Expect": "100-continue"}))
        assert connection.answer().status == 100
        connection.send(ASK)
        assert connection.answer().status == 201


def test_a_client_of_http_1_0_is_not_asked_to_go_on(api: Api) -> None:
    headers = {**bearer(api.tokens["start"]), "Content-Length": str(len(ASK))}
    asked = head("POST", START, {**headers, "Expect": "100-continue"})
    with Raw(api.service.url) as connection:
        connection.send(asked.replace(b"HTTP/1.1", b"HTTP/1.0") + ASK)
        assert connection.answer().status == 201


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),  # TLS
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n c\r\n\r\n", 400),  # folded
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX A: b\r\n\r\n", 400),
        (b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET http://localhost/healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/0.9\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX-A: " + b"a" * 70_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 101 + b"\r\n", 431),
    ],
)
def test_what_is_no_request(api: Api, data: bytes, status: int) -> None:
    with Raw(api.service.url) as connection:
        connection.send(data)
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert start(api) == 201


def test_old_and_odd_clients(api: Api) -> None:
    with Raw(api.service.url) as connection:
        connection.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = connection.answer()
        assert (answer.status, answer.body) == (200, b"ok\n")
        assert connection.ended()
    with Raw(api.service.url) as connection:
        answer = connection.ask("HEAD", "/healthz")
        assert (answer.status, answer.headers["content-length"]) == (200, "3")
        connection.send(b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.answer().status == 200
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        connection.send(head("GET", "/healthz", upgrade))
        assert connection.answer().status == 200


def test_requests_ahead_of_their_answers(api: Api) -> None:
    """The first is answered, the connection ends, and the second was never begun."""
    before = api.written()
    with Raw(api.service.url) as connection:
        headers = {**bearer(api.tokens["start"]), "Content-Length": str(len(ASK))}
        connection.send(head("GET", "/healthz", {}) + head("POST", START, headers) + ASK)
        assert connection.answer().status == 200
        assert connection.ended()
    assert api.written() == before


def test_nonsense_behind_a_request(api: Api) -> None:
    """The request is answered, once, and the rest is nobody's."""
    with Raw(api.service.url) as connection:
        headers = {**bearer(api.tokens["start"]), "Content-Length": str(len(ASK))}
        connection.send(head("POST", START, headers) + ASK + b"\x00\x01 nonsense\r\n\r\n")
        assert connection.answer().status == 201
        assert connection.ended()


def test_one_connection_for_everything(api: Api) -> None:
    """It goes from the processes that decide to those for the rest, and back."""
    with Raw(api.service.url) as connection:
        for _ in range(5):
            assert connection.ask("POST", START, bearer(api.tokens["start"]), ASK).status == 201
            assert connection.ask("GET", "/account/login/").status == 200
            read = connection.ask("GET", "/api/work-orders", bearer(api.tokens["read"]))
            assert read.status == 200
            events = b"[" + b",".join([b"{}"] * 40_000) + b"]"
            result = connection.ask(
                "POST", "/api/inference-events", bearer(api.tokens["ingest"]), events
            )
            assert result.status < 500


def test_starts_wait_for_no_page(api: Api) -> None:
    """All threads for pages stand in a queue of the database; starts, stops and probes do not."""
    with psycopg.connect(api.service.owner_url) as owner, ExitStack() as held:
        owner.execute("LOCK TABLE django_session IN ACCESS EXCLUSIVE MODE")
        for _ in range(MANY):
            page = held.enter_context(Raw(api.service.url))
            page.send(head("GET", "/admin/", {"Cookie": "sessionid=abc"}))
        assert start(api) == 201
        with Raw(api.service.url) as connection:
            assert connection.ask("GET", "/healthz").status == 200
            assert connection.ask("GET", "/metrics").status == 200
            check = {"estimatedCostUsd": "0.01"}
            answer = connection.ask(
                "POST", "/v1/llm/check", bearer(api.tokens["start"]), json.dumps(check).encode()
            )
            assert answer.status == 200, answer
        owner.rollback()
    api.lines.clear()  # pages that did not get the lock in time


def test_underscores_in_names_of_headers(api: Api) -> None:
    """`X_Forwarded_For` would be `X-Forwarded-For` to whoever reads a CGI environment."""
    ask = bearer(api.tokens["start"])
    for order in (
        {"X-Forwarded-For": "192.0.2.1", "X_Forwarded_For": "6.6.6.6"},
        {"X_Forwarded_For": "6.6.6.6", "X-Forwarded-For": "192.0.2.1"},
        {
            "X_FORWARDED-FOR": "6.6.6.6",
            "X-FORWARDED-FOR": "192.0.2.1",
            "X-Forwarded_For": "6.6.6.6",
        },
    ):
        with Raw(api.service.url, "127.0.0.9") as connection:
            answer = connection.ask("POST", START, {**order, **ask}, ASK)
        run = json.loads(answer.body)["runId"]
        assert api.sql("SELECT host(source_ip) FROM work_order_runs WHERE id = %s", run) == [
            ("192.0.2.1",)
        ]
    with Raw(api.service.url) as connection:
        for name in ("Authorization_", "X_Api_Key", "authorization_"):
            answer = connection.ask("POST", START, {name: api.tokens["start"]}, ASK)
            assert answer.status == 401


def test_headers_that_come_twice(api: Api) -> None:
    ask = bearer(api.tokens["start"])
    lines = head("POST", START, {**ask, "Content-Length": str(len(ASK))}).rstrip(b"\r\n")
    with Raw(api.service.url, "127.0.0.9") as connection:
        forged = b"\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.2:4711\r\n\r\n"
        connection.send(lines + forged + ASK)
        run = json.loads(connection.answer().body)["runId"]
    rows = api.sql("SELECT host(source_ip) FROM work_order_runs WHERE id = %s", run)
    assert rows == [("192.0.2.2",)]


def test_clients_that_read_nothing_hold_nobody_up(api: Api) -> None:
    with ExitStack() as held:
        for _ in range(MANY):
            deaf = held.enter_context(Raw(api.service.url))
            deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.send(head("GET", "/api/schema", {"Accept-Encoding": "identity"}))
        assert start(api) == 201
        with Raw(api.service.url) as connection:
            assert connection.ask("GET", "/account/login/").status == 200


def test_a_process_that_dies_is_replaced(api: Api) -> None:
    master = api.service.children[0].process
    assert master is not None
    family = psutil.Process(master.pid).children()
    assert len(family) == 3
    for child in family:
        child.kill()
    assert eventually_answers(api)
    assert start(api) == 201
    wait_until(lambda: len(psutil.Process(master.pid).children()) == 3)
    api.lines[:] = [line for line in api.lines if "a web process ended" not in line]


def eventually_answers(api: Api) -> bool:
    while True:
        try:
            with Raw(api.service.url) as connection:
                connection.ask("GET", "/healthz")
                return connection.ask("GET", "/account/login/").status == 200
        except (EOFError, OSError):
            continue


def test_nothing_of_this_was_an_error(api: Api) -> None:
    assert api.errors() == []
