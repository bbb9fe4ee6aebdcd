"""What LiteLLM's proxy logs of one call."""

from typing import Any

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
