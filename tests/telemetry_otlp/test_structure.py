"""Which spans count as calls, however the spans of a trace are spread over exports."""

import itertools
import random
from decimal import Decimal
from typing import Any

import pytest

from opslog.models import InferenceEvent, InferenceHour, StaleHour, TelemetryTrace
from opslog.principal import Principal
from opslog.telemetry import rollup, structure, traces
from opslog.telemetry.otlp import read_spans
from opslog.telemetry.otlp_bodies import from_json
from tests import factories
from tests.telemetry_otlp.spans import CHAT, FAILED, FETCH, NOW, TRACE, export, read, span

HTTP: dict[str, Any] = {"http.request.method": "POST"}
USED = {**CHAT, "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 2000}
WRAPPER = {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1000}
EMBED = {**WRAPPER, "gen_ai.operation.name": "embeddings"}


def tree(*spans: tuple[int, int, dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    """Spans by number, the number of the one around them (0: none) and their attributes."""
    return [
        span(item, spanId=f"{number:016x}", parentSpanId=f"{outer:016x}" if outer else "", **more)
        for number, outer, item in spans
    ]


def numbers(event_ids: Any) -> set[int]:
    return {int(event_id.partition(":")[2], 16) for event_id in event_ids}


TREES: list[tuple[list[tuple[int, int, dict[str, Any]]], set[int]]] = [
    # The ADK: a call, the span of the framework around it, the agent, its run.
    ([(1, 0, HTTP), (2, 1, AGENT), (3, 2, WRAPPER), (4, 3, USED), (5, 3, FETCH)], {4}),
    # A sum of two calls, and one more sum around it.
    ([(1, 0, AGENT), (2, 1, AGENT), (3, 2, USED), (4, 2, USED)], {3, 4}),
    # A sum without calls is all that is known.
    ([(1, 0, AGENT), (2, 1, HTTP), (3, 2, FETCH)], {1}),
    # Embeddings around embeddings, with something in between.
    ([(1, 0, EMBED), (2, 1, HTTP), (3, 2, EMBED)], {3}),
    # A call without usage in one with it: the one with it.
    ([(1, 0, USED), (2, 1, CHAT)], {1}),
    # Neither has usage: the innermost.
    ([(1, 0, CHAT), (2, 1, CHAT)], {2}),
    # An attempt that failed, and one that did not, below what tries again.
    ([(1, 0, USED), (2, 1, CHAT), (3, 1, USED)], {2, 3}),
    # A tool of a call asks models of its own.
    ([(1, 0, USED), (2, 1, FETCH), (3, 2, AGENT), (4, 3, USED)], {1, 4}),
    # …but an agent's sum holds what its tools used.
    ([(1, 0, AGENT), (2, 1, FETCH), (3, 2, USED)], {3}),
    # Around itself.
    ([(1, 2, USED), (2, 1, HTTP)], {1}),
]


@pytest.mark.parametrize(("spans", "expected"), TREES)
def test_a_call_is_the_innermost_span_with_usage(
    spans: list[tuple[int, int, dict[str, Any]]], expected: set[int]
) -> None:
    found = read(*tree(*spans))
    assert found.refused == []
    assert numbers(call.event_id for call in found.calls) == expected


def send(*spans: dict[str, Any], sender: int = 7) -> None:
    result = read_spans(from_json(export(*spans)))
    assert result.refused == []
    assert traces.write(result, principal=Principal(owner_id=sender)) == []


def written() -> set[int]:
    return numbers(InferenceEvent.objects.values_list("event_id", flat=True))


@pytest.mark.parametrize(("spans", "expected"), TREES)
def test_each_span_in_an_export_of_its_own_in_any_order(
    db: None, spans: list[tuple[int, int, dict[str, Any]]], expected: set[int]
) -> None:
    orders = list(itertools.permutations(spans))
    for number, order in enumerate(random.Random(7).sample(orders, min(len(orders), 12))):
        trace = f"{number + 1:032x}"
        for each in order:
            send(*tree(each, traceId=trace, **NOW))
        send(*tree(*order[:2], traceId=trace, **NOW))  # once more
        of_trace = InferenceEvent.objects.filter(event_id__startswith=f"{trace}:")
        assert numbers(of_trace.values_list("event_id", flat=True)) == expected, order


def test_late_calls_take_the_sum_back_from_the_hours(db: None) -> None:
    """The agent's sum of $0.30 is sent first, its two calls of $0.10 and $0.20 later."""
    paid = [{**USED, "gen_ai.usage.cost": cost} for cost in (0.3, 0.1, 0.2)]
    whole, first, second = tree((1, 0, paid[0]), (2, 1, paid[1]), (3, 1, paid[2]), **NOW)
    send(whole)
    rollup.refresh()
    assert InferenceHour.objects.get().cost_usd == Decimal("0.3")
    send(first)
    assert StaleHour.objects.exists()
    send(second)
    rollup.refresh()
    hours = InferenceHour.objects.all()
    assert sum(hour.requests for hour in hours) == 2
    assert sum(hour.cost_usd for hour in hours) == Decimal("0.3")


def of_response(response: str, trace: int, number: int, **more: Any) -> dict[str, Any]:
    data = {**USED, "gen_ai.response.id": response, **more}
    (made,) = tree((number, 0, data), traceId=f"{trace:032x}", **NOW)
    return made


def test_a_response_is_one_call(db: None) -> None:
    """In one export, in another export, in another trace; of each sender its own."""
    send(of_response("r1", 1, 1), of_response("r1", 1, 2), of_response("r2", 1, 3))
    assert written() == {1, 3}
    send(of_response("r1", 1, 4))
    send(of_response("r1", 2, 5), of_response("r3", 2, 6))
    assert written() == {1, 3, 6}
    send(of_response("r1", 3, 7), sender=8)
    assert written() == {1, 3, 6, 7}


def test_the_span_that_says_more_of_a_response_is_kept(db: None) -> None:
    """Two libraries instrument one client; the second knows the lifetime of what was cached."""
    send(of_response("r1", 1, 1, **{"user.id": "u"}))
    more = {
        "gen_ai.usage.cache_write.input_tokens": 100,
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 40,
    }
    send(of_response("r1", 2, 2, **more))
    event = InferenceEvent.objects.get()
    assert (event.cache_write_tokens, event.cache_write_1h_tokens) == (60, 40)
    send(of_response("r1", 1, 1))  # sent again
    assert written() == {2}
    # In one export, with what the other says of whose it is.
    first, second = of_response("r2", 3, 3, **{"user.id": "u"}), of_response("r2", 3, 4, **more)
    send(first, second)
    assert InferenceEvent.objects.get(event_id__endswith="4").user_id == "u"


def test_a_call_has_the_user_and_the_agent_of_the_spans_around_it() -> None:
    outer = {**AGENT, "gen_ai.agent.name": "planner", "user.id": "u-1", "tollgate.feature": "plan"}
    (call,) = read(*tree((1, 0, outer), (2, 1, HTTP), (3, 2, USED))).calls
    assert (call.agent_name, call.user_id, call.feature) == ("planner", "u-1", "plan")


def test_a_trace_without_calls_is_not_remembered(db: None) -> None:
    send(*tree((1, 0, HTTP), (2, 1, HTTP), (3, 2, FETCH), **NOW))
    assert not TelemetryTrace.objects.exists()
    send(*tree((4, 9, HTTP)))  # what is around it was not sent yet
    (row,) = TelemetryTrace.objects.all()
    assert row.trace_id == TRACE
    assert set(structure.unpack(bytes(row.nodes))) == {(4).to_bytes(8)}


def test_what_is_remembered_is_forgotten(db: None) -> None:
    send(of_response("r1", 1, 1))
    assert traces.forget() == 0
    TelemetryTrace.objects.update(changed_at="2025-01-01T00:00Z")
    assert traces.forget() == 1


def test_unknown_is_not_zero(db: None) -> None:
    """A call without usage; a cost of 0 with tokens and no hit of a cache; one with it."""
    factories.make_price(model="m")
    hit = {**USED, "gen_ai.usage.cost": 0, "litellm.cache_hit": True}
    send(
        *tree(
            (1, 0, CHAT),
            (2, 0, {**USED, "gen_ai.request.model": "no-such-model", "gen_ai.usage.cost": 0}),
            (3, 0, hit),
            **NOW,
        ),
        *tree((4, 0, CHAT), **NOW, **FAILED),
    )
    costs = dict(InferenceEvent.objects.values_list("event_id", "cost_usd"))
    assert {numbers([event]).pop(): cost for event, cost in costs.items()} == {
        1: None, 2: None, 3: Decimal(0), 4: None,
    }  # fmt: skip
