"""What imported prices make of a usage, by the providers' lists: figures worked out by hand."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from opslog.price_book.imported import bundled
from opslog.pricing import PriceBook, Usage

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SONNET = "claude-sonnet-4-5"  # $3 in, $0.30 cached, $3.75 and $6 written, $15 out


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook(1, bundled())


def usage(inputs: int, outputs: int, **parts: Any) -> Usage:
    return Usage(inputs, outputs, **parts)


@pytest.mark.parametrize(
    ("model", "used", "expected"),
    [
        # 100,000 × 3.75 + 1,000 × 15 a million; at the price of input it would be 0.315
        (SONNET, usage(100_000, 1_000, cache_write_tokens=100_000), "0.39"),
        # 100,000 × 6 + 1,000 × 15
        (SONNET, usage(100_000, 1_000, cache_write_1h_tokens=100_000), "0.615"),
        # above 200,000 input tokens the list has 12: 300,000 × 12; half of it in a batch
        (SONNET, usage(300_000, 0, cache_write_1h_tokens=300_000), "3.6"),
        (SONNET, usage(300_000, 0, cache_write_1h_tokens=300_000, service_tier="batch"), "1.8"),
        # half of every kind: (2,000 × 3 + 5,000 × 0.3 + 3,000 × 3.75 + 400 × 15) / 2
        # = (0.006 + 0.0015 + 0.01125 + 0.006) / 2
        (
            SONNET,
            usage(
                10_000,
                400,
                cached_input_tokens=5_000,
                cache_write_tokens=3_000,
                service_tier="batch",
            ),
            "0.012375",
        ),
        # $10 a thousand searches; fetching a page is free: 1,000 × 3 + 3 × 0.01
        (SONNET, usage(1_000, 0, tool_calls={"web_search": 3, "web_fetch": 5}), "0.033"),
        # the seller's own 10 % for a region: 1,000 × 6.60 written for an hour
        (
            "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            usage(1_000, 0, cache_write_1h_tokens=1_000),
            "0.0066",
        ),
        # genai-prices has no one-hour price there: twice the input of $3
        (
            "openrouter/anthropic/claude-sonnet-4",
            usage(1_000, 0, cache_write_1h_tokens=1_000),
            "0.006",
        ),
        # gpt-5: $1.25, $0.125 cached, $10: 6,000 × 1.25 + 2,000 × 0.125 + 1,000 × 10 = 0.01775
        ("gpt-5", usage(8_000, 1_000, cached_input_tokens=2_000), "0.01775"),
        (
            "gpt-5",
            usage(8_000, 1_000, cached_input_tokens=2_000, service_tier="flex"),
            "0.008875",
        ),
        (
            "gpt-5",
            usage(8_000, 1_000, cached_input_tokens=2_000, service_tier="priority"),
            "0.0355",
        ),
        # gpt-4o-mini at priority: $0.25, $0.125 cached, $1
        # 6,000 × 0.25 + 4,000 × 0.125 + 1,000 × 1 = 0.0015 + 0.0005 + 0.001
        (
            "gpt-4o-mini",
            usage(10_000, 1_000, cached_input_tokens=4_000, service_tier="priority"),
            "0.003",
        ),
        # 1.7 × (1,000 × 2.50 + 100 × 10) = 1.7 × 0.0035
        ("gpt-4o", usage(1_000, 100, service_tier="priority"), "0.00595"),
        # a dated name of it, half of 0.0035
        ("gpt-4o-2024-08-06", usage(1_000, 100, service_tier="batch"), "0.00175"),
        # fine-tuned, batch: $2.225 and $12.50: 1,000 × 2.225 + 100 × 12.5
        ("ft:gpt-4o-2024-08-06:acme::id", usage(1_000, 100, service_tier="batch"), "0.003475"),
        # never half of the list price: gpt-3.5-turbo-1106 has none of it
        ("gpt-3.5-turbo-1106", usage(1_000, 0, service_tier="batch"), "0.001"),
        # gpt-realtime: $4, $0.40 cached, audio $32, $0.40 cached, image $5; out $16, audio $64
        # 300 × 4 + 100 × 0.4 + 400 × 32 + 50 × 0.4 + 150 × 5 + 50 × 16 + 150 × 64 = 25,210
        (
            "gpt-realtime",
            usage(
                1_000,
                200,
                cached_input_tokens=150,
                audio_input_tokens=450,
                cached_audio_input_tokens=50,
                image_input_tokens=150,
                audio_output_tokens=150,
            ),
            "0.02521",
        ),
        # genai-prices lists its text alone; OpenAI's list has audio at $40 and $80
        # 900 × 2.5 + 100 × 40 + 10 × 80 = 2,250 + 4,000 + 800
        (
            "gpt-4o-audio-preview",
            usage(1_000, 10, audio_input_tokens=100, audio_output_tokens=10),
            "0.00705",
        ),
        # gemini-2.5-flash: $0.30, audio $1, cached audio $0.10, out $2.50
        # 400 × 0.3 + 500 × 1 + 100 × 0.1 + 100 × 2.5 = 120 + 500 + 10 + 250
        (
            "gemini-2.5-flash",
            usage(
                1_000,
                100,
                cached_input_tokens=100,
                audio_input_tokens=600,
                cached_audio_input_tokens=100,
            ),
            "0.00088",
        ),
        # one price for text and audio: 1,000 × 1.25
        ("gemini-2.5-pro", usage(1_000, 0, audio_input_tokens=700), "0.00125"),
        # 100 × 0.3 + 10 × 2.5 + 1,290 × 30 = 30 + 25 + 38,700
        ("gemini-2.5-flash-image", usage(100, 1_300, image_output_tokens=1_290), "0.038755"),
        # pictures that a chat model looks at are input: 1,000 × 2.50
        ("gpt-4o", usage(1_000, 0, image_input_tokens=800), "0.0025"),
        # 100 × 5 + 200 × 10 + 1,000 × 40 = 500 + 2,000 + 40,000
        (
            "gpt-image-1",
            usage(300, 1_000, image_input_tokens=200, image_output_tokens=1_000),
            "0.0425",
        ),
        # $14 a thousand searches: 1,000 × 2 + 0.014
        ("gemini-3-pro-preview", usage(1_000, 0, tool_calls={"web_search": 1}), "0.016"),
        ("deepseek/deepseek-r1:free", usage(1_000, 1_000, image_input_tokens=5), "0"),
    ],
)
def test_figures(book: PriceBook, model: str, used: Usage, expected: str) -> None:
    assert book.cost(model, used, NOON) == Decimal(expected)


@pytest.mark.parametrize(
    ("model", "used"),
    [
        # sold at other prices than text, and not listed
        ("gpt-4o", usage(10, 0, audio_input_tokens=1)),
        ("gpt-4o", usage(0, 10, audio_output_tokens=1)),
        ("openrouter/openai/gpt-audio", usage(10, 0, audio_input_tokens=1)),
        ("openrouter/google/gemini-2.5-flash", usage(10, 0, audio_input_tokens=1)),
        ("openrouter/google/gemini-3-pro-image", usage(0, 10, image_output_tokens=1)),
        ("gpt-4o-mini-tts", usage(0, 10, audio_output_tokens=1)),
        # no such terms on any list
        (SONNET, usage(10, 0, service_tier="priority")),
        (SONNET, usage(10, 0, service_tier="flex")),
        ("gpt-4o-mini", usage(10, 0, service_tier="flex")),
        ("gpt-5-nano", usage(10, 0, service_tier="priority")),
        ("groq/llama-3.3-70b-versatile", usage(10, 0, service_tier="flex")),
        ("mistral-large-latest", usage(10, 0, service_tier="batch")),
        ("gpt-5.6-sol", usage(10, 0, cache_write_1h_tokens=1)),
        # no price for a call of the tool
        ("gpt-5", usage(10, 0, tool_calls={"code_interpreter": 1})),
        ("mistral-large-latest", usage(10, 0, tool_calls={"web_search": 1})),
    ],
)
def test_what_no_list_has_is_unpriced(book: PriceBook, model: str, used: Usage) -> None:
    assert book.cost(model, usage(10, 10), NOON) is not None
    assert book.cost(model, used, NOON) is None


def test_one_hour_writes_cost_twice_the_input_of_every_claude(book: PriceBook) -> None:
    rows = [price for price in bundled() if "claude" in price.model]
    hours = [row for row in rows if row.cache_write_1h_per_mtok is not None]
    assert len(hours) > 100
    assert all(row.cache_write_1h_per_mtok == 2 * row.input_per_mtok for row in hours)


def test_service_tiers_say_where_they_come_from() -> None:
    tiers = [tier for price in bundled() for tier in price.service_tiers.values()]
    assert len(tiers) > 200
    assert all(tier.source and tier.as_of == "2026-11-28" for tier in tiers)
