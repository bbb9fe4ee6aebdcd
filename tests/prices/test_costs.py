"""What a usage costs at a price: every token once, at its own rate."""

from decimal import Decimal
from typing import Any

import pytest

from opslog.pricing import Usage
from opslog.pricing.price import LongContext, long_context
from tests.prices.factories import price

D = Decimal
M = 1_000_000

PLAIN = {"input": "3", "output": "15"}
CACHED = {**PLAIN, "cached_input_per_mtok": D("0.3"), "cache_write_per_mtok": D("3.75")}
REASONING = {**PLAIN, "reasoning_per_mtok": D("4")}
LONG = {
    **CACHED,
    "tiers": (
        LongContext(
            above_input_tokens=200_000,
            input_per_mtok=D(6),
            output_per_mtok=D("22.5"),
            cached_input_per_mtok=D("0.6"),
        ),
        LongContext(above_input_tokens=500_000, input_per_mtok=D(9)),
    ),
}


@pytest.mark.parametrize(
    ("rates", "usage", "expected"),
    [
        (PLAIN, Usage(0, 0), "0"),
        (PLAIN, Usage(M, 0), "3"),
        (PLAIN, Usage(0, M), "15"),
        (PLAIN, Usage(1, 1), "0.000018"),
        # parts without a rate of their own cost what their whole costs
        (PLAIN, Usage(M, 0, cached_input_tokens=M), "3"),
        (PLAIN, Usage(M, 0, cache_write_tokens=M), "3"),
        (PLAIN, Usage(0, M, reasoning_tokens=M), "15"),
        # parts with one are taken out of the whole, not added to it
        (CACHED, Usage(M, 0, cached_input_tokens=M), "0.3"),
        (CACHED, Usage(M, 0, cached_input_tokens=400_000), "1.92"),
        (CACHED, Usage(M, 0, cache_write_tokens=M), "3.75"),
        (
            CACHED,
            Usage(M, 0, cached_input_tokens=500_000, cache_write_tokens=500_000),
            "2.025",
        ),
        (REASONING, Usage(0, M, reasoning_tokens=M), "4"),
        (REASONING, Usage(0, M, reasoning_tokens=250_000), "12.25"),
        # above the threshold everything costs the higher price; at it, nothing does
        (LONG, Usage(200_000, 100_000), "2.1"),
        (LONG, Usage(200_001, 100_000), "3.450006"),
        (LONG, Usage(300_000, 0, cached_input_tokens=300_000), "0.18"),
        (LONG, Usage(300_000, 0, cache_write_tokens=300_000), "1.125"),
        # a higher tier that is silent on output keeps the output price of the one below
        (LONG, Usage(600_000, 100_000), "7.65"),
        # a rate of 0 is a rate
        (
            {**PLAIN, "cached_input_per_mtok": D(0)},
            Usage(M, 0, cached_input_tokens=M),
            "0",
        ),
        ({**PLAIN, "reasoning_per_mtok": D(0)}, Usage(0, M, reasoning_tokens=M), "0"),
        ({"input": "0", "output": "0"}, Usage(M, M), "0"),
        # rounded once, at the end, half to even, to a billionth of a dollar
        ({"input": "0.0005", "output": "0"}, Usage(1, 0), "0"),
        ({"input": "0.0005", "output": "0"}, Usage(3, 0), "0.000000002"),
        ({"input": "0.0004", "output": "0.0004"}, Usage(1, 1), "0.000000001"),
    ],
)
def test_cost(rates: dict[str, Any], usage: Usage, expected: str) -> None:
    cost = price(**rates).cost(usage)
    assert cost == D(expected)
    assert cost.as_tuple().exponent == -9


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": -1, "output_tokens": 0},
        {"input_tokens": 0, "output_tokens": -1},
        {"input_tokens": 10, "output_tokens": 0, "cached_input_tokens": 11},
        {"input_tokens": 10, "output_tokens": 0, "cached_input_tokens": -1},
        {"input_tokens": 10, "output_tokens": 0, "cache_write_tokens": 11},
        {
            "input_tokens": 10,
            "output_tokens": 0,
            "cached_input_tokens": 6,
            "cache_write_tokens": 5,
        },
        {"input_tokens": 0, "output_tokens": 10, "reasoning_tokens": 11},
        {"input_tokens": 0, "output_tokens": 10, "reasoning_tokens": -1},
    ],
)
def test_parts_never_exceed_their_whole(usage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"never negative|more than the whole"):
        Usage(**usage)


def test_tiers_are_read_from_json_in_ascending_order() -> None:
    raw = [
        {"above_input_tokens": 500_000, "input_per_mtok": "9"},
        {
            "above_input_tokens": 200_000,
            "input_per_mtok": "6",
            "output_per_mtok": "22.5",
        },
    ]
    assert long_context(raw) == (
        LongContext(above_input_tokens=200_000, input_per_mtok=D(6), output_per_mtok=D("22.5")),
        LongContext(above_input_tokens=500_000, input_per_mtok=D(9)),
    )


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        "200000",
        [1],
        [{}],
        [{"above_input_tokens": "200000"}],
        [{"above_input_tokens": True}],
        [{"above_input_tokens": -1}],
        [{"above_input_tokens": 1, "input_per_mtok": "-1"}],
        [{"above_input_tokens": 1, "input_per_mtok": "NaN"}],
        [{"above_input_tokens": 1, "input_per_mtok": "a lot"}],
        [{"above_input_tokens": 1, "input_mtok": "1"}],
    ],
)
def test_malformed_tiers_are_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=r"^tiers: "):
        long_context(raw)
