"""What each part of a usage costs, and what has no price: figures worked out by hand."""

from decimal import Decimal
from typing import Any

import pytest

from opslog.pricing import Usage
from opslog.pricing.price import LongContext, Rates, TierPrice, service_tiers, tool_prices
from tests.prices.factories import price

D = Decimal
ALL_KINDS: dict[str, Any] = {
    "input": "3",
    "output": "15",
    "cached_input_per_mtok": D("0.3"),
    "cache_write_per_mtok": D("3.75"),
    "cache_write_1h_per_mtok": D(6),
    "audio_input_per_mtok": D(30),
    "cached_audio_input_per_mtok": D("2.5"),
    "audio_output_per_mtok": D(60),
    "image_input_per_mtok": D(5),
    "image_output_per_mtok": D(40),
    "tool_prices": {"web_search": D("0.01"), "free_tool": D(0)},
    "service_tiers": {
        "batch": TierPrice(factor=D("0.5")),
        "priority": TierPrice(rates=Rates(input_per_mtok=D(6), output_per_mtok=D(30))),
    },
}
TEXT_ONLY: dict[str, Any] = {"input": "3", "output": "15"}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        # 100,000 × $3.75 + 1,000 × $15 a million: 0.375 + 0.015
        (Usage(100_000, 1_000, cache_write_tokens=100_000), "0.39"),
        # 100,000 × $6 + 1,000 × $15: 0.6 + 0.015
        (Usage(100_000, 1_000, cache_write_1h_tokens=100_000), "0.615"),
        # 2,000 × 3 + 5,000 × 0.3 + 2,000 × 3.75 + 1,000 × 6 + 400 × 15
        # = 0.006 + 0.0015 + 0.0075 + 0.006 + 0.006
        (
            Usage(
                10_000,
                400,
                cached_input_tokens=5_000,
                cache_write_tokens=2_000,
                cache_write_1h_tokens=1_000,
            ),
            "0.027",
        ),
        # 300 text × 3 + 100 cached text × 0.3 + 400 audio × 30 + 50 cached audio × 2.5
        # + 150 image × 5 = 0.0009 + 0.00003 + 0.012 + 0.000125 + 0.00075 = 0.013805
        # output: 20 text × 15 + 30 reasoning × 15 + 100 audio × 60 + 50 image × 40
        # = 0.0003 + 0.00045 + 0.006 + 0.002 = 0.00875
        (
            Usage(
                1_000,
                200,
                cached_input_tokens=150,
                audio_input_tokens=450,
                cached_audio_input_tokens=50,
                image_input_tokens=150,
                reasoning_tokens=30,
                audio_output_tokens=100,
                image_output_tokens=50,
            ),
            "0.022555",
        ),
        # half of 1,000 × 3 + 100 × 15 = 0.0045
        (Usage(1_000, 100, service_tier="batch"), "0.00225"),
        # 1,000 × 6 + 100 × 30, cached at the tier's input: no cheaper price is stated
        (Usage(1_000, 100, cached_input_tokens=500, service_tier="priority"), "0.009"),
        # three searches at a cent each; the tier is for tokens: 0.00225 + 0.03
        (
            Usage(1_000, 100, service_tier="batch", tool_calls={"web_search": 3, "free_tool": 9}),
            "0.03225",
        ),
        (Usage(0, 0, tool_calls={"web_search": 2}), "0.02"),
    ],
)
def test_every_part_at_its_price(usage: Usage, expected: str) -> None:
    assert price(**ALL_KINDS).cost(usage) == D(expected)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(10, 0, cache_write_1h_tokens=1),
        Usage(10, 0, audio_input_tokens=1),
        Usage(10, 0, cached_input_tokens=1, audio_input_tokens=1, cached_audio_input_tokens=1),
        Usage(0, 10, audio_output_tokens=1),
        Usage(10, 0, image_input_tokens=1),
        Usage(0, 10, image_output_tokens=1),
        Usage(10, 0, service_tier="batch"),
        Usage(10, 0, service_tier="scale"),
        Usage(10, 0, tool_calls={"web_search": 1}),
    ],
)
def test_what_a_row_cannot_price_is_never_cheaper(usage: Usage) -> None:
    assert price(**TEXT_ONLY).cost(usage) is None


def test_tools_that_were_not_called_need_no_price() -> None:
    # 10 × $3 a million
    assert price(**TEXT_ONLY).cost(Usage(10, 0, tool_calls={"web_search": 0})) == D("0.00003")


def test_prices_of_a_tier_are_not_for_a_long_context() -> None:
    above = (LongContext(above_input_tokens=100, input_per_mtok=D(6)),)
    row = price(**{**ALL_KINDS, "tiers": above})
    # 100 × 6 of the tier; a factor follows the long context: 101 × 6 / 2
    assert row.cost(Usage(100, 0, service_tier="priority")) == D("0.0006")
    assert row.cost(Usage(101, 0, service_tier="priority")) is None
    assert row.cost(Usage(101, 0, service_tier="batch")) == D("0.000303")


@pytest.mark.parametrize(
    ("usage", "field"),
    [
        ({"cached_input_tokens": 5, "cache_write_1h_tokens": 6}, "inputTokens"),
        ({"cache_write_tokens": 5, "cache_write_1h_tokens": 6}, "inputTokens"),
        ({"audio_input_tokens": 6, "image_input_tokens": 5}, "inputTokens"),
        # of 8 cached and 4 audio tokens at least 2 are both
        ({"cached_input_tokens": 8, "audio_input_tokens": 4}, "inputTokens"),
        ({"cached_input_tokens": 1, "cached_audio_input_tokens": 2}, "cachedAudioInputTokens"),
        ({"audio_input_tokens": 1, "cached_audio_input_tokens": 1}, "cachedAudioInputTokens"),
        ({"reasoning_tokens": 6, "audio_output_tokens": 5}, "outputTokens"),
        ({"image_output_tokens": 11}, "outputTokens"),
        ({"cache_write_1h_tokens": -1}, "cacheWrite1hTokens"),
        ({"tool_calls": {"web_search": -1}}, "toolCalls"),
    ],
)
def test_parts_that_cannot_be_name_their_field(usage: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: "):
        Usage(10, 10, **usage)


def test_the_same_part_may_be_cached_and_audio() -> None:
    usage = Usage(10, 0, cached_input_tokens=8, audio_input_tokens=4, cached_audio_input_tokens=2)
    assert usage.plain_input_tokens == 0


def test_the_body_leaves_out_what_says_nothing() -> None:
    assert Usage(3, 2).body() == {
        "inputTokens": 3,
        "cachedInputTokens": 0,
        "cacheWriteTokens": 0,
        "cacheWrite1hTokens": 0,
        "outputTokens": 2,
        "reasoningTokens": 0,
    }
    special = Usage(3, 2, image_input_tokens=1, service_tier="flex", tool_calls={"a": 1, "b": 0})
    assert special.body().items() >= {"imageInputTokens": 1, "serviceTier": "flex"}.items()
    assert special.body()["toolCalls"] == {"a": 1}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {"standard": {"factor": "1"}},
        {"batch": "0.5"},
        {"batch": {}},
        {"batch": {"factor": "-1"}},
        {"batch": {"factor": "x"}},
        {"batch": {"factor": "0.5", "input_per_mtok": "1"}},
        {"batch": {"input_per_mtok": "1"}},
        {"batch": {"factor": "0.5", "discount": "1"}},
        {"batch": {"factor": "0.5", "source": 7}},
        {" ": {"factor": "0.5"}},
    ],
)
def test_malformed_service_tiers_are_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=r"^service_tiers: "):
        service_tiers(raw)


@pytest.mark.parametrize("raw", [None, [], {"web_search": "x"}, {"a": -1}, {"": "1"}, {"a": None}])
def test_malformed_tool_prices_are_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=r"^tool_prices: "):
        tool_prices(raw)
