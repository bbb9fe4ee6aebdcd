"""What a LiteLLM proxy's generic callback sends."""

import gzip
import json
import math
import time
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from opslog.telemetry.drafts import InferenceDraft, ToolDraft
from opslog.telemetry.litellm import BadCallback, draft_of, drafts_of, payloads
from tests.api.harness import Api
from tests.telemetry_otlp.litellm import SUCCESS, payload


def call(**changed: Any) -> InferenceDraft:
    draft = draft_of(payload(**changed))
    assert isinstance(draft, InferenceDraft)
    return draft


def test_everything_that_is_told() -> None:
    draft = call()
    assert draft.event_id == "chatcmpl-CgZ1:1764158400.25"
    assert draft.created_at == datetime(2025, 11, 26, 12, 0, 0, 250_000, tzinfo=UTC)
    assert (draft.input_tokens, draft.cached_input_tokens) == (1230, 1024)
    assert (draft.output_tokens, draft.reasoning_tokens) == (150, 64)
    assert (draft.cost_usd, draft.sender_cost_usd) == (None, Decimal("0.0002145"))
    assert (draft.model, draft.provider) == ("gpt-4o-mini", "openai")
    assert (draft.feature, draft.trigger_type, draft.surface) == ("summary", "retry", "editor")
    assert (draft.work_order_id, draft.user_id) == ("w-1", "u-17")
    assert (draft.agent_name, draft.session_id) == ("digest-service", SUCCESS["trace_id"])
    assert draft.user_agent == "AsyncOpenAI/Python 1.99"
    assert draft.success


@pytest.mark.parametrize(
    ("changed", "cost"),
    [
        ({"response_cost": 0.0}, None),
        ({"response_cost": 0.0, "cache_hit": True}, Decimal(0)),
        ({"response_cost": None}, None),
        ({"response_cost": 1.5e-07}, Decimal("0.00000015")),
    ],
)
def test_a_cost_that_the_proxy_did_not_know_is_left_to_the_price_book(
    changed: dict[str, Any], cost: Decimal | None
) -> None:
    assert call(**changed).sender_cost_usd == cost


def test_a_failure_without_tokens() -> None:
    draft = call(status="failure", metadata={}, prompt_tokens=0, completion_tokens=0, end_user="")
    assert not draft.success
    assert (draft.input_tokens, draft.user_id) == (0, None)


def test_attempts_that_share_an_id_are_told_apart() -> None:
    assert call(startTime=1.5).event_id != call(startTime=2.5).event_id


def test_ids_that_are_longer_than_ours() -> None:
    one, other = (call(id="resp_" + "x" * 400 + last).event_id for last in "ab")
    assert one != other
    assert one is not None
    assert len(one) < 200


def test_cache_tokens_of_anthropic() -> None:
    usage = {"cache_read_input_tokens": 900, "cache_creation_input_tokens": 200}
    draft = call(metadata={"usage_object": usage})
    assert (draft.cached_input_tokens, draft.cache_write_tokens) == (900, 200)


def test_a_tool_of_mcp() -> None:
    draft = draft_of(
        payload(
            call_type="call_mcp_tool",
            status="failure",
            metadata={"mcp_tool_call_metadata": {"name": "search"}},
        )
    )
    assert isinstance(draft, ToolDraft)
    assert (draft.tool_name, draft.success, draft.feature) == ("search", False, "summary")


def test_tools_of_a_trace_with_who_asked_for_them_and_the_attempts_before() -> None:
    def at(second: int, **changed: Any) -> dict[str, Any]:
        return payload(
            id=f"id-{second}",
            startTime=second,
            endTime=second + 0.5,
            **{"trace_id": "t", **changed},
        )

    tool = {
        "call_type": "call_mcp_tool",
        "metadata": {"mcp_tool_call_metadata": {"name": "search"}},
    }
    sent = [
        at(1),
        at(2, status="failure", **tool),
        at(3),
        at(4, call_type="aembedding"),
        at(5, **tool),
        at(6, prompt_tokens=-1),
        at(7, **{**tool, "trace_id": "another"}),
        at(8, **{**tool, "trace_id": None}),
    ]
    drafts, refused = drafts_of(sent)
    assert (list(drafts), list(refused)) == ([0, 1, 2, 3, 4, 6, 7], [5])
    assert [
        (draft.inference_event_id, draft.retries)
        for draft in drafts.values()
        if isinstance(draft, ToolDraft)
    ] == [("id-1:1", 0), ("id-3:3", 1), (None, 0), (None, 0)]


@pytest.mark.parametrize(
    "bad",
    [
        7,
        None,
        {},
        payload(id=""),
        payload(startTime="noon"),
        payload(startTime=1e300),
        payload(prompt_tokens=-1),
        payload(prompt_tokens="many"),
        payload(response_cost="NaN"),
        payload(response_cost=-1),
        payload(id=["a"]),
        payload(id=math.inf),
        *(payload(prompt_tokens=each) for each in (math.inf, math.nan, 10**400, 1e300, 1.5, True)),
        *(payload(startTime=each) for each in (math.inf, math.nan, 10**400, -1e300)),
        payload(startTime={}),
        *(payload(response_cost=each) for each in (math.inf, math.nan, 10**400, 1e300, True)),
        payload(response_cost=[1]),
        payload(metadata={"usage_object": {"prompt_tokens_details": {"cached_tokens": math.inf}}}),
        payload(request_tags=["run_id:seven"]),
    ],
)
def test_what_is_no_payload(bad: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (drafts raise it too, with what is wrong)
        draft_of(bad)


def test_long_descriptions_are_cut_and_the_call_is_kept() -> None:
    long = {
        "end_user": "u" * 999,
        "trace_id": "s" * 999,
        "user_agent": "b" * 999,
        "request_tags": [f"feature:{'f' * 999}", f"surface:{'v' * 999}", f"agent_name:{'a' * 999}"],
    }
    draft = call(**long)
    assert (draft.user_id, draft.session_id, draft.agent_name) == ("u" * 200, "s" * 200, "a" * 200)
    assert (draft.feature, draft.surface, draft.user_agent) == ("f" * 100, "v" * 100, "b" * 500)
    assert draft.sender_cost_usd is not None
    tool = draft_of(payload(call_type="call_mcp_tool", **long))
    assert (tool.user_id, tool.feature) == ("u" * 200, "f" * 100)
    with pytest.raises(ValueError, match="workOrderId"):
        call(request_tags=[f"tollgate_work_order_id:{'w' * 101}"])


def test_a_kind_of_call_that_is_no_text_is_a_call_of_a_model() -> None:
    assert call(call_type=["call_mcp_tool"]).model == "gpt-4o-mini"


ONE = json.dumps(SUCCESS).encode()
FORMATS = {
    b"[" + ONE + b" , " + ONE + b"]\n": 2,
    b" [ ] ": 0,
    b"[" + ONE + b"]": 1,
    ONE: 1,
    json.dumps(SUCCESS, indent=2).encode(): 1,
    ONE + b"\n" + ONE + b"\r\n\n": 2,
    b"[1, 23, NaN, " + b"9" * 9999 + b"]": 4,
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("body", FORMATS, ids=range(len(FORMATS)))
def test_the_formats_in_parts_of_any_size(body: bytes, size: int) -> None:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    found = list(payloads(parts))
    assert len(found) == FORMATS[body]
    assert found[0] == SUCCESS if body.count(b"{") else True


@pytest.mark.parametrize(
    "bad",
    [b"{", b"\xff", b"[" * 100_000, b"[{}", b"[{},]", b"[{} {}]", b"[{}] {}", b"{}x", b"[,]", b"]"],
)
def test_what_is_no_json(bad: bytes) -> None:
    with pytest.raises(BadCallback):
        list(payloads([bad]))


def test_one_payload_is_in_memory_at_a_time() -> None:
    """16 MiB in all. Of what is read, no more is kept than a few payloads and parts."""
    large = json.dumps(payload(messages=[{"content": "x" * 16_000}])).encode()
    body = b"[" + b",".join([large] * 1000) + b"]"
    parts = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    tracemalloc.start()
    try:
        drafts, refused = drafts_of(payloads(parts))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(drafts), len(refused)) == (1000, 0)
    assert len(body) > 16_000_000
    assert peak < 4_000_000


# What a proxy says that was used, with the answer to each: input, cached, written for 5 minutes
# and for an hour, output, reasoning tokens.
@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"cache_read_input_tokens": 900}, (1230, 900, 0, 0, 150, 0)),
        # Counted beside the input: 1,230 + 2,000.
        ({"prompt_tokens_details": {"cached_tokens": 2000}}, (3230, 2000, 0, 0, 150, 0)),
        (
            {
                "cache_creation_input_tokens": 200,
                "prompt_tokens_details": {
                    "cache_creation_token_details": {
                        "ephemeral_5m_input_tokens": 150,
                        "ephemeral_1h_input_tokens": 50,
                    }
                },
            },
            (1230, 0, 150, 50, 150, 0),
        ),
        ({"completion_tokens_details": {"reasoning_tokens": 90}}, (1230, 0, 0, 0, 150, 90)),
    ],
)
def test_tokens_by_their_names(usage: dict[str, Any], tokens: tuple[int, ...]) -> None:
    draft = call(metadata={"usage_object": usage})
    assert (
        *(draft.input_tokens, draft.cached_input_tokens, draft.cache_write_tokens),
        *(draft.cache_write_1h_tokens, draft.output_tokens, draft.reasoning_tokens),
    ) == tokens


def test_the_service_tier_and_searches() -> None:
    usage = {"server_tool_use": {"web_search_requests": 3}, "service_tier": "flex"}
    draft = call(metadata={"usage_object": usage})
    assert (draft.service_tier, draft.tool_calls) == ("flex", {"web_search": 3})
    assert call(model_parameters={"service_tier": "auto"}).service_tier is None


def test_a_call_without_tokens_is_of_unknown_cost() -> None:
    draft = call(prompt_tokens=None, completion_tokens=None, response_cost=0, metadata={})
    assert draft.is_unknown
    assert draft.sender_cost_usd is None


def test_the_proxys_own_batch(api: Api) -> None:
    """512 payloads of 13.5 KB: 6.6 MiB, plain and compressed; 16 MiB at most."""
    sent = [
        payload(id=f"b-{number}", startTime=time.time(), messages="x" * 12_000, end_user="u-batch")
        for number in range(512)
    ]
    body = json.dumps(sent).encode()
    assert 6_600_000 < len(body) < 8_000_000
    headers = {"Content-Type": "application/json"}
    with api.client("ingest") as client:
        plain = client.post("/api/litellm-callback", content=body, headers=headers)
        headers["Content-Encoding"] = "gzip"
        packed = client.post(
            "/api/litellm-callback", content=gzip.compress(body, 1), headers=headers
        )
        bomb = client.post(
            "/api/litellm-callback", content=gzip.compress(b" " * 17_000_000, 1), headers=headers
        )
        del headers["Content-Encoding"]
        large = client.post(
            "/api/litellm-callback", content=b" " * 16_777_217 + body, headers=headers
        )
    assert (plain.status_code, plain.json()["accepted"]) == (200, 512)
    assert (packed.status_code, packed.json()["duplicates"]) == (200, 512)
    assert (bomb.status_code, large.status_code) == (413, 413)
    assert api.sql("SELECT count(*) FROM inference_events WHERE user_id = 'u-batch'") == [(512,)]


def test_over_http_each_by_itself_and_once(api: Api) -> None:
    began = time.time() - 60
    sent = [payload(startTime=began), payload(id="x", startTime=began, prompt_tokens=-1)]
    with api.client("ingest") as client:
        first = client.post("/api/litellm-callback", json=sent)
        again = client.post("/api/litellm-callback", json=sent[0])
        empty = client.post("/api/litellm-callback", json=[])
    assert first.status_code == 207
    assert [item["status"] for item in first.json()["items"]] == ["accepted", "refused"]
    assert "prompt_tokens" in first.json()["items"][1]["reason"]
    assert (again.status_code, again.json()["duplicates"]) == (200, 1)
    assert (empty.status_code, empty.json()["accepted"]) == (200, 0)
    assert api.sql(
        "SELECT source, feature, trigger_type, cost_usd::text, sender_cost_usd::text"
        " FROM inference_events"
        " WHERE user_id = 'u-17'"
        # 1,230 × 0.15 + 150 × 0.60 = 184.5 + 90 = 274.5 millionths, by the price book
    ) == [("litellm", "summary", "retry", "0.000274500", "0.000214500")]


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity", "9" * 400, "9" * 9999])
@pytest.mark.parametrize("name", ["prompt_tokens", "startTime", "response_cost"])
def test_over_http_a_number_that_is_none_refuses_its_payload_alone(
    api: Api, name: str, number: str
) -> None:
    bad = f'{{"id": "a", "{name}": {number}}}'
    good = json.dumps(
        payload(id=f"beside-{name}-{number[:20]}{len(number)}", startTime=time.time())
    )
    with api.client("ingest") as client:
        all_headers = {"Content-Type": "application/json"}
        answer = client.post(
            "/api/litellm-callback", content=f"[{bad}, {good}]", headers=all_headers
        )
    assert answer.status_code == 207, answer.text
    assert [item["status"] for item in answer.json()["items"]] == ["refused", "accepted"]
    assert answer.json()["items"][0]["reason"].startswith((name, "costUsd"))
    assert api.errors() == []


def test_over_http_lines_and_nonsense(api: Api) -> None:
    lines = "\n".join(
        json.dumps(payload(id=f"line-{number}", startTime=time.time())) for number in range(3)
    )
    with api.client("ingest") as client:
        all_headers = {"Content-Type": "application/json"}
        good = client.post("/api/litellm-callback", content=lines, headers=all_headers)
        bad = client.post("/api/litellm-callback", content="nonsense", headers=all_headers)
        one = client.post("/api/litellm-callback", json={"event": "test"})
    with api.client("read") as client:
        barred = client.post("/api/litellm-callback", json=SUCCESS)
    assert (good.status_code, good.json()["accepted"]) == (200, 3)
    assert (bad.status_code, one.status_code, barred.status_code) == (400, 400, 403)
    assert one.json()["error"].startswith("nothing was accepted: id")
