"""The import against genai-prices itself: the same answer, offline, for what it can answer."""

import socket
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
from genai_prices.types import ModelPrice, TieredPrices

from opslog.price_book.imported import BEGINNING, assert_no_updates, bundled, rates_of, tier_of
from opslog.pricing import PriceBook, Usage
from opslog.pricing.money import usd

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SMALL = Usage(1_200, 350)
CACHED = Usage(50_000, 2_000, cached_input_tokens=45_000)
WRITTEN = Usage(50_000, 2_000, cached_input_tokens=20_000, cache_write_tokens=25_000)
REASONED = Usage(3_000, 9_000, reasoning_tokens=8_000)
LONG = Usage(300_001, 4_000, cached_input_tokens=100_000, reasoning_tokens=1_000)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook(1, bundled())


def theirs(name: str, provider: str | None, usage: Usage, at: datetime) -> Decimal | None:
    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cached_input_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                output_reasoning_tokens=usage.reasoning_tokens,
            ),
            name,
            provider_id=provider,
            genai_request_timestamp=at,
        )
    except LookupError:
        return None
    return usd(price.total_price)


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o",
        "gpt-4o-2024-05-13",
        "gpt-4o-2024-08-06",
        "gpt-4o-20240806",
        "gpt-4o-mini",
        "gpt-4.1",
        "gpt-4.1-nano",
        "gpt-4-turbo",
        "gpt-3.5-turbo",
        "gpt-5",
        "gpt-5-mini",
        "gpt-5-pro",
        "gpt-5.2-20251211",
        "o1",
        "o3",
        "o3-mini",
        "o4-mini",
        "claude-3-haiku-20240307",
        "claude-3-5-sonnet-20241022",
        "claude-3-7-sonnet-latest",
        "claude-sonnet-4-20250514",
        "claude-sonnet-4-5",
        "claude-opus-4-1-20250805",
        "claude-opus-4-5",
        "claude-haiku-4-5-20251001",
        "anthropic.claude-v2:1",
        "gemini-1.5-pro",
        "gemini-2.0-flash",
        "gemini-2.5-pro",
        "gemini-2.5-flash",
        "gemini-2.5-flash-lite",
        "mistral-large-latest",
        "mistral-small-latest",
        "open-mixtral-8x7b",
        "grok-3-mini",
        "grok-4",
        "command-r-plus",
        "kimi-k2.5",
        "glm-4.7",
        "MiniMax-M2",
    ],
)
def test_well_known_models_cost_what_genai_prices_says(name: str, book: PriceBook) -> None:
    for usage in (SMALL, CACHED, WRITTEN, REASONED, LONG):
        expected = theirs(name, None, usage, NOON)
        assert expected
        assert book.cost(name, usage, NOON) == expected


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("azure/gpt-4o", "azure", "gpt-4o"),
        ("azure:gpt-4.1", "azure", "gpt-4.1"),
        ("bedrock/amazon.nova-pro-v1:0", "aws", "amazon.nova-pro-v1:0"),
        ("vertex_ai/claude-opus-4-1@20250805", "google", "claude-opus-4-1@20250805"),
        ("gemini/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("groq/llama-3.3-70b-versatile", "groq", "llama-3.3-70b-versatile"),
        ("xai/grok-4", "x-ai", "grok-4"),
        ("openrouter/openai/gpt-4o", "openrouter", "openai/gpt-4o"),
        ("anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("ft:gpt-4o-mini-2024-07-18:us::1", "openai", "ft:gpt-4o-mini-2024-07-18:us::1"),
    ],
)
def test_a_provider_in_front_of_the_name(
    name: str, provider: str, model: str, book: PriceBook
) -> None:
    for usage in (SMALL, CACHED, LONG):
        expected = theirs(model, provider, usage, NOON)
        assert expected
        assert book.cost(name, usage, NOON) == expected


@pytest.mark.parametrize(
    ("name", "dates"),
    [
        ("o3", ["2025-06-01", "2025-06-09", "2025-06-10", "2025-06-11"]),
        ("gemini-2.5-flash", ["2025-05-01", "2025-06-17", "2025-08-01"]),
        ("mistral-large-latest", ["2024-08-01", "2024-12-01", "2025-12-10"]),
        ("grok-code-fast", ["2025-09-01", "2026-10-01"]),
    ],
)
def test_a_price_of_the_past_is_the_price_of_then(
    name: str, dates: list[str], book: PriceBook
) -> None:
    for day in dates:
        for time in ("00:00:00.000000", "23:59:59.999999"):
            at = datetime.fromisoformat(f"{day}T{time}+00:00")
            assert book.cost(name, CACHED, at) == theirs(name, None, CACHED, at)


def test_o3_became_cheaper_on_a_known_day(book: PriceBook) -> None:
    usage = Usage(1_000_000, 0)
    assert book.cost("o3", usage, datetime(2025, 6, 9, 23, 59, tzinfo=UTC)) == 10
    assert book.cost("o3", usage, datetime(2025, 6, 10, tzinfo=UTC)) == 2


def test_every_imported_model_now_and_then(book: PriceBook) -> None:
    """All of the import, by provider and name, but for hours that genai-prices tells apart."""
    imported = {(price.provider, price.model) for price in bundled()}
    for provider in providers:
        for model in provider.models:
            if (provider.id, model.id) not in imported or provider.id == "deepseek":
                continue
            if provider.find_model(model.id) is not model:
                continue  # an id that its own rule does not know; only we do
            for at in (NOON, datetime(2025, 3, 1, 20, tzinfo=UTC)):
                cost = book.cost(f"{provider.id}/{model.id}", LONG, at)
                if cost is not None:
                    assert cost == theirs(model.id, provider.id, LONG, at), (provider.id, model.id)


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_where_the_hour_matters_the_dearest_hour_is_charged(hour: int, book: PriceBook) -> None:
    hours = [theirs("deepseek-v4-pro", None, SMALL, NOON.replace(hour=each)) for each in range(24)]
    assert len(set(hours)) > 1
    assert book.cost("deepseek-v4-pro", SMALL, NOON.replace(hour=hour)) == max(filter(None, hours))


@pytest.mark.parametrize(
    "name", ["whisper-1", "tts-1", "mistral-ocr-latest", "gpt-transcribe", "perplexity/sonar"]
)
def test_what_is_not_billed_by_tokens_alone_has_no_price(name: str, book: PriceBook) -> None:
    assert book.cost(name, SMALL, NOON) is None


def test_rates_without_a_text_output_price_take_the_dearest_output() -> None:
    rates = rates_of(ModelPrice(input_mtok=Decimal(1), output_image_mtok=Decimal(30)))
    assert rates is not None
    assert rates["output_per_mtok"] == 30


def test_the_import_is_well_formed() -> None:
    prices = bundled()
    keys = [(price.provider, price.model, price.effective_from) for price in prices]
    assert len(keys) == len(set(keys))
    assert min(price.effective_from for price in prices) == BEGINNING
    assert len(prices) > 1_000
    tiered = [
        model.id
        for provider in providers
        if provider.id in ("openai", "anthropic", "google")
        for model in provider.models
        if not isinstance(model.prices, list) and isinstance(model.prices.input_mtok, TieredPrices)
    ]
    assert tiered
    assert set(tiered) <= {price.model for price in prices if price.tiers}


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert_no_updates()
    assert bundled()


def test_prices_that_were_fetched_are_refused() -> None:
    set_custom_snapshot(DataSnapshot(providers=[], from_auto_update=True))
    try:
        with pytest.raises(RuntimeError):
            assert_no_updates()
    finally:
        set_custom_snapshot(None)


@pytest.mark.parametrize(
    ("name", "output", "tier"),
    [
        ("claude-opus-4-1", "75", "largest"),
        ("claude-opus-5-5", "20", "largest"),
        ("gpt-5-pro", "120", "largest"),
        ("gpt-5.2-pro", "168", "largest"),
        ("o1-pro", "600", "largest"),
        ("o1", "60", "largest"),
        ("gpt-4", "60", "largest"),
        ("claude-sonnet-4-5", "15", "middle"),
        ("gpt-4o", "10", "middle"),
        ("gpt-4.1", "8", "middle"),
        ("gpt-5", "10", "middle"),
        ("gemini-2.5-pro", "10", "middle"),
        ("mistral-medium-latest", "2", "middle"),
        ("claude-haiku-4-5", "5", "small"),
        ("gpt-4o-mini", "0.6", "small"),
        ("gpt-5-nano", "0.4", "small"),
        ("o4-mini", "4.4", "small"),
        ("gemini-2.5-flash", "2.5", "small"),
        ("llama-3.1-8b-instruct", "0.1", "small"),
        ("llama-3.1-405b", "3.5", "middle"),
        ("o4-mini-deep-research", "8", "small"),
        ("claude-opus-4.6-fast", "150", "largest"),
        ("a-mini-that-is-none", "50", "largest"),
        ("some-model", "2.99", "small"),
        ("some-model", "3", "middle"),
        ("some-model", "50", "largest"),
        ("gemini-x", "10", "middle"),
    ],
)
def test_tiers(name: str, output: str, tier: str) -> None:
    assert tier_of(name, Decimal(output)) == tier
