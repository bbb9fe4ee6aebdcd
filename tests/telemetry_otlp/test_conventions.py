"""The names of every convention, and how each counts; figures by hand."""

import json
from decimal import Decimal
from typing import Any

import pytest

from opslog.telemetry.conventions import CONVENTIONS, COUNTED, NAMES, Meaning
from opslog.telemetry.drafts import InferenceDraft
from opslog.telemetry.otlp import read_spans
from opslog.telemetry.otlp_bodies import from_json
from tests.telemetry_otlp.spans import SPAN, pairs, span
from tests.telemetry_otlp.spans import export as plain_export

# Input, cached, written for 5 minutes and for an hour, output, reasoning tokens.
Tokens = tuple[int | None, int, int, int, int | None, int]


def call(attributes: dict[str, Any], scope: str = "t") -> InferenceDraft:
    body = plain_export(span(attributes)).replace(
        b'"scope": {"name": "t"}', json.dumps({"scope": {"name": scope}})[1:-1].encode()
    )
    (draft,) = read_spans(from_json(body)).calls
    return draft


def tokens(draft: InferenceDraft) -> Tokens:
    return (
        *(draft.input_tokens, draft.cached_input_tokens, draft.cache_write_tokens),
        *(draft.cache_write_1h_tokens, draft.output_tokens, draft.reasoning_tokens),
    )


def usage(**fields: int) -> dict[str, int]:
    return {f"gen_ai.usage.{name}": number for name, number in fields.items()}


LANGFUSE = "langfuse.observation.usage_details"
META = "ai.response.providerMetadata"
READ: list[tuple[dict[str, Any], Tokens]] = [
    # OpenTelemetry, new and old.
    (
        {
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 200,
            "gen_ai.usage.cache_read.input_tokens": 600,
            "gen_ai.usage.cache_write.input_tokens": 100,
            "gen_ai.usage.reasoning.output_tokens": 50,
        },
        (1000, 600, 100, 0, 200, 50),
    ),
    (
        usage(prompt_tokens=1000, completion_tokens=200, cached_tokens=600),
        (1000, 600, 0, 0, 200, 0),
    ),
    # Anthropic's SDK: the written ones by their lifetime.
    (
        {
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.cache_write.input_tokens": 100,
            "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": 60,
            "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 40,
        },
        (1000, 0, 60, 40, 0, 0),
    ),
    # OpenLLMetry, as it was.
    (
        {
            "llm.request.type": "chat",
            "llm.usage.prompt_tokens": 1000,
            "llm.usage.completion_tokens": 200,
            "gen_ai.usage.cache_read_input_tokens": 600,
        },
        (1000, 600, 0, 0, 200, 0),
    ),
    # pydantic-ai.
    (
        {
            **usage(input_tokens=1000, output_tokens=200),
            "gen_ai.usage.details.cached_tokens": 600,
            "gen_ai.usage.details.reasoning_tokens": 50,
        },
        (1000, 600, 0, 0, 200, 50),
    ),
    # Sentry.
    (
        {
            **usage(input_tokens=1000, output_tokens=200),
            "gen_ai.usage.input_tokens.cached": 600,
            "gen_ai.usage.output_tokens.reasoning": 50,
        },
        (1000, 600, 0, 0, 200, 50),
    ),
    # OpenInference.
    (
        {
            "openinference.span.kind": "LLM",
            "llm.token_count.prompt": 1000,
            "llm.token_count.completion": 200,
            "llm.token_count.prompt_details.cache_read": 600,
            "llm.token_count.prompt_details.cache_write": 100,
            "llm.token_count.completion_details.reasoning": 50,
        },
        (1000, 600, 100, 0, 200, 50),
    ),
    # Langfuse: as OpenAI has it, the parts in the whole; by its own names, which exclude each
    # other: 300 + 600 + 100 = 1,000 and 150 + 50 = 200.
    (
        {
            LANGFUSE: json.dumps(
                {
                    "prompt_tokens": 1000,
                    "completion_tokens": 200,
                    "prompt_tokens_details": {"cached_tokens": 600},
                    "completion_tokens_details": {"reasoning_tokens": 50},
                }
            )
        },
        (1000, 600, 0, 0, 200, 50),
    ),
    (
        {
            LANGFUSE: json.dumps(
                {
                    "input": 300,
                    "output": 150,
                    "input_cached_tokens": 600,
                    "input_cache_creation": 100,
                    "output_reasoning_tokens": 50,
                    "total": 1200,
                }
            )
        },
        (1000, 600, 100, 0, 200, 50),
    ),
    # Vercel's AI SDK, version 4 with OpenAI, version 5, version 6, embeddings.
    (
        {
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.usage.promptTokens": 1000,
            "ai.usage.completionTokens": 200,
            META: json.dumps({"openai": {"cachedPromptTokens": 600, "reasoningTokens": 50}}),
        },
        (1000, 600, 0, 0, 200, 50),
    ),
    (
        {
            "ai.usage.inputTokens": 1000,
            "ai.usage.outputTokens": 200,
            "ai.usage.cachedInputTokens": 600,
        },
        (1000, 600, 0, 0, 200, 0),
    ),
    ({"ai.operationId": "ai.embed.doEmbed", "ai.usage.tokens": 1000}, (1000, 0, 0, 0, 0, 0)),
    # LiteLLM.
    (
        {"llm.token.counts.prompt": 1000, "llm.token.counts.completion": 200},
        (1000, 0, 0, 0, 200, 0),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "expected"), READ)
def test_tokens_by_every_name(attributes: dict[str, Any], expected: Tokens) -> None:
    found = tokens(call({"gen_ai.request.model": "m", **attributes}))
    assert tuple(number or 0 for number in found) == expected


ANTHROPIC = {"gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5"}
GEMINI = {"gen_ai.provider.name": "gcp.gemini", "gen_ai.request.model": "gemini-2.5-flash"}
RAW = usage(input_tokens=700, cache_read_input_tokens=300, output_tokens=200)
THOUGHTS = usage(input_tokens=1000, output_tokens=150, reasoning_tokens=50)


@pytest.mark.parametrize(
    ("scope", "attributes", "expected"),
    [
        # Passed on as Anthropic and Bedrock count: 700 + 300. As others count: within.
        ("my-app", {**ANTHROPIC, **RAW}, (1000, 300, 0, 0, 200, 0)),
        ("my-app", {**RAW, "gen_ai.system": "aws.bedrock", "gen_ai.request.model": "m"},
         (1000, 300, 0, 0, 200, 0)),
        ("my-app", {**RAW, "gen_ai.request.model": "claude-x"}, (1000, 300, 0, 0, 200, 0)),
        ("my-app", {**RAW, "gen_ai.system": "openai", "gen_ai.request.model": "m"},
         (700, 300, 0, 0, 200, 0)),
        # OpenLLMetry adds up before it sends.
        ("opentelemetry.instrumentation.anthropic", {**ANTHROPIC, **RAW},
         (700, 300, 0, 0, 200, 0)),
        # The AI SDK 5 passes on what Anthropic says, with the written ones in its metadata;
        # the AI SDK 6 adds up, and says how many were neither: 100 + 600 + 300.
        ("ai", {"ai.model.provider": "anthropic.messages", "ai.model.id": "claude-x",
                "ai.usage.inputTokens": 100, "ai.usage.cachedInputTokens": 600,
                META: json.dumps({"anthropic": {"cacheCreationInputTokens": 300}})},
         (1000, 600, 300, 0, 0, 0)),
        ("ai", {"ai.model.provider": "anthropic.messages", "ai.model.id": "claude-x",
                "ai.usage.inputTokens": 1000, "ai.usage.cachedInputTokens": 600,
                "ai.usage.inputTokenDetails.noCacheTokens": 100,
                "ai.usage.inputTokenDetails.cacheWriteTokens": 300},
         (1000, 600, 300, 0, 0, 0)),
        # Thoughts of Gemini beside the output: 150 + 50. A total says so, or the opposite.
        ("my-app", {**GEMINI, **THOUGHTS}, (1000, 0, 0, 0, 200, 50)),
        ("my-app", {**GEMINI, **THOUGHTS, **usage(total_tokens=1200)}, (1000, 0, 0, 0, 200, 50)),
        ("my-app", {**GEMINI, **THOUGHTS, **usage(total_tokens=1150)}, (1000, 0, 0, 0, 150, 50)),
        ("my-app", {**THOUGHTS, **usage(total_tokens=1200), "gen_ai.request.model": "m"},
         (1000, 0, 0, 0, 200, 50)),
        ("my-app", {**THOUGHTS, "gen_ai.request.model": "o3"}, (1000, 0, 0, 0, 150, 50)),
        ("openinference.instrumentation.google_genai", {**GEMINI, **THOUGHTS},
         (1000, 0, 0, 0, 150, 50)),
        # A total that holds the cached ones as well: 700 + 300 + 200.
        ("my-app", {**RAW, **usage(total_tokens=1200), "gen_ai.request.model": "m"},
         (1000, 300, 0, 0, 200, 0)),
        # Both beside: 700 + 300 + 150 + 50.
        ("my-app", {**usage(input_tokens=700, cache_read_input_tokens=300, output_tokens=150,
                            reasoning_tokens=50, total_tokens=1200), "gen_ai.request.model": "m"},
         (1000, 300, 0, 0, 200, 50)),
        ("gcp.vertex.agent", {**GEMINI, **usage(input_tokens=1000, output_tokens=150),
                              "gen_ai.usage.experimental.reasoning_tokens": 50},
         (1000, 0, 0, 0, 200, 50)),
    ],
)  # fmt: skip
def test_how_parts_are_counted(scope: str, attributes: dict[str, Any], expected: Tokens) -> None:
    found = tokens(call(attributes, scope))
    assert tuple(number or 0 for number in found) == expected


PAID = {"gen_ai.request.model": "m", **usage(input_tokens=1000)}


@pytest.mark.parametrize(
    ("attributes", "cost", "sender"),
    [
        ({"tollgate.cost_usd": 0.5}, "0.5", None),
        ({"gen_ai.usage.cost": 0.5}, None, "0.5"),
        ({"operation.cost": 0.5}, None, "0.5"),
        ({"gen_ai.cost.total_cost": 0.5, "gen_ai.cost.input_cost": 0.2}, None, "0.5"),
        ({"gen_ai.cost.input_cost": 0.2, "gen_ai.cost.output_cost": 0.25}, None, "0.45"),
        ({"litellm.cost.total": 0.5}, None, "0.5"),
        ({"hidden_params": json.dumps({"response_cost": 0.5, "model_id": "x"})}, None, "0.5"),
        ({"llm.cost.prompt": 0.25, "llm.cost.completion": 0.5}, None, "0.75"),
        ({"langfuse.observation.cost_details": json.dumps({"total": 0.5})}, None, "0.5"),
        ({META: json.dumps({"openrouter": {"usage": {"cost": 0.5}}})}, None, "0.5"),
        ({META: json.dumps({"gateway": {"cost": "0.5"}})}, None, "0.5"),
        # Zero with tokens: the sender had no price. With a hit of its cache: nobody was paid.
        ({"gen_ai.usage.cost": 0}, None, None),
        ({"gen_ai.cost.total_cost": 0.0}, None, None),
        ({"gen_ai.cost.total_cost": 0.0, "litellm.cache_hit": True}, "0", "0"),
    ],
)
def test_the_senders_own_cost(
    attributes: dict[str, Any], cost: str | None, sender: str | None
) -> None:
    draft = call({**PAID, **attributes})
    assert draft.cost_usd == (None if cost is None else Decimal(cost))
    assert draft.sender_cost_usd == (None if sender is None else Decimal(sender))


@pytest.mark.parametrize(
    ("attributes", "tier"),
    [
        ({"openai.response.service_tier": "default"}, None),
        ({"gen_ai.openai.response.service_tier": "flex"}, "flex"),
        ({"openai.response.service_tier": "priority", "openai.request.service_tier": "auto"},
         "priority"),
        ({"anthropic.response.service_tier": "standard"}, None),
        ({"anthropic.response.service_tier": "batch"}, "batch"),
        ({META: json.dumps({"openai": {"serviceTier": "flex"}})}, "flex"),
        ({"llm.invocation_parameters": json.dumps({"service_tier": "flex"})}, "flex"),
        # One without a price in any book: not cheaper than it is, but unpriced.
        ({"openai.response.service_tier": "scale"}, "scale"),
    ],
)  # fmt: skip
def test_the_service_tier(attributes: dict[str, Any], tier: str | None) -> None:
    assert call({**PAID, **attributes}).service_tier == tier


@pytest.mark.parametrize(
    "attributes",
    [
        {"ai.telemetry.metadata.userId": "u", "ai.telemetry.metadata.tollgate.feature": "f"},
        {"langfuse.user.id": "u", "langfuse.trace.metadata.tollgate.feature": "f"},
        {
            "traceloop.association.properties.user_id": "u",
            "traceloop.association.properties.tollgate.feature": "f",
        },
        {"user.id": "u", "metadata": json.dumps({"tollgate.feature": "f"})},
        {"litellm.end_user.id": "u", "tollgate.feature": "f"},
    ],
)
def test_users_and_features_by_what_an_sdk_lets_its_caller_say(attributes: dict[str, Any]) -> None:
    draft = call({**PAID, **attributes})
    assert (draft.user_id, draft.feature) == ("u", "f")


def test_audio_images_and_searches() -> None:
    data = {
        **usage(input_tokens=1000, output_tokens=200),
        "gen_ai.usage.audio.input_tokens": 300,
        "gen_ai.usage.audio.output_tokens": 100,
        "gen_ai.usage.image.input_tokens": 50,
        META: json.dumps({"anthropic": {"usage": {"server_tool_use": {"web_search_requests": 2}}}}),
    }
    draft = call({"gen_ai.request.model": "m", **data})
    assert (draft.audio_input_tokens, draft.audio_output_tokens) == (300, 100)
    assert (draft.image_input_tokens, draft.tool_calls) == (50, {"web_search": 2})
    assert draft.usage().plain_input_tokens == 650


def test_audio_that_was_cached_is_not_counted_twice() -> None:
    """1,000 input tokens, 800 of audio, 600 cached: 400 of them are both."""
    result = usage(input_tokens=1000, cached_tokens=600)
    draft = call({"gen_ai.request.model": "m", **result, "gen_ai.usage.audio.input_tokens": 800})
    assert (draft.input_tokens, draft.cached_audio_input_tokens) == (1000, 400)


def test_broken_json_is_no_usage() -> None:
    for text in ("{", "[1]", "7", '{"input": "x"}', '{"a":' * 50 + "1" + "}" * 50, "x" * 70_000):
        assert pairs({LANGFUSE: text})
        body = plain_export(span({"gen_ai.request.model": "m", LANGFUSE: text}))
        spans = read_spans(from_json(body))
        assert len(spans.calls) + len(spans.refused) == 1
        assert SPAN


def test_the_table_says_where_its_names_come_from() -> None:
    assert len({each.title for each in CONVENTIONS}) == len(CONVENTIONS)
    assert all(each.version and each.seen for each in CONVENTIONS)
    assert set(COUNTED) <= set(NAMES)
    parts = {Meaning.CACHED, Meaning.WRITTEN, Meaning.WRITTEN_5M, Meaning.WRITTEN_1H}
    assert {NAMES[name][1] for name in COUNTED} <= {*parts, Meaning.REASONING}
