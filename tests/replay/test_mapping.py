"""Requests become pieces of work in the same way everywhere."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from budgets.demo.replay.engine import at_speed
from budgets.demo.replay.mapping import Mapping, output_limit
from budgets.demo.replay.trace import TraceRequest, read_trace
from budgets.demo.seeding import TRACE

MAPPING = Mapping(["a", "b", "c"], ["one", "two"])


def test_it_is_deterministic_uneven_and_uses_everything() -> None:
    requests = list(read_trace(TRACE, limit=1000))
    first = [MAPPING.piece(request) for request in requests]
    assert first == [MAPPING.piece(request) for request in requests]
    shares = Counter(piece.work_order_id for piece in first)
    assert shares["a"] > shares["b"] > shares["c"] > 0
    assert {piece.agent for piece in first} == {"one", "two"}
    assert MAPPING.piece(requests[0]).work_order_id == "a"


def test_a_tenant_is_always_the_same_agent() -> None:
    request = TraceRequest(2, datetime(2025, 3, 2, tzinfo=UTC), "deepseek-r1", 35, 31, 1372)
    later = replace(request, line=9, input_tokens=5)
    assert MAPPING.piece(request).agent == MAPPING.piece(later).agent == "two"


def test_a_renamed_model_has_a_price_and_can_be_overruled() -> None:
    request = next(iter(read_trace(TRACE)))
    assert MAPPING.piece(request).model == "gpt-4o"
    assert replace(MAPPING, model="own").piece(request).model == "own"


@pytest.mark.parametrize(
    ("tokens", "limit"), [(0, 256), (256, 256), (257, 1024), (1025, 4096), (31_277, 65_536)]
)
def test_the_reservation_is_for_what_the_model_may_write(tokens: int, limit: int) -> None:
    assert output_limit(tokens) == limit


def test_the_rhythm_of_the_trace_is_kept_at_speed() -> None:
    requests = list(read_trace(TRACE, limit=50))
    work = list(at_speed(requests, MAPPING, speed=10))
    took = (requests[-1].created_at - requests[0].created_at).total_seconds()
    assert work[0].due == 0
    assert work[-1].due == pytest.approx(took / 10)
