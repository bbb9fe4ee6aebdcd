"""The door answers as the views do, byte for byte: two services, one of which has no door, get the
same requests one after another."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from config import children, scratch
from tests import factories
from tests.api.harness import WORK_ORDER, Api, api_service
from tests.server.raw import START, Raw

WITHOUT_DOOR = """
from config.wsgi import application
import config.server.door as door
from config.server.__main__ import main

door.frames = lambda application: {}
main()
"""
ALL = "{all}"  # in its place comes the token with all scopes
SPEND = "/v1/llm/spend"
FINISH = "/api/work-orders/runs/{run}/finish"
EXTEND = "/api/work-orders/runs/{run}/extend"
NOBODY = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
ASK = {"workOrderId": WORK_ORDER, "agentName": "agent-1", "estimatedCostUsd": "0.01"}
PRICED = {"workOrderId": WORK_ORDER, "agentName": "agent-1", "model": "gpt-4o-mini"}
USAGE = {"model": "gpt-4o-mini", "inputTokens": 1000, "outputTokens": 10}
JSON = {"Content-Type": "application/json"}

# What differs between any two answers to the same.
VARIES = (
    (re.compile(rb"\r\nDate: [^\r]*"), b"\r\nDate: -"),
    (re.compile(rb"\r\nX-Request-ID: [0-9a-f]{16}\r"), b"\r\nX-Request-ID: -\r"),
    (re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), b"<run>"),
    (re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), b"<moment>"),
)


def request(
    path: str,
    body: bytes | dict[str, object] = b"",
    *,
    method: str = "POST",
    version: str = "1.1",
    host: str | None = "localhost",
    token: str | None = ALL,
    **headers: str,
) -> bytes:
    """As it is sent; `{…}` in it are replaced by a token, or by the last run."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    lines = [f"{method} {path} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    told = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    if "Transfer-Encoding" not in told and "Content-Length" not in told:
        told["Content-Length"] = str(len(data))
    lines += [f"{name}: {value}" for name, value in told.items() if value != "-"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


def chunked(body: dict[str, object], size: int = 7) -> bytes:
    data = json.dumps(body).encode()
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


TE = {"Transfer_Encoding": "chunked"}
STARTS = {
    "plain": request(START, ASK),
    "all fields": request(
        START,
        {
            **PRICED,
            "estimatedInputTokens": 10,
            "estimatedOutputTokens": 2,
            "leaseSeconds": 60,
            "userId": "Ann",
            "surface": "Web",
            "feature": "digest",
            "confirm": True,
        },
    ),
    "names in another spelling": request(START, {**ASK, "agentName": " Ａgent-1\u200b "}),
    "priced": request(START, {**PRICED, "estimatedInputTokens": 5}),
    "unpriced": request(START, {**ASK, "model": "nobody-s", "estimatedCostUsd": None}),
    "dry run": request(START, {**ASK, "dryRun": True}),
    "over five dollars": request(START, {**ASK, "estimatedCostUsd": 6}),
    "over five dollars, confirmed": request(START, {**ASK, "estimatedCostUsd": 6, "confirm": True}),
    "unknown work order": request(START, {**ASK, "workOrderId": "nowhere"}),
    "full": request(START, {**ASK, "workOrderId": "full"}),
    "runs are used up": request(START, {**ASK, "workOrderId": "used-up"}),
    "suspended": request(START, {**ASK, "workOrderId": "suspended"}),
    "tokens without a model": request(START, {**ASK, "estimatedInputTokens": 5}),
    "unknown field": request(START, {**ASK, "estimatedCostUSD": "1"}),
    "twice": request(START, b'{"workOrderId": "a", "workOrderId": "b", "agentName": "c"}'),
    "no JSON": request(START, b"{"),
    "no object": request(START, b"[]"),
    "empty": request(START),
    "null": request(START, b"null"),
    "deep": request(START, b"[" * 20_000),
    "not UTF-8": request(START, b'{"workOrderId": "\xff", "agentName": "a"}'),
    "a lone surrogate": request(START, b'{"workOrderId": "\\ud800", "agentName": "a"}'),
    "a NUL": request(START, b'{"workOrderId": "a\\u0000", "agentName": "a"}'),
    "wrong type": request(START, {**ASK, "leaseSeconds": "60"}),
    "a huge number": request(
        START, b'{"workOrderId":"a","agentName":"a","estimatedCostUsd":1e999}'
    ),
    "a huge number of tokens": request(START, {**PRICED, "estimatedInputTokens": 10**30}),
    "a negative amount": request(START, {**ASK, "estimatedCostUsd": "-1"}),
    "too much": request(START, {**ASK, "estimatedCostUsd": "1000000.01"}),
    "NaN": request(START, b'{"workOrderId": "a", "agentName": "a", "estimatedCostUsd": NaN}'),
    "forty digits": request(START, {**ASK, "estimatedCostUsd": "0." + "1" * 30}),
    "too large": request(START, json.dumps(ASK).encode() + b" " * 65_536),
    "as large as can be": request(
        START, json.dumps(ASK).encode() + b" " * (65_536 - len(json.dumps(ASK)))
    ),
}
KEYS = {
    f"key {place}": request(START, ASK, Idempotency_Key=key)
    for place, key in enumerate(
        ["k-1", "k-1", '"k-1"', " k-2 ", '""', '"', "x" * 255, "x" * 256, "ä", "a\tb", "a,b"]
    )
} | {
    "key, other body": request(START, {**ASK, "estimatedCostUsd": "0.02"}, Idempotency_Key="k-1"),
    "two keys": request(START, ASK, Idempotency_Key="k-3").replace(
        b"Idempotency-Key: k-3", b"Idempotency-Key: k-3\r\nIdempotency-Key: k-4"
    ),
    "empty key": request(START, ASK, Idempotency_Key=""),
}
HEADERS = {
    "no content type": request(START, ASK, Content_Type="-"),
    "text": request(START, ASK, Content_Type="text/plain"),
    "with a charset": request(START, ASK, Content_Type="application/json; charset=utf-8"),
    "in capitals": request(START, ASK, Content_Type="Application/JSON"),
    "a broken type": request(START, ASK, Content_Type="application/json;;=;"),
    "two types": request(START, ASK).replace(
        b"Content-Type: application/json", b"Content-Type: application/json\r\nContent-Type: a/b"
    ),
    "a request id": request(START, ASK, X_Request_ID="mine-4.7_x"),
    "a request id that is none": request(START, ASK, X_Request_ID="a b"),
    "accepts XML": request(START, ASK, Accept="application/xml"),
    "another host": request(START, ASK, host="evil.example"),
    "a host with a port": request(START, ASK, host="localhost:8001"),
    "a host in capitals": request(START, ASK, host="LOCALHOST"),
    "a broken host": request(START, ASK, host="local host"),
    "no host": request(START, ASK, host=None),
    "an empty host": request(START, ASK, host=""),
    "two hosts": request(START, ASK).replace(b"Host: localhost", b"Host: localhost\r\nHost: x"),
    "x-api-key": request(START, ASK, token=None, x_api_key="{all}"),
    "both": request(START, ASK, token="{read}", x_api_key="{all}"),
    "Basic beside x-api-key": request(START, ASK, token=None, x_api_key="{all}").replace(
        b"x-api-key", b"Authorization: Basic abc\r\nX-API-Key"
    ),
    "bearer in small letters": request(START, ASK).replace(b"Bearer", b"bearer"),
    "a cookie": request(START, ASK, Cookie="sessionid=abc"),
    "no token": request(START, ASK, token=None),
    "no token of ours": request(START, ASK, token="abc"),
    "an unknown token": request(START, ASK, token="tg_" + "x" * 43),
    "another scope": request(START, ASK, token="{read}"),
    "forwarded": request(START, ASK, X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="https"),
    "underscores": request(START, ASK).replace(
        b"Content-Length", b"X_Forwarded_For: 1\r\nContent-Length"
    ),
    "an offer of HTTP/2": request(START, ASK, Upgrade="h2c", Connection="Upgrade"),
    "the end is near": request(START, ASK, Connection="close"),
    "expected to go on": request(START, ASK, Expect="100-continue"),
    "compressed, it says": request(START, ASK, Content_Encoding="gzip"),
}
FRAMING = {
    "chunked": request(START, chunked(ASK), **TE),
    "chunked, nothing": request(START, b"0\r\n\r\n", **TE),
    "chunked, broken": request(START, b"zz\r\n", **TE),
    "HTTP/1.0": request(START, ASK, version="1.0"),
    "HTTP/1.0, kept": request(START, ASK, version="1.0", Connection="keep-alive"),
    "HTTP/0.9": request(START, ASK, version="0.9"),
    "pipelined": request(START, ASK) + request(START, ASK),
    "a query": request(f"{START}?format=xml&x=%00", ASK),
    "escapes": request("/api/work%2Dorders/st%61rt", ASK),
    "broken escapes": request("/api/work-orders/start%", ASK),
    "a slash": request(f"{START}/", ASK),
    "two slashes": request(f"/{START}", ASK),
    "an absolute address": request(f"http://localhost{START}", ASK),
    "a fragment": request(f"{START}#x", ASK),
}
METHODS = {
    f"{method} {path}": request(path, method=method)
    for method, path in product(
        ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"),
        (START, FINISH.format(run=NOBODY), SPEND),
    )
}
RUNS = {
    "start": request(START, ASK),
    "extend": request(EXTEND, {"additionalUsd": "0.02"}, Idempotency_Key="e-1"),
    "extend again": request(EXTEND, {"additionalUsd": "0.02"}, Idempotency_Key="e-1"),
    "extend by nothing": request(EXTEND, {}),
    "extend, a lease": request(EXTEND, {"leaseSeconds": 30}),
    "extend, nonsense": request(EXTEND, {"leaseSeconds": 0}),
    "extend another's": request(EXTEND, {"leaseSeconds": 30}, token="{start}"),
    "finish another's": request(FINISH, {"status": "success", "costUsd": 0}, token="{start}"),
    "finish with both": request(FINISH, {"status": "success", "costUsd": 0, "usage": USAGE}),
    "finish with neither": request(FINISH, {"status": "success"}),
    "finish as nothing": request(FINISH, {"status": "running", "costUsd": 0}),
    "finish with parts over the whole": request(
        FINISH, {"status": "success", "usage": {**USAGE, "cachedInputTokens": 10_000}}
    ),
    "finish": request(FINISH, {"status": "success", "costUsd": "0.01"}),
    "finish again": request(FINISH, {"status": "success", "costUsd": "0.010"}),
    "finish otherwise": request(FINISH, {"status": "error", "costUsd": "0.01"}),
    "extend what is over": request(EXTEND, {"leaseSeconds": 30}),
    "another start": request(START, ASK),
    "finish by usage": request(FINISH, {"status": "success", "usage": USAGE}),
    "a third": request(START, ASK),
    "finish by the usage of nobody": request(
        FINISH, {"status": "error", "usage": {**USAGE, "model": "nobody-s"}}
    ),
    "finish nobody's": request(FINISH.format(run=NOBODY), {"status": "success", "costUsd": "0.01"}),
    "finish in capitals": request(
        FINISH.format(run=NOBODY.upper()), {"status": "success", "costUsd": "0.01"}
    ),
    "finish no run": request(FINISH.format(run="x"), {"status": "success", "costUsd": "0.01"}),
}
SPENDS = {
    "spend": request(SPEND, {"costUsd": "0.03", "userId": "ann"}),
    "spend with a key": request(SPEND, {"costUsd": 0.5, "agentName": "a"}, Idempotency_Key="s"),
    "spend again": request(SPEND, {"costUsd": 0.5, "agentName": "a"}, Idempotency_Key="s"),
    "spend by usage": request(SPEND, {"usage": USAGE}),
    "spend by usage, with its model": request(SPEND, {"usage": USAGE, "model": "gpt-4o-mini"}),
    "spend by another model": request(SPEND, {"usage": USAGE, "model": "other"}),
    "spend nothing": request(SPEND, {}),
    "spend too much": request(SPEND, {"costUsd": "1000001"}),
    "spend with another scope": request(SPEND, {"costUsd": 1}, token="{read}"),
}
TABLE = STARTS | KEYS | HEADERS | FRAMING | METHODS | RUNS | SPENDS


@pytest.fixture(scope="module")
def services(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[list[Api]]:
    """One with a door, one without."""

    def without_door(*args: Any, **options: Any) -> list[str]:
        _, _, _, *rest = children.web_server(*args, **options)
        return [sys.executable, "-c", WITHOUT_DOOR, *rest]

    with ExitStack() as stack:
        door = stack.enter_context(api_service(pristine_database, django_db_blocker))
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(
            scratch, "web_server", without_door
        )
        views = stack.enter_context(api_service(pristine_database, django_db_blocker))
        for api in (door, views):
            with factories.inside(api.service.database, django_db_blocker):
                factories.make_work_order("full", max_concurrent_runs=1)
                factories.make_work_order("used-up", runs_per_day=1)
                factories.make_work_order("suspended", status="suspended")
            for name in ("full", "used-up"):
                assert api.start(api.client(), workOrderId=name).status_code == 201
        yield [door, views]


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


@pytest.mark.parametrize("port", ["the people's port", "the port for programs"])
def test_same_bytes(services: list[Api], port: str) -> None:
    """Status, headers, their order, and the body."""
    callers = [
        Caller(each, each.service.url if port == "the people's port" else each.service.door_url)
        for each in services
    ]
    different = {}
    answers: dict[str, bytes] = {}
    for name, sent in TABLE.items():
        door, views = [without_what_varies(caller.send(sent)) for caller in callers]
        answers[name] = door
        if door != views:
            different[name] = (door, views)
    assert different == {}
    statuses = {int(answer.split()[1]) for answer in answers.values()}
    assert {200, 201, 400, 401, 403, 404, 405, 409, 413, 415, 422, 428, 429} <= statuses
