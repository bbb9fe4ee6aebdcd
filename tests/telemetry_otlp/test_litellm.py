"""What a LiteLLM proxy's generic callback sends."""

import json
import math
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from opslog.telemetry.drafts import InferenceDraft, ToolDraft
from opslog.telemetry.litellm import BadCallback, draft_of, drafts_of, payloads
from tests.api.harness import Api

# As proxies of 1.8x log a call, with what is not read cut short.
SUCCESS: dict[str, Any] = {
    "id": "chatcmpl-CgZ1",
    "trace_id": "5f0a6f0e-4c52-4c6e-b1a4-1c6f3c2a9d11",
    "call_type": "acompletion",
    "stream": True,
    "response_cost": 0.00021450000000000001,
    "cost_breakdown": {"input_cost": 0.0001245, "output_cost": 0.00009, "total_cost": 0.0002145},
    "response_cost_failure_debug_info": None,
    "status": "success",
    "status_fields": {"llm_api_status": "success", "guardrail_status": "not_run"},
    "custom_llm_provider": "openai",
    "total_tokens": 1380,
    "prompt_tokens": 1230,
    "completion_tokens": 150,
    "startTime": 1764158400.25,
    "endTime": 1764158402.5,
    "completionStartTime": 1764158401.0,
    "response_time": 0.75,
    "model": "gpt-4o-mini",
    "model_id": "a1b2",
    "model_group": "small",
    "api_base": "https://api.example.com/v1/",
    "cache_hit": False,
    "request_tags": ["feature:summary", "trigger_type:retry", "User-Agent: python"],
    "end_user": "u-17",
    "user_agent": "AsyncOpenAI/Python 1.99",
    "messages": [{"role": "user", "content": "not kept"}],
    "response": {"choices": [{"message": {"content": "not kept"}}]},
    "error_str": None,
    "model_parameters": {"temperature": 0.2},
    "hidden_params": {"response_cost": 0.0002145},
    "metadata": {
        "user_api_key_hash": "88dc28d0",
        "user_api_key_alias": "digest-service",
        "user_api_key_user_id": "owner-1",
        "user_api_key_end_user_id": "u-17",
        "requester_metadata": {"surface": "editor", "tollgate_wo_id": "w-1"},
        "usage_object": {
            "prompt_tokens": 1230,
            "completion_tokens": 150,
            "total_tokens": 1380,
            "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": None},
            "completion_tokens_details": {"reasoning_tokens": 64},
        },
    },
}


def payload(**changed: Any) -> dict[str, Any]:
    return {**SUCCESS, **changed}


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
    assert draft.cost_usd == Decimal("0.0002145")
    assert (draft.model, draft.provider) == ("gpt-4o-mini", "openai")
    assert (draft.feature, draft.trigger_type, draft.surface) == ("summary", "retry", "editor")
    assert (draft.work_order_id, draft.user_id) == ("w-1", "u-17")
    assert (draft.agent_name, draft.session_id) == ("digest-service", SUCCESS["trace_id"])
    assert draft.user_agent == "AsyncOpenAI/Python 1.99"
    assert draft.success


@pytest.mark.parametrize(
    ("changed", "cost"),
    [
        ({"response_cost": 0.0}, Decimal(0)),
        ({"response_cost": None}, None),
        ({"response_cost": 0.0, "response_cost_failure_debug_info": {"error_str": "x"}}, None),
        ({"response_cost": 1.5e-07}, Decimal("0.00000015")),
    ],
)
def test_a_cost_that_the_proxy_did_not_know_is_left_to_the_price_book(
    changed: dict[str, Any], cost: Decimal | None
) -> None:
    assert call(**changed).cost_usd == cost


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
    assert draft.cost_usd is not None
    tool = draft_of(payload(call_type="call_mcp_tool", **long))
    assert (tool.user_id, tool.feature) == ("u" * 200, "f" * 100)
    with pytest.raises(ValueError, match="workOrderId"):
        call(request_tags=[f"tollgate_work_order_id:{'w' * 101}"])


def test_a_kind_of_call_that_is_no_text_is_a_call_of_a_model() -> None:
    assert call(call_type=["call_mcp_tool"]).model == "gpt-4o-mini"


def test_the_three_formats() -> None:
    lines = b"\n".join(json.dumps(each).encode() for each in (SUCCESS, SUCCESS))
    assert len(payloads(json.dumps([SUCCESS, SUCCESS]).encode())) == 2
    assert len(payloads(json.dumps(SUCCESS).encode())) == 1
    assert len(payloads(lines)) == 2
    for bad in (b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(BadCallback):
            payloads(bad)


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
        "SELECT source, feature, trigger_type, cost_usd::text FROM inference_events"
        " WHERE user_id = 'u-17'"
    ) == [("litellm", "summary", "retry", "0.000214500")]


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
        told = {"Content-Type": "application/json"}
        answer = client.post("/api/litellm-callback", content=f"[{bad}, {good}]", headers=told)
    assert answer.status_code == 207, answer.text
    assert [item["status"] for item in answer.json()["items"]] == ["refused", "accepted"]
    assert answer.json()["items"][0]["reason"].startswith((name, "costUsd"))
    assert api.errors() == []


def test_over_http_lines_and_nonsense(api: Api) -> None:
    lines = "\n".join(
        json.dumps(payload(id=f"line-{number}", startTime=time.time())) for number in range(3)
    )
    with api.client("ingest") as client:
        told = {"Content-Type": "application/json"}
        good = client.post("/api/litellm-callback", content=lines, headers=told)
        bad = client.post("/api/litellm-callback", content="nonsense", headers=told)
        one = client.post("/api/litellm-callback", json={"event": "test"})
    with api.client("read") as client:
        barred = client.post("/api/litellm-callback", json=SUCCESS)
    assert (good.status_code, good.json()["accepted"]) == (200, 3)
    assert (bad.status_code, one.status_code, barred.status_code) == (400, 400, 403)
    assert one.json()["error"].startswith("nothing was accepted: id")
