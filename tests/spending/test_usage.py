"""Usage in its one shape over real HTTP: at finish and at spend, priced, refused and recorded."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from pytest_django import DjangoDbBlocker

from tests import factories
from tests.api.harness import Api, api_service

MODEL = "claude-sonnet-4-5"
# As Anthropic lists them: $3, $0.30, $3.75, $6 and $15 a million; half in a batch; a cent a search.
PRICE: dict[str, Any] = {
    "input": "3",
    "output": "15",
    "cached_input_per_mtok": Decimal("0.3"),
    "cache_write_per_mtok": Decimal("3.75"),
    "cache_write_1h_per_mtok": Decimal(6),
    "image_input_per_mtok": Decimal(3),
    "service_tiers": {"batch": {"factor": "0.5"}},
    "tool_prices": {"web_search": "0.01"},
}
RECORDED = (
    "SELECT model, sent_model, input_tokens, cached_input_tokens, cache_write_tokens,"
    " cache_write_1h_tokens, output_tokens, reasoning_tokens, units, service_tier, cost_usd"
    " FROM inference_events WHERE event_id = %s"
)


@pytest.fixture(scope="module")
def api(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    with api_service(pristine_database, django_db_blocker) as running:
        with factories.inside(running.service.database, django_db_blocker):
            factories.make_price(MODEL, **PRICE)
        yield running


@pytest.fixture(scope="module")
def http(api: Api) -> Iterator[httpx2.Client]:
    with api.client() as client:
        yield client


def finish(api: Api, http: httpx2.Client, usage: dict[str, Any]) -> httpx2.Response:
    run = api.start(http, estimatedCostUsd="0.75").json()["runId"]
    body = {"status": "success", "usage": {"model": MODEL, **usage}}
    return http.post(f"/api/work-orders/runs/{run}/finish", json=body)


PRICED = pytest.mark.parametrize(
    ("usage", "cost"),
    [
        # 100,000 × 3.75 + 1,000 × 15 = 0.375 + 0.015
        ({"inputTokens": 100_000, "cacheWriteTokens": 100_000, "outputTokens": 1_000}, "0.39"),
        # 100,000 × 6 + 1,000 × 15 = 0.6 + 0.015
        ({"inputTokens": 100_000, "cacheWrite1hTokens": 100_000, "outputTokens": 1_000}, "0.615"),
        # 2,000 × 3 + 5,000 × 0.3 + 2,000 × 3.75 + 1,000 × 6 + 400 × 15 = 0.027, half: 0.0135
        # and three searches at a cent
        (
            {
                "inputTokens": 10_000,
                "cachedInputTokens": 5_000,
                "cacheWriteTokens": 2_000,
                "cacheWrite1hTokens": 1_000,
                "outputTokens": 400,
                "reasoningTokens": 100,
                "serviceTier": "batch",
                "toolCalls": {"web_search": 3},
            },
            "0.0435",
        ),
        # pictures are input: 1,000 × 3
        ({"inputTokens": 1_000, "imageInputTokens": 900, "outputTokens": 0}, "0.003"),
        ({"inputTokens": 1_000, "outputTokens": 0, "serviceTier": "standard"}, "0.003"),
    ],
)


@PRICED
def test_a_run_settles_at_every_part_of_its_usage(
    api: Api, http: httpx2.Client, usage: dict[str, Any], cost: str
) -> None:
    answer = finish(api, http, usage)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["costUsd"], body["costNote"]) == (cost, None)
    (row,) = api.sql(RECORDED, body["runId"])
    special = {name: usage[name] for name in ("imageInputTokens", "toolCalls") if name in usage}
    tier = usage.get("serviceTier", "standard")
    assert row == (
        *(MODEL, "", usage["inputTokens"], usage.get("cachedInputTokens", 0)),
        *(usage.get("cacheWriteTokens", 0), usage.get("cacheWrite1hTokens", 0)),
        *(usage["outputTokens"], usage.get("reasoningTokens", 0)),
        *(special, "" if tier == "standard" else tier, Decimal(cost)),
    )


@PRICED
def test_direct_spend_is_the_same(
    api: Api, http: httpx2.Client, usage: dict[str, Any], cost: str
) -> None:
    answer = http.post("/v1/llm/spend", json={"usage": {"model": MODEL, **usage}})
    assert answer.status_code == 200
    assert answer.json()["costUsd"] == cost
    (row,) = api.sql(RECORDED, answer.json()["spendId"])
    assert row[2] == usage["inputTokens"]
    assert row[-1] == Decimal(cost)
    [(kind, owner, meta)] = api.sql(
        "SELECT kind, owner_type, meta FROM operations_events WHERE owner_id = %s",
        answer.json()["spendId"],
    )
    assert (kind, owner) == ("LLM_SPEND", "direct_spend")
    assert (meta["costUsd"], meta["model"], bool(meta["tokenName"])) == (cost, MODEL, True)


UNPRICED = pytest.mark.parametrize(
    "more",
    [
        {"serviceTier": "flex"},
        {"serviceTier": "priority"},
        {"audioInputTokens": 1},
        {"audioOutputTokens": 1},
        {"imageOutputTokens": 1},
        {"toolCalls": {"code_execution": 1}},
    ],
)


@UNPRICED
def test_a_part_without_a_price_settles_at_the_reservation(
    api: Api, http: httpx2.Client, more: dict[str, Any]
) -> None:
    """Never at the price of the rest."""
    body = finish(api, http, {"inputTokens": 10, "outputTokens": 10, **more}).json()
    assert (body["costUsd"], body["costNote"]) == ("0.75", "unpriced")
    (row,) = api.sql(RECORDED, body["runId"])
    assert row[-1] is None


@UNPRICED
def test_direct_spend_without_a_price_is_refused(http: httpx2.Client, more: dict[str, Any]) -> None:
    usage = {"model": MODEL, "inputTokens": 10, "outputTokens": 10, **more}
    answer = http.post("/v1/llm/spend", json={"usage": usage})
    assert answer.status_code == 422
    assert answer.headers["Tollgate-Denial"] == "unpriced_model"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"cachedInputTokens": 6, "cacheWrite1hTokens": 5}, "usage"),
        ({"cacheWriteTokens": 6, "cacheWrite1hTokens": 5}, "usage"),
        ({"audioInputTokens": 6, "imageInputTokens": 5}, "usage"),
        ({"cachedAudioInputTokens": 1}, "usage"),
        ({"reasoningTokens": 6, "imageOutputTokens": 5}, "usage"),
        ({"cacheWrite1hTokens": -1}, "usage.cacheWrite1hTokens"),
        ({"serviceTier": "turbo"}, "usage.serviceTier"),
        ({"toolCalls": {"web_search": -1}}, "usage.toolCalls[...]"),
        ({"toolCalls": {"web_search": "x"}}, "usage.toolCalls[...]"),
        ({"cacheWriteTokens1h": 1}, "usage.cacheWriteTokens1h"),
    ],
)
@pytest.mark.parametrize("where", ["finish", "spend"])
def test_what_cannot_be_is_400_by_field(
    api: Api, http: httpx2.Client, where: str, more: dict[str, Any], field: str
) -> None:
    usage = {"inputTokens": 10, "outputTokens": 10, **more}
    if where == "finish":
        answer = finish(api, http, usage)
    else:
        answer = http.post("/v1/llm/spend", json={"usage": {"model": MODEL, **usage}})
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == [field]


def test_the_same_finish_again_is_the_same(api: Api, http: httpx2.Client) -> None:
    """Whatever the order of its tools."""
    run = api.start(http, estimatedCostUsd="0.75").json()["runId"]
    path = f"/api/work-orders/runs/{run}/finish"
    usage = {"model": MODEL, "inputTokens": 10, "outputTokens": 1}
    calls = {"web_search": 1, "web_fetch": 0}
    first = http.post(path, json={"status": "success", "usage": {**usage, "toolCalls": calls}})
    other = dict(reversed(calls.items()))
    again = http.post(path, json={"status": "success", "usage": {**usage, "toolCalls": other}})
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    third = http.post(path, json={"status": "success", "usage": {**usage, "cacheWriteTokens": 1}})
    assert third.status_code == 409


def test_the_provider_finds_the_price(api: Api, http: httpx2.Client) -> None:
    """A gateway's name of the model, and who sells it: $3 × 1,000 a million."""
    usage = {"inputTokens": 1_000, "outputTokens": 0, "provider": "anthropic.messages"}
    body = finish(api, http, usage).json()
    assert body["costUsd"] == "0.003"
    (stored,) = api.sql("SELECT usage FROM work_order_runs WHERE id = %s", body["runId"])[0]
    assert stored["provider"] == "anthropic.messages"
    assert stored["cacheWrite1hTokens"] == 0
