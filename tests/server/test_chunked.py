"""Bodies of unknown length, to every endpoint that takes one, on a real server."""

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoDbBlocker

from opslog.api.batches import MAX_BATCH
from opslog.api.litellm import MAX_CALLBACK
from opslog.api.requests import MAX_BODY
from tests.api.harness import WORK_ORDER, Api, api_service
from tests.server.raw import Answer, Raw, bearer, head
from tests.telemetry_otlp.litellm import payload
from tests.telemetry_otlp.spans import export, span

NOW = f"{int(time.time())}000000000"
CALL = {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1000}
# Each writes something, so that an answer of success for what was not read fails here.
WRITES: dict[str, tuple[int, dict[str, Any]]] = {
    "/api/work-orders/start": (201, {"workOrderId": WORK_ORDER, "agentName": "agent-1"}),
    "/api/work-orders": (201, {"title": "Chunked"}),
    "/api/inference-events": (200, {"model": "m", "inputTokens": 1}),
    "/api/tool-calls": (200, {"toolName": "t"}),
    "/api/litellm-callback": (200, payload(id="chunked", startTime=time.time())),
    "/api/changes": (201, {"kind": "deploy", "what": "chunked"}),
    "/v1/llm/spend": (200, {"costUsd": "0.01"}),
    "/v1/traces": (200, json.loads(export(span(CALL, startTimeUnixNano=NOW)))),
}
# Each reads its body: without one they refuse.
READS: dict[str, dict[str, Any]] = {
    "/v1/llm/check": {"estimatedCostUsd": "0.01"},
    "/api/work-orders/preflight": {"tasks": [{"workOrderId": WORK_ORDER, "name": "n"}]},
}
BATCHES = ("/api/inference-events", "/api/tool-calls", "/api/litellm-callback", "/v1/traces")
LIMITS = {
    **dict.fromkeys(WRITES, MAX_BODY),
    **dict.fromkeys(BATCHES, MAX_BATCH),
    "/api/litellm-callback": MAX_CALLBACK,
}


@pytest.fixture(scope="module")
def api(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    """With two processes: a request may be handed from one to the other."""
    with api_service(pristine_database, django_db_blocker, workers=2) as running:
        yield running


def chunks(body: bytes, size: int) -> bytes:
    """With an extension of each chunk, and a trailer."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    sent = [b"%x;name=value\r\n%b\r\n" % (len(part), part) for part in parts]
    return b"".join([*sent, b"0\r\nX-Checked: yes\r\n\r\n"])


def send(api: Api, path: str, framed: bytes, **headers: str) -> Answer:
    all_headers = {**bearer(api.tokens["all"]), "Transfer-Encoding": "chunked", **headers}
    with Raw(api.service.url) as connection:
        connection.send(head("POST", path, all_headers) + framed)
        return connection.answer()


@pytest.mark.parametrize("size", [1, 13, 100_000])
@pytest.mark.parametrize("path", WRITES)
def test_a_chunked_body_is_read(api: Api, path: str, size: int) -> None:
    status, result = WRITES[path]
    # Other bytes in each, so that none is a repetition of another.
    body = json.dumps(result).replace("chunked", f"chunked-{size}").encode()
    body = body.replace(b"eee19b7ec3c1b174", f"{size + 1:016x}".encode())
    before = api.written()
    answer = send(api, path, chunks(body, size))
    assert answer.status == status, answer.body
    assert api.written() != before


@pytest.mark.parametrize("path", BATCHES)
def test_chunked_and_compressed(api: Api, path: str) -> None:
    status, result = WRITES[path]
    body = json.dumps(result).replace("chunked", "packed").replace("eee19b", "abcdef").encode()
    before = api.written()
    packed = gzip.compress(body, mtime=0)
    answer = send(api, path, chunks(packed, 7), **{"Content-Encoding": "gzip"})
    assert answer.status == status, answer.body
    assert api.written() != before


@pytest.mark.parametrize("path", READS)
def test_what_only_answers(api: Api, path: str) -> None:
    assert send(api, path, chunks(json.dumps(READS[path]).encode(), 3)).status == 200


def test_a_run_is_extended_and_finished(api: Api) -> None:
    """Each is read whole: the figures of the answers are those of the bodies."""
    ask = {"workOrderId": WORK_ORDER, "agentName": "agent-1", "estimatedCostUsd": "0.02"}
    started = send(api, "/api/work-orders/start", chunks(json.dumps(ask).encode(), 5))
    run = f"/api/work-orders/runs/{json.loads(started.body)['runId']}"
    more = send(api, f"{run}/extend", chunks(b'{"additionalUsd": "0.01"}', 4))
    assert (more.status, json.loads(more.body)["reservedUsd"]) == (200, "0.03")
    ended = send(api, f"{run}/finish", chunks(b'{"status": "success", "costUsd": "0.025"}', 4))
    assert (ended.status, json.loads(ended.body)["costUsd"]) == (200, "0.025")


def test_a_cap_change_is_requested(api: Api) -> None:
    """(Editing, canceling and deciding are for people, in a session.)"""
    order = send(api, "/api/work-orders", chunks(b'{"title": "Chunked caps"}', 4))
    ask = {"usdPerDay": "20", "justification": "more", "expectedCostImpact": "little"}
    path = f"/api/work-orders/{json.loads(order.body)['id']}/cap-changes"
    made = send(api, path, chunks(json.dumps(ask).encode(), 7))
    assert made.status == 201, made.body


def test_a_kill_switch_is_thrown(api: Api) -> None:
    body = b'{"scope": "Identity", "target": "agent:chunked", "enabled": true, "reason": "test"}'
    assert send(api, "/api/llm/killswitch", chunks(body, 6)).status == 200


@pytest.mark.parametrize("path", LIMITS)
def test_too_large_is_refused(api: Api, path: str) -> None:
    before = api.written()
    _, result = WRITES[path]
    body = json.dumps(result).encode()
    answer = send(api, path, chunks(b" " * (LIMITS[path] + 1 - len(body)) + body, 60_000))
    assert answer.status == 413, answer.body
    assert api.written() == before


@pytest.mark.parametrize(
    ("framed", "encoding", "status"),
    [
        (b"zz\r\n{}\r\n0\r\n\r\n", "chunked", 400),
        (b"-1\r\n{}\r\n0\r\n\r\n", "chunked", 400),
        (b"2\r\n{}0\r\n\r\n", "chunked", 400),
        (b"", "gzip, chunked", 501),
        (b"", "chunked, chunked", 400),
    ],
)
@pytest.mark.parametrize("path", WRITES)
def test_broken_framing_writes_nothing(
    api: Api, path: str, framed: bytes, encoding: str, status: int
) -> None:
    before = api.written()
    answer = send(api, path, framed, **{"Transfer-Encoding": encoding})
    assert answer.status == status
    assert api.written() == before


@pytest.mark.parametrize("path", WRITES)
def test_a_body_that_is_cut_off_writes_nothing(api: Api, path: str) -> None:
    before = api.written()
    body = chunks(json.dumps(WRITES[path][1]).encode(), 20)
    all_headers = {**bearer(api.tokens["all"]), "Transfer-Encoding": "chunked"}
    with Raw(api.service.url) as connection:
        connection.send(head("POST", path, all_headers) + body[:-2])
    with Raw(api.service.url) as connection:
        assert connection.ask("GET", "/healthz").status == 200
    assert api.written() == before


def test_behind_another_server_that_leaves_the_chunks_alone(client: Client) -> None:
    """It tells no length, and Django reads nothing then."""
    answer = client.post(
        "/v1/traces", b"{}", content_type="application/json", HTTP_TRANSFER_ENCODING="chunked"
    )
    assert answer.status_code == 411


def test_nothing_of_this_went_wrong_inside(api: Api) -> None:
    assert api.errors() == []
