"""Names of frameworks and proxies that have conventions of their own. Pure."""

from datetime import date
from typing import Final

from opslog.telemetry.conventions.meanings import Convention, Counting, Meaning, Role

M, R = Meaning, Role
BESIDE, RAW = Counting.BESIDE, Counting.BY_PROVIDER
SEEN: Final = date(2026, 11, 28)
LANGFUSE: Final = "langfuse.observation.usage_details."
MODELS_OF_AI: Final = ("generateText", "streamText", "generateObject", "streamObject")

AI_SDK: Final = Convention(
    "Vercel's AI SDK",
    "ai 4 to 7",
    SEEN,
    names={
        "ai.response.model": M.MODEL,
        "ai.model.id": M.MODEL,
        "ai.model.provider": M.PROVIDER,
        "ai.response.id": M.RESPONSE_ID,
        "ai.usage.inputTokens": M.INPUT,
        "ai.usage.promptTokens": M.INPUT,
        "ai.usage.tokens": M.INPUT,  # of embeddings
        "ai.usage.outputTokens": M.OUTPUT,
        "ai.usage.completionTokens": M.OUTPUT,
        "ai.usage.totalTokens": M.TOTAL,
        "ai.usage.inputTokenDetails.noCacheTokens": M.FRESH_INPUT,
        "ai.usage.inputTokenDetails.cacheReadTokens": M.CACHED,
        "ai.usage.inputTokenDetails.cacheWriteTokens": M.WRITTEN,
        "ai.usage.outputTokenDetails.textTokens": M.TEXT_OUTPUT,
        "ai.usage.outputTokenDetails.reasoningTokens": M.REASONING,
        "ai.usage.cachedInputTokens": M.CACHED,
        "ai.usage.reasoningTokens": M.REASONING,
        "ai.response.providerMetadata.anthropic.usage.cache_read_input_tokens": M.CACHED,
        "ai.response.providerMetadata.anthropic.cacheReadInputTokens": M.CACHED,
        "ai.response.providerMetadata.anthropic.usage.cache_creation_input_tokens": M.WRITTEN,
        "ai.response.providerMetadata.anthropic.cacheCreationInputTokens": M.WRITTEN,
        "ai.response.providerMetadata.anthropic.usage.cache_creation"
        ".ephemeral_5m_input_tokens": M.WRITTEN_5M,
        "ai.response.providerMetadata.anthropic.usage.cache_creation"
        ".ephemeral_1h_input_tokens": M.WRITTEN_1H,
        "ai.response.providerMetadata.anthropic.usage.service_tier": M.TIER,
        "ai.response.providerMetadata.anthropic.usage.server_tool_use"
        ".web_search_requests": M.WEB_SEARCHES,
        "ai.response.providerMetadata.bedrock.usage.cacheReadInputTokens": M.CACHED,
        "ai.response.providerMetadata.bedrock.usage.cacheWriteInputTokens": M.WRITTEN,
        "ai.response.providerMetadata.openai.cachedPromptTokens": M.CACHED,
        "ai.response.providerMetadata.openai.reasoningTokens": M.REASONING,
        "ai.response.providerMetadata.openai.serviceTier": M.TIER,
        "ai.response.providerMetadata.google.usageMetadata.cachedContentTokenCount": M.CACHED,
        "ai.response.providerMetadata.google.usageMetadata.thoughtsTokenCount": M.REASONING,
        "ai.response.providerMetadata.openrouter.usage.cost": M.COST,
        "ai.response.providerMetadata.gateway.cost": M.COST,
        "ai.telemetry.metadata.userId": M.USER,
        "ai.telemetry.metadata.user_id": M.USER,
        "ai.telemetry.metadata.sessionId": M.SESSION,
        "ai.telemetry.metadata.session_id": M.SESSION,
        "ai.toolCall.name": M.TOOL,
    },
    counted={
        "ai.usage.cachedInputTokens": RAW,
        "ai.usage.reasoningTokens": RAW,
        "ai.response.providerMetadata.anthropic.usage.cache_read_input_tokens": RAW,
        "ai.response.providerMetadata.anthropic.cacheReadInputTokens": RAW,
        "ai.response.providerMetadata.anthropic.usage.cache_creation_input_tokens": RAW,
        "ai.response.providerMetadata.anthropic.cacheCreationInputTokens": RAW,
        "ai.response.providerMetadata.bedrock.usage.cacheReadInputTokens": RAW,
        "ai.response.providerMetadata.bedrock.usage.cacheWriteInputTokens": RAW,
        "ai.response.providerMetadata.google.usageMetadata.thoughtsTokenCount": RAW,
    },
    roles={
        "ai.operationId": {
            "ai.toolCall": R.TOOL,
            **dict.fromkeys((f"ai.{name}" for name in MODELS_OF_AI), R.OTHER),
            **dict.fromkeys(("ai.embed", "ai.embedMany", "ai.rerank"), R.OTHER),
            **{
                f"ai.{name}.{'doStream' if 'stream' in name else 'doGenerate'}": R.CALL
                for name in MODELS_OF_AI
            },
            **dict.fromkeys(("ai.embed.doEmbed", "ai.embedMany.doEmbed"), R.CALL),
        }
    },
)
OPENINFERENCE: Final = Convention(
    "OpenInference",
    "openinference-semantic-conventions 0.1.42",
    SEEN,
    names={
        "llm.response.model_name": M.MODEL,
        "llm.model_name": M.MODEL,
        "embedding.model_name": M.MODEL,
        "reranker.model_name": M.MODEL,
        "llm.request.model_name": M.MODEL,
        "llm.provider": M.PROVIDER,
        "llm.system": M.PROVIDER,
        "llm.token_count.prompt": M.INPUT,
        "llm.token_count.completion": M.OUTPUT,
        "llm.token_count.total": M.TOTAL,
        "llm.token_count.prompt_details.cache_read": M.CACHED,
        "llm.token_count.prompt_details.cache_input": M.CACHED,
        "llm.token_count.prompt_details.cache_write": M.WRITTEN,
        "llm.token_count.completion_details.reasoning": M.REASONING,
        "llm.token_count.prompt_details.audio": M.AUDIO_INPUT,
        "llm.token_count.completion_details.audio": M.AUDIO_OUTPUT,
        "llm.cost.total": M.COST,
        "llm.cost.prompt": M.COST_PART,
        "llm.cost.completion": M.COST_PART,
        "llm.invocation_parameters.service_tier": M.TIER,
        "agent.name": M.AGENT,
        "tool.name": M.TOOL,
    },
    roles={
        "openinference.span.kind": {
            **dict.fromkeys(("LLM", "EMBEDDING"), R.CALL),
            "TOOL": R.TOOL,
            **dict.fromkeys(
                ("AGENT", "CHAIN", "RETRIEVER", "GUARDRAIL", "EVALUATOR", "PROMPT", "UNKNOWN"),
                R.OTHER,
            ),
        }
    },
)
LANGFUSE_SDK: Final = Convention(
    "Langfuse",
    "langfuse 3 to 5 for Python",
    SEEN,
    names={
        "langfuse.observation.model.name": M.MODEL,
        f"{LANGFUSE}prompt_tokens": M.INPUT,
        f"{LANGFUSE}input_tokens": M.INPUT,
        f"{LANGFUSE}input": M.INPUT,
        f"{LANGFUSE}completion_tokens": M.OUTPUT,
        f"{LANGFUSE}output_tokens": M.OUTPUT,
        f"{LANGFUSE}output": M.OUTPUT,
        f"{LANGFUSE}total_tokens": M.TOTAL,
        f"{LANGFUSE}total": M.TOTAL,
        # As the provider has it, under its details: in the whole.
        f"{LANGFUSE}prompt_tokens_details.cached_tokens": M.CACHED,
        f"{LANGFUSE}input_tokens_details.cached_tokens": M.CACHED,
        f"{LANGFUSE}completion_tokens_details.reasoning_tokens": M.REASONING,
        f"{LANGFUSE}output_tokens_details.reasoning_tokens": M.REASONING,
        f"{LANGFUSE}prompt_tokens_details.audio_tokens": M.AUDIO_INPUT,
        f"{LANGFUSE}completion_tokens_details.audio_tokens": M.AUDIO_OUTPUT,
        f"{LANGFUSE}cache_creation.ephemeral_5m_input_tokens": M.WRITTEN_5M,
        f"{LANGFUSE}cache_creation.ephemeral_1h_input_tokens": M.WRITTEN_1H,
        **{
            f"{LANGFUSE}{name}": meaning
            for name, meaning in {
                "cache_read_input_tokens": M.CACHED,
                "input_cached_tokens": M.CACHED,
                "input_cache_read": M.CACHED,
                "cache_creation_input_tokens": M.WRITTEN,
                "input_cache_creation": M.WRITTEN,
                "input_cache_write": M.WRITTEN,
                "input_cache_creation_5m": M.WRITTEN_5M,
                "cache_creation_ephemeral_5m_input_tokens": M.WRITTEN_5M,
                "input_cache_creation_1h": M.WRITTEN_1H,
                "cache_creation_ephemeral_1h_input_tokens": M.WRITTEN_1H,
                "output_reasoning": M.REASONING,
                "output_reasoning_tokens": M.REASONING,
                "input_audio": M.AUDIO_INPUT,
                "input_audio_tokens": M.AUDIO_INPUT,
                "output_audio": M.AUDIO_OUTPUT,
                "output_audio_tokens": M.AUDIO_OUTPUT,
            }.items()
        },
        "langfuse.observation.cost_details.total": M.COST,
        "langfuse.observation.cost_details.input": M.COST_PART,
        "langfuse.observation.cost_details.output": M.COST_PART,
        "langfuse.user.id": M.USER,
        "langfuse.session.id": M.SESSION,
    },
    # Its own kinds exclude each other.
    counted={
        f"{LANGFUSE}{name}": BESIDE
        for name in (
            "cache_read_input_tokens",
            "input_cached_tokens",
            "input_cache_read",
            "cache_creation_input_tokens",
            "input_cache_creation",
            "input_cache_write",
            "input_cache_creation_5m",
            "cache_creation_ephemeral_5m_input_tokens",
            "input_cache_creation_1h",
            "cache_creation_ephemeral_1h_input_tokens",
            "cache_creation.ephemeral_5m_input_tokens",
            "cache_creation.ephemeral_1h_input_tokens",
            "output_reasoning",
            "output_reasoning_tokens",
        )
    },
    roles={
        "langfuse.observation.type": {
            **dict.fromkeys(("generation", "embedding"), R.CALL),
            "tool": R.TOOL,
            **dict.fromkeys(
                ("span", "event", "agent", "chain", "retriever", "evaluator", "guardrail"), R.OTHER
            ),
        }
    },
)
LITELLM: Final = Convention(
    "LiteLLM",
    "litellm 1.80 to 1.110, callback `otel`",
    SEEN,
    names={
        "gen_ai.cost.total_cost": M.COST,
        "litellm.cost.total": M.COST,
        "litellm.cost.usd": M.COST,
        "hidden_params.response_cost": M.COST,
        "gen_ai.cost.input_cost": M.COST_PART,
        "gen_ai.cost.output_cost": M.COST_PART,
        "litellm.cost.input": M.COST_PART,
        "litellm.cost.output": M.COST_PART,
        "litellm.cache_hit": M.CACHE_HIT,
        "llm.token.counts.prompt": M.INPUT,
        "llm.token.counts.completion": M.OUTPUT,
        "llm.token.counts.total": M.TOTAL,
        "litellm.provider.model": M.MODEL,
        "gen_ai.response_id": M.RESPONSE_ID,
        "litellm.end_user.id": M.USER,
        "metadata.user_api_key_end_user_id": M.USER,
        "metadata.user_api_key_user_id": M.USER,
    },
)

# Not of spans, but of the payloads of its callback `generic_api`: members of members by points.
USED_BY_LITELLM: Final = "metadata.usage_object."
LITELLM_PAYLOAD: Final = Convention(
    "LiteLLM",
    "litellm 1.80 to 1.110, StandardLoggingPayload",
    SEEN,
    names={
        "model": M.MODEL,
        "model_group": M.MODEL,
        "custom_llm_provider": M.PROVIDER,
        "prompt_tokens": M.INPUT,
        "completion_tokens": M.OUTPUT,
        f"{USED_BY_LITELLM}prompt_tokens_details.cached_tokens": M.CACHED,
        f"{USED_BY_LITELLM}cache_read_input_tokens": M.CACHED,
        f"{USED_BY_LITELLM}prompt_tokens_details.cache_write_tokens": M.WRITTEN,
        f"{USED_BY_LITELLM}prompt_tokens_details.cache_creation_tokens": M.WRITTEN,
        f"{USED_BY_LITELLM}cache_creation_input_tokens": M.WRITTEN,
        f"{USED_BY_LITELLM}prompt_tokens_details.cache_creation_token_details"
        ".ephemeral_5m_input_tokens": M.WRITTEN_5M,
        f"{USED_BY_LITELLM}prompt_tokens_details.cache_creation_token_details"
        ".ephemeral_1h_input_tokens": M.WRITTEN_1H,
        f"{USED_BY_LITELLM}cache_creation.ephemeral_5m_input_tokens": M.WRITTEN_5M,
        f"{USED_BY_LITELLM}cache_creation.ephemeral_1h_input_tokens": M.WRITTEN_1H,
        f"{USED_BY_LITELLM}completion_tokens_details.reasoning_tokens": M.REASONING,
        f"{USED_BY_LITELLM}prompt_tokens_details.audio_tokens": M.AUDIO_INPUT,
        f"{USED_BY_LITELLM}prompt_tokens_details.image_tokens": M.IMAGE_INPUT,
        f"{USED_BY_LITELLM}completion_tokens_details.audio_tokens": M.AUDIO_OUTPUT,
        f"{USED_BY_LITELLM}completion_tokens_details.image_tokens": M.IMAGE_OUTPUT,
        f"{USED_BY_LITELLM}server_tool_use.web_search_requests": M.WEB_SEARCHES,
        f"{USED_BY_LITELLM}prompt_tokens_details.web_search_requests": M.WEB_SEARCHES,
        "cost_breakdown.service_tier": M.TIER,
        f"{USED_BY_LITELLM}service_tier": M.TIER,
        "model_parameters.service_tier": M.TIER,
        "response_cost": M.COST,
        "cache_hit": M.CACHE_HIT,
        "end_user": M.USER,
        "metadata.user_api_key_end_user_id": M.USER,
        "metadata.user_api_key_user_id": M.USER,
        "session_id": M.SESSION,
        "trace_id": M.SESSION,
        "metadata.user_api_key_alias": M.AGENT,
        "user_agent": M.USER_AGENT,
    },
)
