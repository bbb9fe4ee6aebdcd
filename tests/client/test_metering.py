"""Model calls are metered at the transport: real HTTP to a small model server, and the rows that
the real service has of it. The programs with the SDKs themselves are in `test_examples`."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from client.python.tollgate_client import AsyncTollgate, Call, Run, StopRun, Tollgate, Usage
from client.python.tollgate_client.model_calls import Asked, is_model_call
from tests.telemetry_otlp.model_server import model_server
from tests.waiting import HANG_SECONDS

from .harness import QUICK, Real

MINI, SONNET = "gpt-4o-mini", "claude-sonnet-4-5"
MESSAGES = [{"role": "user", "content": "Weather?"}]
USED = Usage(
    model=MINI,
    input_tokens=1000,
    cached_input_tokens=600,
    output_tokens=200,
    reasoning_tokens=50,
)
USED_BY_SONNET = Usage(
    model=SONNET,
    input_tokens=1000,
    cached_input_tokens=600,
    cache_write_tokens=60,
    cache_write_1h_tokens=40,
    output_tokens=200,
)
# As in test_spending: millionths of a dollar by the usage of the model server.
COST, SONNET_COST = Decimal("0.000225"), Decimal("0.004545")
ASKS: dict[str, tuple[str, dict[str, Any], Usage, Decimal]] = {
    "chat": ("/v1/chat/completions", {"model": MINI, "messages": MESSAGES}, USED, COST),
    "responses": ("/v1/responses", {"model": MINI, "input": "Weather?"}, USED, COST),
    "messages": (
        "/v1/messages",
        {"model": SONNET, "messages": MESSAGES, "max_tokens": 300},
        USED_BY_SONNET,
        SONNET_COST,
    ),
}


@pytest.fixture(scope="module")
def models() -> Iterator[str]:
    with model_server() as url:
        yield url


@pytest.fixture
def tollgate(real: Real) -> Iterator[Tollgate]:
    with Tollgate(real.url, real.token, agent="digest-1", retry=QUICK) as client:
        yield client


@pytest.fixture
def http(tollgate: Tollgate, models: str) -> Iterator[httpx2.Client]:
    with tollgate.http_client(base_url=models, timeout=HANG_SECONDS) as client:
        yield client


def metered(tollgate: Tollgate, **options: Any) -> Run:
    return tollgate.run("metered", estimated_cost_usd="0.05", **options)


def rows(real: Real, run: Run) -> list[tuple[Any, ...]]:
    """What the service knows of the calls of the run, beside the run itself."""
    return real.sql(
        "SELECT model, input_tokens, cached_input_tokens, cache_write_tokens,"
        " cache_write_1h_tokens, output_tokens, reasoning_tokens, cost_usd"
        " FROM inference_events WHERE run_id = %s",
        run.id,
    )


def row(usage: Usage, cost: Decimal) -> tuple[Any, ...]:
    return (
        usage.model,
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        cost,
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ASKS)
def test_a_call_is_recorded_and_settled(
    real: Real, tollgate: Tollgate, http: httpx2.Client, kind: str, stream: bool
) -> None:
    path, body, used, cost = ASKS[kind]
    with metered(tollgate) as run:
        answer = http.post(path, json=body | {"stream": stream})
    assert "Sun" in answer.text
    (call,) = run.calls
    assert (call.usage, call.status, call.success, call.estimated) == (used, 200, True, False)
    assert real.run(run.id) == ("success", cost)
    assert rows(real, run) == [row(used, cost)]


def test_calls_add_up(real: Real, tollgate: Tollgate, http: httpx2.Client) -> None:
    path, body, used, cost = ASKS["chat"]
    with metered(tollgate) as run:
        for _ in range(5):
            http.post(path, json=body)
    assert len(run.calls) == 5
    assert real.run(run.id) == ("success", 5 * cost)
    assert rows(real, run) == [row(sum_of(used, 5), 5 * cost)]


def sum_of(usage: Usage, times: int) -> Usage:
    total = usage
    for _ in range(times - 1):
        total += usage
    return total


def test_embeddings(real: Real, tollgate: Tollgate, http: httpx2.Client) -> None:
    with metered(tollgate) as run:
        http.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "a"})
    # 1,000 × 0.02 = 20 millionths
    assert real.run(run.id) == ("success", Decimal("0.00002"))


def test_the_usage_of_a_stream_is_asked_for_and_taken_out(
    tollgate: Tollgate, http: httpx2.Client
) -> None:
    """A loop that reads `choices[0]` of every chunk works as before."""
    path, body, used, _ = ASKS["chat"]
    with metered(tollgate) as run, http.stream("POST", path, json=body | {"stream": True}) as got:
        lines = [line for line in got.iter_lines() if line]
    assert lines.pop() == "data: [DONE]"
    assert all(json.loads(line[6:])["choices"] for line in lines)
    assert run.calls[0].usage == used
    asking = body | {"stream": True, "stream_options": {"include_usage": True}}
    with metered(tollgate) as run:
        text = http.post(path, json=asking).text
    assert '"usage"' in text  # who asked for it gets it
    assert run.calls[0].usage == used


def test_a_stream_that_is_left_early_costs_its_high_estimate(
    real: Real, tollgate: Tollgate, http: httpx2.Client
) -> None:
    body = ASKS["chat"][1] | {"stream": True, "max_tokens": 400, "model": MINI + "-endless"}
    with (
        metered(tollgate) as run,
        http.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        assert next(answer.iter_lines())
    (call,) = run.calls
    assert call.estimated
    assert not call.success
    assert call.usage is not None
    assert call.usage.output_tokens == 400
    assert call.usage.input_tokens >= len("Weather?") // 3
    assert call.usage.model == MINI + "-endless"


def test_what_a_stream_has_said_counts_where_it_is_left(
    tollgate: Tollgate, http: httpx2.Client
) -> None:
    body = ASKS["messages"][1] | {"stream": True, "model": SONNET + "-endless"}
    with metered(tollgate) as run, http.stream("POST", "/v1/messages", json=body) as answer:
        assert next(answer.iter_lines())
    (call,) = run.calls
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.cached_input_tokens) == (1000, 600)
    assert call.usage.output_tokens == 300


def test_a_call_that_is_under_way_when_the_run_ends(
    tollgate: Tollgate, http: httpx2.Client
) -> None:
    body = ASKS["chat"][1] | {"stream": True, "model": MINI + "-endless"}
    with contextlib.ExitStack() as stack:
        with metered(tollgate) as run:
            answer = stack.enter_context(http.stream("POST", "/v1/chat/completions", json=body))
            assert next(answer.iter_lines())
        (call,) = run.calls
        assert call.estimated
    assert run.calls == (call,)


def test_what_the_provider_refuses_costs_nothing(
    real: Real, tollgate: Tollgate, http: httpx2.Client
) -> None:
    path, body, used, cost = ASKS["chat"]
    model = MINI + "-fails-once"
    with metered(tollgate) as run:
        assert http.post(path, json=body | {"model": model}).status_code == 500
        assert http.post(path, json=body).status_code == 200
    assert [(call.status, call.usage) for call in run.calls] == [(500, None), (200, used)]
    assert real.run(run.id) == ("success", cost)


def test_only_refused_calls_cost_nothing(
    real: Real, tollgate: Tollgate, http: httpx2.Client
) -> None:
    with metered(tollgate) as run:
        http.post("/v1/nowhere/completions", json={"model": MINI})
    assert run.calls[0].status == 404
    assert real.run(run.id) == ("success", Decimal(0))


@pytest.fixture
def breaking() -> Iterator[str]:
    """A server that reads, and breaks the connection instead of an answer."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                connection.recv(65536)
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()


def test_a_lost_answer_may_have_been_paid_for(tollgate: Tollgate, breaking: str) -> None:
    path, body, *_ = ASKS["chat"]
    with tollgate.http_client(timeout=HANG_SECONDS) as http, metered(tollgate) as run:
        with pytest.raises(httpx2.TransportError):
            http.post(breaking + path, json=body)
        with pytest.raises(httpx2.ConnectError):
            http.post("http://127.0.0.1:1" + path, json=body)
    lost, never_sent = run.calls
    assert lost.estimated
    assert lost.usage is not None
    assert lost.usage.output_tokens == 4096
    assert never_sent.usage is None


def test_a_call_outside_of_a_run_is_not_sent(tollgate: Tollgate, models: str) -> None:
    path, body, *_ = ASKS["chat"]
    with tollgate.http_client(base_url=models) as http:
        answer = http.post(path, json=body)
        assert (answer.status_code, answer.headers["x-should-retry"]) == (403, "false")
        assert answer.json()["error"]["type"] == "tollgate_no_run"
        assert http.get("/v1/models").status_code == 501  # what costs nothing passes
    with tollgate.http_client(base_url=models, outside="allow") as http:
        assert http.post(path, json=body).status_code == 200


def test_a_call_of_a_stopped_run_is_not_sent(tollgate: Tollgate, http: httpx2.Client) -> None:
    """The stop is latched: whatever is made of the first answer, the caller gets StopRun."""
    path, body, *_ = ASKS["chat"]
    with pytest.raises(StopRun) as caught, metered(tollgate) as run:
        http.post(path, json=body)
        run.stop("kill_switch", "stopped by an operator")
        answer = http.post(path, json=body)
        assert answer.json()["error"]["type"] == "tollgate_stop"
        answer.raise_for_status()
    assert caught.value.reason == "kill_switch"
    assert isinstance(caught.value.__cause__, httpx2.HTTPStatusError)
    assert len(run.calls) == 1


def test_tasks_of_a_loop(real: Real, models: str) -> None:
    path, body, used, cost = ASKS["chat"]

    async def main() -> Any:
        async with (
            AsyncTollgate(real.url, real.token, agent="digest-1", retry=QUICK) as tollgate,
            tollgate.async_http_client(base_url=models, timeout=HANG_SECONDS) as http,
            tollgate.run("metered", estimated_cost_usd="0.05") as run,
        ):
            await asyncio.gather(*(http.post(path, json=body) for _ in range(3)))
            stream = body | {"stream": True}
            async with http.stream("POST", path, json=stream) as answer:
                async for _ in answer.aiter_lines():
                    pass
        return run

    run = asyncio.run(main())
    assert [call.usage for call in run.calls] == [used] * 4
    assert real.run(run.id) == ("success", 4 * cost)
    assert rows(real, run) == [row(sum_of(used, 4), 4 * cost)]


def test_a_model_that_answers_by_another_name_is_one_model(
    real: Real, tollgate: Tollgate, http: httpx2.Client
) -> None:
    ledger = tollgate.run("metered").ledger
    estimate = Usage(model="gpt-4o-mini", input_tokens=10, output_tokens=10)
    answer = Usage(model="gpt-4o-mini-2024-07-18", input_tokens=5, output_tokens=5)
    for usage, estimated in ((estimate, True), (answer, False)):
        number = ledger.begin(estimate)
        call = Call(model=usage.model, asked_model=MINI, usage=usage, estimated=estimated)
        ledger.end(number, call)
    (usage,) = ledger.spent().usages
    assert (usage.model, usage.input_tokens) == ("gpt-4o-mini-2024-07-18", 15)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/chat/completions", True),
        ("POST", "/openai/deployments/mini/chat/completions", True),
        ("POST", "/v1beta/models/gemini-2.5-flash:streamGenerateContent", True),
        ("GET", "/v1/responses", False),
        ("POST", "/v1/responses/resp_1/cancel", False),
        ("POST", "/v1/messages/count_tokens", False),
        ("POST", "/v1/threads/thread_1/messages", False),
        ("POST", "/v1/files", False),
    ],
)
def test_which_requests_are_model_calls(method: str, path: str, expected: bool) -> None:
    assert is_model_call(method, path) is expected


ESTIMATES = [
    ({"model": "m", "messages": [{"role": "user", "content": "x" * 3000}]}, (1000, 1100), 4096),
    ({"model": "m", "input": "é" * 300, "max_output_tokens": 50}, (200, 240), 50),
    ({"model": "m", "messages": [], "max_tokens": 100, "n": 3}, (0, 40), 300),
    (
        {"model": "m", "input": [{"type": "input_image", "image_url": "data:" + "x" * 90_000}]},
        (2000, 2040),
        4096,
    ),
    ([], (0, 1), 4096),
]


@pytest.mark.parametrize(("body", "between", "output"), ESTIMATES, ids=range(len(ESTIMATES)))
def test_a_high_estimate(body: Any, between: tuple[int, int], output: int) -> None:
    estimate = Asked.parse("/v1/responses", json.dumps(body).encode()).estimate
    assert between[0] <= estimate.input_tokens <= between[1]
    assert estimate.output_tokens == output


def test_what_cannot_be_metered(tollgate: Tollgate) -> None:
    with pytest.raises(TypeError, match="http_client"):
        tollgate.meter(object())
