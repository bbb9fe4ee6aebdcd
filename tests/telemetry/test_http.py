"""The endpoints over real HTTP: batches half bad, bodies too large or broken, a server killed."""

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from pytest_django import DjangoDbBlocker

from config.run.scratch import wait_until_it_answers
from tests import factories
from tests.api.harness import Api

EVENTS, TOOLS = "/api/inference-events", "/api/tool-calls"
JSON = {"Content-Type": "application/json"}
GZIP = {**JSON, "Content-Encoding": "gzip"}
COUNT = "SELECT count(*) FROM inference_events WHERE event_id LIKE %s"


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[httpx2.Client]:
    with api.client("ingest") as client:
        yield client


def event(name: str, **kw: Any) -> dict[str, Any]:
    return {"eventId": name, "model": "gpt-4o-mini", "inputTokens": 10, "outputTokens": 0, **kw}


def count(api: Api, prefix: str) -> int:
    return int(api.sql(COUNT, prefix + "%")[0][0])


def test_one_and_again(api: Api, client: httpx2.Client) -> None:
    first = client.post(EVENTS, json=event("one-1"))
    assert (first.status_code, first.json()) == (
        200,
        {
            "accepted": 1,
            "duplicates": 0,
            "refused": 0,
            "items": [{"index": 0, "eventId": "one-1", "status": "accepted"}],
        },
    )
    again = client.post(EVENTS, json=[event("one-1")])
    assert again.status_code == 200
    assert again.json()["items"] == [{"index": 0, "eventId": "one-1", "status": "duplicate"}]
    assert count(api, "one-") == 1


def test_half_of_a_batch_is_bad(api: Api, client: httpx2.Client) -> None:
    bad: list[Any] = [
        event("half-x", inputTokens=-1),
        event("half-x", unknown=1),
        event("half-x", costUsd="1e2"),
        event("half-x", createdAt="2020-01-01T00:00:00Z"),
        event("half-x", createdAt="2020-01-01T00:00:00"),
        event("half-x", createdAt="yesterday"),
        event("half-x", feature="a\nb"),
        event("half-x", success="yes"),
        {"eventId": "half-x"},
        *("text", None, 1, [], {}),
    ]
    batch = [each for n, item in enumerate(bad) for each in (event(f"half-{n}"), item)]
    answer = client.post(EVENTS, json=batch)
    body = answer.json()
    assert answer.status_code == 207
    assert (body["accepted"], body["refused"]) == (len(bad), len(bad))
    for index, item in enumerate(body["items"]):
        assert item["index"] == index
        assert item["status"] == ("refused" if index % 2 else "accepted")
        assert bool(item.get("reason")) == bool(index % 2), item
    reasons = [item["reason"] for item in body["items"][1::2]]
    for name, reason in zip(
        ("inputTokens", "unknown", "costUsd", "createdAt", "createdAt", "createdAt", "feature",
         "success", "model"), reasons, strict=False,
    ):  # fmt: skip
        assert name in reason
    assert count(api, "half-") == len(bad)
    assert api.errors() == []


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"[]", b"[", b"{", b"nul", b"{}{}", b"[1]", b"{}", b'"a"', b"[" * 9_999),
        *(b"\xff\xfe", '{"model": "m"}'.encode("utf-16"), b'{"model": "\xff"}', b"[{},]"),
        b"[" + b",".join([b'{"model": "m"}'] * 1001) + b"]",
    ],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("path", [EVENTS, TOOLS])
def test_nothing_of_a_bad_body_is_written(
    api: Api, client: httpx2.Client, path: str, body: bytes
) -> None:
    before = api.sql("SELECT (SELECT count(*) FROM inference_events), count(*) FROM tool_calls")
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]
    after = api.sql("SELECT (SELECT count(*) FROM inference_events), count(*) FROM tool_calls")
    assert after == before
    assert api.errors() == []


def test_a_large_batch_fits(api: Api, client: httpx2.Client) -> None:
    """A thousand, every text as long as it may be."""
    long = dict.fromkeys(("userId", "agentName", "sessionId"), "x" * 200)
    long |= dict.fromkeys(("feature", "triggerType", "surface", "workOrderId"), "x" * 100)
    batch = [event(f"large-{n}", userAgent="x" * 500, **long) for n in range(1000)]
    answer = client.post(EVENTS, json=batch)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1000)
    assert count(api, "large-") == 1000


@pytest.mark.parametrize("token", ["ingest", None])
def test_ten_megabytes(api: Api, token: str | None) -> None:
    """Refused clearly, and the connection is good for the next request."""
    with api.client(token) as client:
        for _ in range(2):
            answer = client.post(EVENTS, content=b" " * 10_485_760, headers=JSON)
            assert answer.status_code == (413 if token else 401)
            assert answer.json()["error"]
        following = client.post(EVENTS, json=event("after-large"))
        assert following.status_code == (200 if token else 401)


def test_gzip(api: Api, client: httpx2.Client) -> None:
    batch = json.dumps([event(f"zip-{n}") for n in range(3)]).encode()
    assert client.post(EVENTS, content=gzip.compress(batch), headers=GZIP).status_code == 200
    assert count(api, "zip-") == 3


WHOLE = gzip.compress(json.dumps(event("broken-1")).encode(), mtime=0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (WHOLE[:-9], 400),
        (WHOLE[:-1], 400),
        (WHOLE[:12], 400),
        (WHOLE[:-8] + b"\x00" * 8, 400),
        (WHOLE + WHOLE, 400),
        (json.dumps(event("broken-1")).encode(), 400),
        (b"\x1f\x8b", 400),
        (gzip.compress(b" " * 50_000_000, mtime=0), 413),
        (b"\x1f\x8b" + b"\x00" * 6_000_000, 413),
    ],
    ids=["no end", "cut", "cut early", "bad sum", "two", "plain", "magic", "bomb", "large"],
)
def test_broken_gzip(api: Api, client: httpx2.Client, body: bytes, status: int) -> None:
    answer = client.post(EVENTS, content=body, headers=GZIP)
    assert (answer.status_code, bool(answer.json()["error"])) == (status, True)
    assert count(api, "broken-") == 0
    assert api.errors() == []


def test_other_encodings_and_types(client: httpx2.Client) -> None:
    for headers in ({**JSON, "Content-Encoding": "br"}, {"Content-Type": "text/plain"}):
        answer = client.post(EVENTS, content=b"{}", headers=headers)
        assert (answer.status_code, bool(answer.json()["error"])) == (415, True)


def test_scope_and_limits_of_the_token(api: Api, django_db_blocker: DjangoDbBlocker) -> None:
    with api.client("start") as client:
        assert client.post(EVENTS, json=event("scope-1")).status_code == 403
    with factories.inside(api.service.database, django_db_blocker):
        api.tokens["narrow"] = factories.make_token(
            ["ingest"], name="narrow", work_orders=["w1"], surface="cli", feature="chat"
        )[1]
    items = [event("narrow-1", workOrderId="w1", feature="x"), event("narrow-2", workOrderId="w2")]
    with api.client("narrow") as client:
        answer = client.post(EVENTS, json=items)
    assert answer.status_code == 207
    assert "workOrderId" in answer.json()["items"][1]["reason"]
    rows = api.sql(
        "SELECT wo_id, feature, surface FROM inference_events WHERE event_id LIKE 'narrow-%%'"
    )
    assert rows == [("w1", "chat", "cli")]


def test_tool_calls(api: Api, client: httpx2.Client) -> None:
    answer = client.post(TOOLS, json=[{"eventId": "t1", "toolName": "search"}, {"eventId": "t2"}])
    assert (answer.status_code, answer.json()["accepted"]) == (207, 1)
    assert api.sql("SELECT tool_name FROM tool_calls WHERE event_id IN ('t1', 't2')") == [
        ("search",)
    ]


def test_concurrent_batches_that_overlap(api: Api) -> None:
    """Without times, so that only the id can tell."""
    batches = [[event(f"overlap-{n + 50 * shift}") for n in range(100)] for shift in range(4)] * 3

    def send(batch: list[dict[str, Any]]) -> int:
        with api.client("ingest") as client:
            answer = client.post(EVENTS, json=batch)
            assert answer.status_code == 200, answer.text
            return int(answer.json()["accepted"])

    with ThreadPoolExecutor(12) as pool:
        accepted = sum(pool.map(send, batches))
    assert accepted == count(api, "overlap-") == 250


def test_killed_in_the_middle(api: Api) -> None:
    """kill -9 while batches come: each is there as a whole or not at all, and sent again, once."""
    (server,) = api.service.children
    batches = [[event(f"killed-{b}-{n}") for n in range(200)] for b in range(40)]
    unanswered = []
    with ThreadPoolExecutor(1) as pool, api.client("ingest") as client:
        killing = None
        for number, batch in enumerate(batches):
            if number == 5:
                killing = pool.submit(server.kill)
            try:
                if client.post(EVENTS, json=batch).status_code != 200:
                    unanswered.append(batch)
            except httpx2.TransportError:
                unanswered.append(batch)
        assert killing is not None
        killing.result()
    assert unanswered
    halves = api.sql(
        "SELECT split_part(event_id, '-', 2) FROM inference_events WHERE event_id LIKE 'killed-%%'"
        " GROUP BY 1 HAVING count(*) <> 200"
    )
    assert halves == []
    server.start()
    wait_until_it_answers(server, int(api.service.url.rsplit(":", 1)[1]))
    with api.client("ingest") as client:
        for batch in batches:
            assert client.post(EVENTS, json=batch).status_code == 200
    assert count(api, "killed-") == 40 * 200


def test_one_shape_of_usage(api: Api, client: httpx2.Client) -> None:
    """The names are those of finish and spend; what overlaps is refused by its name."""
    recorded = [
        event(
            "shape-good",
            inputTokens=20,
            cachedInputTokens=2,
            cacheWriteTokens=3,
            cacheWrite1hTokens=4,
            audioInputTokens=5,
            cachedAudioInputTokens=1,
            imageInputTokens=6,
            outputTokens=9,
            reasoningTokens=1,
            audioOutputTokens=2,
            imageOutputTokens=3,
            serviceTier="flex",
            toolCalls={"web_search": 3},
            senderCostUsd="0.5",
        ),
        event("shape-bad", cacheWriteTokens=6, cacheWrite1hTokens=5),
        event("shape-bad", serviceTier="turbo"),
        event("shape-bad", toolCalls={"web_search": -1}),
        event("shape-bad", senderCostUsd="1e2"),
    ]
    answer = client.post(EVENTS, json=recorded)
    assert answer.status_code == 207
    reasons = [item.get("reason", "").partition(":")[0] for item in answer.json()["items"]]
    assert reasons == ["", "inputTokens", "serviceTier", "toolCalls[...]", "senderCostUsd"]
    assert api.sql(
        "SELECT cache_write_tokens, cache_write_1h_tokens, units, service_tier, cost_usd,"
        " sender_cost_usd FROM inference_events WHERE event_id = 'shape-good'"
    ) == [
        (
            *(3, 4),
            {
                "audioInputTokens": 5,
                "cachedAudioInputTokens": 1,
                "audioOutputTokens": 2,
                "imageInputTokens": 6,
                "imageOutputTokens": 3,
                "toolCalls": {"web_search": 3},
            },
            *("flex", Decimal("0.5"), Decimal("0.5")),
        )
    ]


def test_no_tokens_and_no_cost_is_unknown(api: Api, client: httpx2.Client) -> None:
    bodies = [{"eventId": "unknown-1", "model": "gpt-4o-mini"}]
    answer = client.post(EVENTS, json=bodies)
    assert answer.json()["items"][0]["note"] == "neither a cost nor tokens: its cost is unknown"
    assert api.sql("SELECT cost_usd FROM inference_events WHERE event_id = 'unknown-1'") == [
        (None,)
    ]
