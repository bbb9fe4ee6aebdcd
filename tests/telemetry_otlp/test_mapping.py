"""Which spans are ours, and what is read from them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from opslog.models import ToolHour
from opslog.price_book.imported import bundled
from opslog.pricing import PriceBook
from opslog.pricing.model_names import SELLS_MODELS_OF, key_of
from opslog.telemetry import rollup
from opslog.telemetry.accepting import accept_inference, accept_tools
from opslog.telemetry.otlp import BadExport, Spans, from_json, read_spans
from tests.telemetry_otlp.spans import (
    BEGAN,
    CHAT,
    CHILD,
    FAILED,
    FETCH,
    SPAN,
    TRACE,
    export,
    pairs,
    read,
    span,
)


@pytest.fixture(scope="module")
def bundled_book() -> PriceBook:
    return PriceBook(1, bundled())


def test_everything_that_is_told() -> None:
    run = "018f2f3e-7a0b-7c3d-9b1a-0a3a5f0f5f01"
    (call,) = read(
        span(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.cache_read.input_tokens": 800,
                "gen_ai.usage.cache_creation.input_tokens": 100,
                "gen_ai.usage.output_tokens": 150,
                "gen_ai.usage.reasoning.output_tokens": 90,
                "gen_ai.conversation.id": "s-1",
                "gen_ai.agent.name": "digest",
                "user.id": "u-1",
                "tollgate.trigger_type": "undo",
                "tollgate.wo_id": "w-1",
                "tollgate.run_id": run,
                "tollgate.cost_usd": 0.0125,
            }
        ),
        resource={"service.name": "editor", "tollgate.feature": "summary"},
    ).calls
    assert call.event_id == f"{TRACE}:{SPAN}"
    assert call.created_at == datetime(2025, 11, 26, 12, tzinfo=UTC)
    assert (call.model, call.feature, call.surface) == (
        "gpt-4o-mini-2024-07-18",
        "summary",
        "editor",
    )
    assert (call.input_tokens, call.cached_input_tokens, call.cache_write_tokens) == (
        1200,
        800,
        100,
    )
    assert (call.output_tokens, call.reasoning_tokens) == (150, 90)
    assert (call.session_id, call.agent_name, call.user_id) == ("s-1", "digest", "u-1")
    assert (call.trigger_type, call.work_order_id, call.run_id) == ("undo", "w-1", UUID(run))
    assert call.cost_usd == Decimal("0.0125")
    assert call.success


@pytest.mark.parametrize(
    ("attributes", "tokens"),
    [
        ({"gen_ai.usage.prompt_tokens": 5, "gen_ai.usage.completion_tokens": 6}, (5, 0, 0, 6, 0)),
        ({"gen_ai.usage.input_tokens": "7", "gen_ai.usage.output_tokens": 8.0}, (7, 0, 0, 8, 0)),
        (
            {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.cache_read_input_tokens": 4},
            (9, 4, 0, None, 0),
        ),
        # Counted beside the input: added. Counted in it: not.
        (
            {
                "gen_ai.usage.input_tokens": 10,
                "gen_ai.usage.cache_read.input_tokens": 90,
                "gen_ai.usage.cache_creation.input_tokens": 5,
            },
            (105, 90, 5, None, 0),
        ),
        (
            {"gen_ai.usage.output_tokens": 3, "gen_ai.usage.reasoning_tokens": 20},
            (None, 0, 0, 23, 20),
        ),
        # Input alone and output alone, with a total: the rest is the other side.
        (
            {"gen_ai.usage.input_tokens": 10_000, "gen_ai.usage.total_tokens": 10_500},
            (10_000, 0, 0, 500, 0),
        ),
        (
            {"gen_ai.usage.output_tokens": 500, "gen_ai.usage.total_tokens": 10_500},
            (10_000, 0, 0, 500, 0),
        ),
        # The rest is the whole input, with what is cached of it.
        (
            {
                "gen_ai.provider.name": "anthropic",
                "gen_ai.usage.output_tokens": 500,
                "gen_ai.usage.total_tokens": 10_500,
                "gen_ai.usage.cache_read_input_tokens": 4000,
            },
            (10_000, 4000, 0, 500, 0),
        ),
        # Thoughts beside the output are in the total: 10,000 + 400 + 100.
        (
            {
                "gen_ai.provider.name": "gcp.gemini",
                "gen_ai.usage.output_tokens": 400,
                "gen_ai.usage.reasoning_tokens": 100,
                "gen_ai.usage.total_tokens": 10_500,
            },
            (10_000, 0, 0, 500, 100),
        ),
        # A total below one of its sides, and parts alone, say nothing of the other.
        ({"gen_ai.usage.output_tokens": 500, "gen_ai.usage.total_tokens": 0}, (None, 0, 0, 500, 0)),
        (
            {"gen_ai.usage.cache_read_input_tokens": 4000, "gen_ai.usage.output_tokens": 500},
            (None, 0, 0, 500, 0),
        ),
        ({}, (None, 0, 0, None, 0)),
    ],
)
def test_old_and_new_names_of_tokens(
    attributes: dict[str, Any], tokens: tuple[int | None, ...]
) -> None:
    (call,) = read(span({"gen_ai.request.model": "m", **attributes})).calls
    assert (
        call.input_tokens,
        call.cached_input_tokens,
        call.cache_write_tokens,
        call.output_tokens,
        call.reasoning_tokens,
    ) == tokens


@pytest.mark.parametrize(
    ("attributes", "provider"),
    [
        ({"gen_ai.provider.name": "groq", "gen_ai.system": "openai"}, "groq"),
        ({"gen_ai.system": "groq"}, "groq"),
        ({}, None),
    ],
)
def test_the_provider(attributes: dict[str, Any], provider: str | None) -> None:
    (call,) = read(span({"gen_ai.request.model": "m", **attributes})).calls
    assert call.provider == provider


# The values of the conventions that the price book sells something of.
@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("groq", "llama-3.3-70b-versatile"),
        ("openai", "gpt-4o-mini"),
        ("azure.ai.openai", "gpt-4o-mini"),
        ("anthropic", "claude-3-5-haiku-20241022"),
        ("aws.bedrock", "amazon.nova-lite-v1:0"),
        ("gcp.vertex_ai", "gemini-2.5-flash"),
        ("gcp.gemini", "gemini-2.5-flash"),
        ("mistral_ai", "mistral-small-latest"),
        ("x_ai", "grok-3"),
        ("deepseek", "deepseek-chat"),
        ("cohere", "command-r"),
        ("cerebras", "llama3.1-8b"),
    ],
)
def test_a_provider_of_the_conventions_has_a_price(
    bundled_book: PriceBook, provider: str, model: str
) -> None:
    data = {"gen_ai.provider.name": provider, "gen_ai.request.model": model}
    (call,) = read(span(data)).calls
    price = bundled_book.find(call.model, datetime.now(UTC), provider=call.provider or "")
    assert price is not None
    told_by, _ = key_of(provider, "")
    assert price.provider in (told_by, *SELLS_MODELS_OF.get(told_by, ()))


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, "model"),
        # The template of a prompt; counting tokens; a session.
        ({"gen_ai.operation.name": "chat", "gen_ai.system": "openai"}, "none"),
        ({"gen_ai.operation.name": "count_tokens", "gen_ai.usage.input_tokens": 9}, "none"),
        ({"gen_ai.request.model": "m", "url.path": "/v1/messages/count_tokens"}, "none"),
        ({"gen_ai.operation.name": "session", "gen_ai.request.model": "m"}, "none"),
        ({"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "e"}, "model"),
        ({"gen_ai.system": "openai", "gen_ai.request.model": "m"}, "model"),
        ({"gen_ai.operation.name": "something_new", "gen_ai.usage.input_tokens": 1}, "model"),
        ({"gen_ai.operation.name": "something_new"}, "none"),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "m"}, "none"),
        # A sum of calls that nobody sent.
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 1}, "model"),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}, "tool"),
        ({"gen_ai.tool.name": "t"}, "tool"),
        ({"http.request.method": "GET"}, "none"),
        ({"db.system": "postgresql", "user.id": "u"}, "none"),
        ({}, "none"),
    ],
)
def test_which_spans_are_ours(attributes: dict[str, Any], kind: str) -> None:
    spans = read(span(attributes))
    found = (len(spans.calls), len(spans.tools), spans.ignored)
    assert found == {"model": (1, 0, 0), "tool": (0, 1, 0), "none": (0, 0, 1)}[kind]
    assert spans.refused == []


def test_a_tool_with_the_call_that_asked_for_it() -> None:
    spans = read(
        span({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}),
        span(
            {"gen_ai.operation.name": "execute_tool", "error.type": "timeout"},
            spanId=CHILD,
            parentSpanId=SPAN,
            name="execute_tool fetch",
        ),
    )
    (tool,) = spans.tools
    assert (tool.tool_name, tool.success, tool.duration_ms) == ("fetch", False, 2500)
    assert tool.inference_event_id == f"{TRACE}:{SPAN}"


def step(
    number: int, attributes: dict[str, Any], parent: int = 99, trace: str = TRACE, **more: Any
) -> dict[str, Any]:
    """A span that begins in that second and takes half of one."""
    begins = BEGAN + number * 10**9
    return span(
        attributes,
        traceId=trace,
        spanId=f"{number:016x}",
        parentSpanId=f"{parent:016x}",
        startTimeUnixNano=str(begins),
        endTimeUnixNano=str(begins + 5 * 10**8),
        **more,
    )


def asked(spans: Spans) -> list[tuple[int | None, int]]:
    """Of each tool: the number of the span that asked for it, and the attempts before it."""
    assert spans.refused == []
    return [
        (
            int(tool.inference_event_id.partition(":")[2], 16) if tool.inference_event_id else None,
            tool.retries,
        )
        for tool in sorted(spans.tools, key=lambda tool: tool.event_id or "")
    ]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        # The loop of an agent: each attempt was asked for by the call before it.
        (
            [step(1, CHAT), step(2, FETCH, **FAILED), step(3, CHAT), step(4, FETCH, **FAILED),
             step(5, CHAT), step(6, FETCH), step(7, CHAT), step(8, FETCH)],
            [(1, 0), (3, 1), (5, 2), (7, 0)],
        ),
        # …sent in the order in which the spans ended, or in any other
        ([step(4, FETCH), step(3, CHAT), step(2, FETCH, **FAILED), step(1, CHAT)],
         [(1, 0), (3, 1)]),
        # …without the calls of the model
        ([step(2, FETCH, **FAILED), step(4, FETCH)], [(None, 0), (None, 1)]),
        # Tools under the call that asked for them.
        ([step(1, CHAT), step(2, FETCH, 1, **FAILED), step(3, CHAT), step(4, FETCH, 3)],
         [(1, 0), (3, 1)]),
        # Under a span of the framework.
        ([step(1, CHAT), step(2, {}), step(3, FETCH, 2, **FAILED), step(4, CHAT), step(5, {}),
          step(6, FETCH, 5)], [(1, 0), (4, 1)]),
        # Not in another loop: of another parent, of another trace, of an agent within.
        ([step(1, CHAT, 98), step(2, FETCH, 98, **FAILED), step(4, FETCH)], [(1, 0), (None, 0)]),
        ([step(1, CHAT, trace="ab" * 16), step(2, FETCH, trace="ab" * 16, **FAILED),
          step(4, FETCH)], [(None, 0), (1, 0)]),
        ([step(1, CHAT), step(2, {"gen_ai.operation.name": "invoke_agent"}), step(3, FETCH, 2)],
         [(None, 0)]),
        # Another tool; one that did not fail; at the same time.
        ([step(2, FETCH, **FAILED), step(4, {"gen_ai.tool.name": "search"})],
         [(None, 0), (None, 0)]),
        ([step(2, FETCH), step(4, FETCH)], [(None, 0), (None, 0)]),
        # Embeddings ask for nothing.
        ([step(1, {"gen_ai.operation.name": "embeddings"}), step(2, FETCH)], [(None, 0)]),
        # What is reported wins.
        ([step(2, FETCH, **FAILED), step(4, {**FETCH, "tollgate.retries": 0})],
         [(None, 0), (None, 0)]),
        ([step(2, {**FETCH, "tollgate.retries": 3}, **FAILED), step(4, FETCH)],
         [(None, 3), (None, 4)]),
    ],
)  # fmt: skip
def test_loops(spans: list[dict[str, Any]], expected: list[tuple[int | None, int]]) -> None:
    assert asked(read(*spans)) == expected


@pytest.mark.django_db
def test_a_storm_that_no_exporter_tells_of_is_in_the_sums() -> None:
    paid = {**CHAT, "tollgate.cost_usd": 0.25}
    failing = [(step(2 * n, paid), step(2 * n + 1, FETCH, **FAILED)) for n in range(1, 5)]
    spans = read(*(each for both in failing for each in both))
    now = datetime(2025, 11, 26, 12, 1, tzinfo=UTC)
    accept_inference(spans.calls, source="otlp", now=now)
    accept_tools(spans.tools, now=now)
    rollup.refresh()
    sums = ToolHour.objects.get()
    assert (sums.calls, sums.failures, sums.retries) == (4, 4, 3)
    assert (sums.retry_requests, sums.retry_cost_usd) == (3, Decimal("0.75"))


def test_a_span_that_is_its_own_parent() -> None:
    assert asked(read(step(2, {}, 2), step(3, FETCH, 2))) == [(None, 0)]


def test_a_parent_that_is_no_call_of_a_model_is_not_taken_for_one() -> None:
    spans = read(
        span({"gen_ai.operation.name": "invoke_agent"}),
        span({"gen_ai.tool.name": "t"}, spanId=CHILD, parentSpanId=SPAN),
    )
    assert spans.tools[0].inference_event_id is None


@pytest.mark.parametrize(
    ("more", "worked"),
    [({}, True), ({"status": {"code": 1}}, True), ({"status": {"code": 2}}, False)],
)
def test_errors(more: dict[str, Any], worked: bool) -> None:
    (call,) = read(span({"gen_ai.request.model": "m"}, **more)).calls
    assert call.success is worked


def test_what_is_missing_stays_unknown() -> None:
    result = pairs({"gen_ai.system": "x", "gen_ai.usage.total_tokens": 9})
    (call,) = read({"traceId": TRACE, "spanId": SPAN, "attributes": result}).calls
    assert (call.model, call.created_at, call.feature, call.surface) == (
        "unknown",
        None,
        None,
        None,
    )
    assert call.cost_usd is None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (span({"gen_ai.request.model": "m"}, traceId="00" * 16), "traceId"),
        (span({"gen_ai.request.model": "m"}, spanId="abcd"), "spanId"),
        (span({"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": -1}), "input_tokens"),
        (span({"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": "many"}), "input_tokens"),
        (span({"gen_ai.request.model": "m", "gen_ai.usage.output_tokens": 1.5}), "output_tokens"),
        (span({"gen_ai.request.model": "m", "tollgate.run_id": "seven"}), "run_id"),
        (span({"gen_ai.request.model": "m", "tollgate.cost_usd": "NaN"}), "costUsd"),
        (span({"gen_ai.request.model": "m", "tollgate.wo_id": "x" * 101}), "workOrderId"),
        (span({"gen_ai.request.model": "m", "user.id": "a\x00b"}), "userId"),
    ],
)
def test_a_bad_span_is_named_and_the_others_are_taken(broken: dict[str, Any], message: str) -> None:
    spans = read(broken, span({"gen_ai.request.model": "m"}, spanId=CHILD))
    assert len(spans.calls) == 1
    (reason,) = spans.refused
    assert message in reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"\xff\xfe",
        b"{",
        b"[" * 100_000,
        b'{"resourceSpans": 7}',
        b'{"resourceSpans": [7]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": {}}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "x"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": 1e999}]}]}]}',
        export(span({"a": 1.5})).replace(b"1.5", b"9" * 400),
        export(span({"a": 1.5})).replace(b"1.5", b"9" * 9999),
    ],
)
def test_what_is_no_export(body: bytes) -> None:
    with pytest.raises(BadExport):
        from_json(body)


def test_long_descriptions_are_cut_and_the_call_is_kept() -> None:
    long = {
        "gen_ai.provider.name": "p" * 999,
        "user.id": "u" * 999,
        "session.id": "s" * 999,
        "gen_ai.agent.name": "a" * 999,
        "user_agent.original": "b" * 999,
        "tollgate.trigger_type": "t" * 999,
    }
    resource = {"service.name": "v" * 999, "tollgate.feature": "f" * 999}
    spans = read(
        span({"gen_ai.request.model": "m", **long}),
        span({"gen_ai.tool.name": "t", **long}, spanId=CHILD),
        resource=resource,
    )
    assert spans.refused == []
    (call,), (tool,) = spans.calls, spans.tools
    assert (call.user_id, call.session_id, call.agent_name) == ("u" * 200, "s" * 200, "a" * 200)
    assert (call.surface, call.feature, call.trigger_type) == ("v" * 100, "f" * 100, "t" * 100)
    assert call.user_agent == "b" * 500
    assert (tool.user_id, tool.session_id, tool.agent_name) == ("u" * 200, "s" * 200, "a" * 200)
    assert tool.feature == "f" * 100


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", '"NaN"', '"-Infinity"'])
@pytest.mark.parametrize("name", ["gen_ai.usage.input_tokens", "gen_ai.usage.cost"])
def test_a_number_that_is_none_refuses_its_span_alone(name: str, number: str) -> None:
    bad, good = span({"gen_ai.request.model": "m", name: 1.5}), span({"gen_ai.tool.name": "t"})
    spans = read_spans(from_json(export(bad, good).replace(b"1.5", number.encode())))
    assert (len(spans.calls), len(spans.tools), len(spans.refused)) == (0, 1, 1)


def test_an_endless_number_in_a_text_is_refused_unwritten() -> None:
    """To write it out would take all of the memory, or longer than a test may."""
    data = {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": "1e999999999"}
    assert "input_tokens" in read(span(data)).refused[0]


def test_unknown_fields_and_an_attribute_called_trace_id_are_left_alone() -> None:
    result = span({"gen_ai.request.model": "m", "traceId": "not hex"}, someday="new")
    assert len(read(result).calls) == 1
