"""Real instrumentation libraries against real HTTP: a small model server, and Tollgate's own.

The prices are those of `PRICES`, in dollars per million tokens; every cost is worked out by hand.
What the model server says that it used: `model_server`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests import factories
from tests.api.harness import Api, api_service
from tests.telemetry_otlp import stacks
from tests.telemetry_otlp.model_server import model_server
from tests.telemetry_otlp.stacks import CLIENTS, run

PRICES: dict[str, dict[str, str]] = {
    "gpt-4o-mini": {"input": "0.15", "output": "0.60", "cached_input_per_mtok": "0.075"},
    "text-embedding-3-small": {"input": "0.02", "output": "0"},
    "claude-sonnet-4-5": {
        "input": "3",
        "output": "15",
        "cached_input_per_mtok": "0.30",
        "cache_write_per_mtok": "3.75",
        "cache_write_1h_per_mtok": "6",
    },
    "gemini-2.5-flash": {"input": "0.30", "output": "2.50", "cached_input_per_mtok": "0.03"},
}
# Model; input, cached, written for 5 minutes and an hour, output, reasoning tokens; dollars.
# 400 × 0.15 + 600 × 0.075 + 200 × 0.60 = 60 + 45 + 120 = 225 millionths
MINI = ("gpt-4o-mini", 1000, 600, 0, 0, 200, 50, Decimal("0.000225"))
# Without what was cached: 1,000 × 0.15 + 200 × 0.60 = 150 + 120 = 270
MINI_UNCACHED = ("gpt-4o-mini", 1000, 0, 0, 0, 200, 0, Decimal("0.000270"))
# 1,000 × 0.02 = 20
EMBEDDING = ("text-embedding-3-small", 1000, 0, 0, 0, 0, 0, Decimal("0.000020"))
# 300 × 3 + 600 × 0.30 + 60 × 3.75 + 40 × 6 + 200 × 15 = 900 + 180 + 225 + 240 + 3,000 = 4,545
CLAUDE = ("claude-sonnet-4-5", 1000, 600, 60, 40, 200, 0, Decimal("0.004545"))
# 400 × 0.30 + 600 × 0.03 + 200 × 2.50 = 120 + 18 + 500 = 638; the 50 thoughts are output
GEMINI = ("gemini-2.5-flash", 1000, 600, 0, 0, 200, 50, Decimal("0.000638"))

CALLS = """
SELECT model, input_tokens, cached_input_tokens, cache_write_tokens, cache_write_1h_tokens,
    output_tokens, reasoning_tokens, cost_usd
FROM inference_events WHERE feature = %s ORDER BY model, cost_usd
"""
USERS = "SELECT DISTINCT user_id FROM inference_events WHERE feature = %s"
TOOLS = "SELECT tool_name, success, user_id FROM tool_calls WHERE feature = %s"
ASKED = """
SELECT count(*) FROM tool_calls t JOIN inference_events e ON e.event_id = t.inference_event_id
WHERE t.feature = %s
"""
UNREAD = "SELECT scope, span_name, names FROM telemetry_unread"


@dataclass(frozen=True)
class Stack:
    calls: list[tuple[Any, ...]]
    tools: int = 0
    user: str = "u-1"


STACKS = {
    # It does not pass on what was cached.
    "openai_v2": Stack([MINI_UNCACHED, EMBEDDING]),
    # Anthropic's SDK makes a span beside OpenLLMetry's, of the same response.
    "openllmetry": Stack([CLAUDE, MINI, MINI, EMBEDDING]),
    # …and within OpenInference's.
    "openinference_sdk": Stack([CLAUDE, MINI, MINI, EMBEDDING]),
    "pydantic_agent": Stack([CLAUDE, CLAUDE, MINI, MINI], tools=2),
    "google_agent": Stack([GEMINI, GEMINI], tools=1),
    "langfuse_sdk": Stack([MINI], user="u-lf"),
    **({"ai_sdk": Stack([MINI, MINI], tools=1, user="u-js")} if stacks.NODE else {}),
}


@pytest.fixture(scope="module")
def api(pristine_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    with api_service(pristine_database, django_db_blocker) as running:
        with factories.inside(running.service.database, django_db_blocker):
            for model, price in PRICES.items():
                since = datetime(2021, 1, 1, tzinfo=UTC)  # later than the harness's own
                factories.make_price(model, effective_from=since, **price)
        yield running


@pytest.fixture(scope="module")
def models() -> Iterator[str]:
    with model_server() as url:
        yield url


@pytest.mark.parametrize("name", STACKS)
def test_a_stack(api: Api, models: str, name: str) -> None:
    stack = STACKS[name]
    env = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": api.service.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={api.tokens['ingest']}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_RESOURCE_ATTRIBUTES": f"tollgate.feature={name},tollgate.user_id=u-1",
        "OPENAI_BASE_URL": f"{models}/v1",
        "ANTHROPIC_BASE_URL": models,
        "GOOGLE_GEMINI_BASE_URL": models,
        "LANGFUSE_HOST": models,
        **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY"), "none"),
    }
    if name == "ai_sdk":
        run(str(stacks.NODE), str(stacks.node() / "ai_sdk.mjs"), env=env)
    else:
        run(str(stacks.python()), str(CLIENTS / f"{name}.py"), env=env)
    assert api.sql(CALLS, name) == sorted(stack.calls, key=lambda call: (call[0], call[-1]))
    assert api.sql(USERS, name) == [(stack.user,)]
    assert api.sql(TOOLS, name) == [("weather", True, stack.user)] * stack.tools
    assert api.sql(ASKED, name) == [(stack.tools,)]
    assert api.sql(UNREAD) == []
    assert api.errors() == []


def test_what_a_library_says_that_it_cost_is_kept_beside(api: Api) -> None:
    """pydantic-ai has a price book of its own, and says so on the span around Anthropic's."""
    result = api.sql(
        "SELECT DISTINCT model, sender_cost_usd FROM inference_events"
        " WHERE feature = 'pydantic_agent' ORDER BY 1"
    )
    assert result == [
        ("claude-sonnet-4-5", Decimal("0.004545")),
        ("gpt-4o-mini", Decimal("0.000225")),
    ]
