"""Names of the conventions, old and new, and of the SDKs that follow them. Pure."""

from datetime import date
from typing import Final

from opslog.telemetry.conventions.meanings import Convention, Counting, Meaning, Role

M, R = Meaning, Role
BESIDE, RAW = Counting.BESIDE, Counting.BY_PROVIDER
SEEN: Final = date(2026, 11, 28)
USAGE: Final = "gen_ai.usage."

TOLLGATE: Final = Convention(
    "Tollgate",
    "1",
    SEEN,
    names={
        "tollgate.cost_usd": M.COST,
        "tollgate.user_id": M.USER,
        "tollgate.session_id": M.SESSION,
        "tollgate.agent_name": M.AGENT,
        "tollgate.surface": M.SURFACE,
        "tollgate.feature": M.FEATURE,
        "tollgate.trigger_type": M.TRIGGER,
        "tollgate.wo_id": M.WORK_ORDER,
        "tollgate.work_order_id": M.WORK_ORDER,
        "tollgate.run_id": M.RUN,
        "tollgate.user_agent": M.USER_AGENT,
        "tollgate.retries": M.RETRIES,
    },
)
OPENTELEMETRY: Final = Convention(
    "OpenTelemetry, generative AI",
    "semantic conventions 1.36 to 1.41, opentelemetry-util-genai 1.3b0",
    SEEN,
    names={
        "gen_ai.response.model": M.MODEL,
        "gen_ai.request.model": M.MODEL,
        "gen_ai.provider.name": M.PROVIDER,
        "gen_ai.response.id": M.RESPONSE_ID,
        f"{USAGE}input_tokens": M.INPUT,
        f"{USAGE}output_tokens": M.OUTPUT,
        f"{USAGE}total_tokens": M.TOTAL,
        f"{USAGE}cache_read.input_tokens": M.CACHED,
        f"{USAGE}cache_creation.input_tokens": M.WRITTEN,
        f"{USAGE}cache_write.input_tokens": M.WRITTEN,
        f"{USAGE}reasoning.output_tokens": M.REASONING,
        f"{USAGE}audio.input_tokens": M.AUDIO_INPUT,
        f"{USAGE}audio.cache_read.input_tokens": M.CACHED_AUDIO,
        f"{USAGE}audio.output_tokens": M.AUDIO_OUTPUT,
        f"{USAGE}image.input_tokens": M.IMAGE_INPUT,
        f"{USAGE}image.output_tokens": M.IMAGE_OUTPUT,
        "openai.response.service_tier": M.TIER,
        "gen_ai.response.service_tier": M.TIER,
        "gen_ai.openai.response.service_tier": M.TIER,
        "openai.request.service_tier": M.TIER,
        "gen_ai.request.service_tier": M.TIER,
        "gen_ai.openai.request.service_tier": M.TIER,
        "user.id": M.USER,
        "enduser.id": M.USER,
        "gen_ai.user.id": M.USER,
        "gen_ai.conversation.id": M.SESSION,
        "session.id": M.SESSION,
        "gen_ai.agent.name": M.AGENT,
        "service.name": M.SURFACE,
        "user_agent.original": M.USER_AGENT,
        "gen_ai.tool.name": M.TOOL,
    },
    roles={
        "gen_ai.operation.name": {
            **dict.fromkeys(("chat", "text_completion", "generate_content", "embeddings"), R.CALL),
            "execute_tool": R.TOOL,
            # Says what something would cost; nobody is paid for it.
            **dict.fromkeys(("count_tokens", "countTokens"), R.UNPAID),
        }
    },
)
OLDER: Final = Convention(
    "OpenTelemetry and OpenLLMetry, as they were",
    "semantic conventions 1.27 to 1.35, opentelemetry-semantic-conventions-ai 0.4.3 to 0.5.1",
    SEEN,
    names={
        "gen_ai.system": M.PROVIDER,
        f"{USAGE}prompt_tokens": M.INPUT,
        f"{USAGE}completion_tokens": M.OUTPUT,
        f"{USAGE}cache_read_input_tokens": M.CACHED,
        f"{USAGE}cache_read_tokens": M.CACHED,
        f"{USAGE}cached_input_tokens": M.CACHED,
        f"{USAGE}cached_tokens": M.CACHED,
        f"{USAGE}prompt_tokens_details.cached_tokens": M.CACHED,
        f"{USAGE}input_tokens_details.cached_tokens": M.CACHED,
        f"{USAGE}cache_creation_input_tokens": M.WRITTEN,
        f"{USAGE}cache_creation_tokens": M.WRITTEN,
        f"{USAGE}cache_write_input_tokens": M.WRITTEN,
        f"{USAGE}cache_write_tokens": M.WRITTEN,
        f"{USAGE}cache_creation.ephemeral_5m_input_tokens": M.WRITTEN_5M,
        f"{USAGE}cache_creation.ephemeral_1h_input_tokens": M.WRITTEN_1H,
        f"{USAGE}reasoning_tokens": M.REASONING,
        f"{USAGE}thinking_tokens": M.REASONING,
        f"{USAGE}thoughts_tokens": M.REASONING,
        f"{USAGE}thoughts_token_count": M.REASONING,
        f"{USAGE}completion_tokens_details.reasoning_tokens": M.REASONING,
        f"{USAGE}output_tokens_details.reasoning_tokens": M.REASONING,
        "llm.usage.prompt_tokens": M.INPUT,
        "llm.usage.completion_tokens": M.OUTPUT,
        "llm.usage.total_tokens": M.TOTAL,
        "llm.usage.cache_read_input_tokens": M.CACHED,
        "llm.usage.cache_creation_input_tokens": M.WRITTEN,
        "llm.usage.reasoning_tokens": M.REASONING,
        "llm.response.model": M.MODEL,
        "llm.request.model": M.MODEL,
        "llm.vendor": M.PROVIDER,
        "llm.user": M.USER,
        "gen_ai.user": M.USER,
        "traceloop.association.properties.user_id": M.USER,
        "traceloop.association.properties.userId": M.USER,
        "traceloop.association.properties.session_id": M.SESSION,
        "traceloop.association.properties.sessionId": M.SESSION,
        f"{USAGE}cost": M.COST,
        f"{USAGE}total_cost": M.COST,
    },
    counted=dict.fromkeys(
        (
            f"{USAGE}cache_read_input_tokens",
            f"{USAGE}cache_read_tokens",
            f"{USAGE}cache_creation_input_tokens",
            f"{USAGE}cache_creation_tokens",
            f"{USAGE}cache_write_input_tokens",
            f"{USAGE}cache_write_tokens",
            f"{USAGE}cache_creation.ephemeral_5m_input_tokens",
            f"{USAGE}cache_creation.ephemeral_1h_input_tokens",
            f"{USAGE}reasoning_tokens",
            f"{USAGE}thinking_tokens",
            f"{USAGE}thoughts_tokens",
            f"{USAGE}thoughts_token_count",
            "llm.usage.cache_read_input_tokens",
            "llm.usage.cache_creation_input_tokens",
            "llm.usage.reasoning_tokens",
        ),
        RAW,
    ),
    roles={
        "llm.request.type": dict.fromkeys(("chat", "completion", "embedding", "rerank"), R.CALL),
        "traceloop.span.kind": {
            "tool": R.TOOL,
            **dict.fromkeys(("workflow", "task", "agent", "session", "unknown"), R.OTHER),
        },
    },
)
ANTHROPIC: Final = Convention(
    "Anthropic's SDK",
    "anthropic 2.14 for Python",
    SEEN,
    names={
        "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": M.WRITTEN_5M,
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": M.WRITTEN_1H,
        "anthropic.response.service_tier": M.TIER,
    },
)
SENTRY: Final = Convention(
    "Sentry, AI agents",
    "sentry-conventions 2025-10",
    SEEN,
    names={
        f"{USAGE}input_tokens.cached": M.CACHED,
        f"{USAGE}input_tokens.cache_write": M.WRITTEN,
        f"{USAGE}output_tokens.reasoning": M.REASONING,
        "gen_ai.cost.total_tokens": M.COST,
    },
)
PYDANTIC: Final = Convention(
    "pydantic-ai and Logfire",
    "pydantic-ai 0.2 to 2.68",
    SEEN,
    names={
        f"{USAGE}details.cache_read_input_tokens": M.CACHED,
        f"{USAGE}details.cache_read_tokens": M.CACHED,
        f"{USAGE}details.cached_tokens": M.CACHED,
        f"{USAGE}details.cached_content_tokens": M.CACHED,
        f"{USAGE}details.cache_creation_input_tokens": M.WRITTEN,
        f"{USAGE}details.cache_write_tokens": M.WRITTEN,
        f"{USAGE}details.ephemeral_5m_input_tokens": M.WRITTEN_5M,
        f"{USAGE}details.ephemeral_1h_input_tokens": M.WRITTEN_1H,
        f"{USAGE}details.reasoning_tokens": M.REASONING,
        f"{USAGE}details.thoughts_tokens": M.REASONING,
        f"{USAGE}details.input_audio_tokens": M.AUDIO_INPUT,
        f"{USAGE}details.output_audio_tokens": M.AUDIO_OUTPUT,
        "operation.cost": M.COST,
    },
)
GOOGLE: Final = Convention(
    "Google's Agent Development Kit",
    "google-adk 1.25 and 2.13",
    SEEN,
    names={f"{USAGE}experimental.reasoning_tokens": M.REASONING},
    counted={f"{USAGE}experimental.reasoning_tokens": BESIDE},
)
