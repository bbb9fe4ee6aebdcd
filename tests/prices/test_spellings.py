"""Names that programs, gateways and clouds have for models: their price or none, and the model."""

from datetime import UTC, datetime

import pytest

from opslog.price_book.imported import bundled
from opslog.pricing import PriceBook
from tests.prices.factories import own

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:inference-profile"
SONNET_AWS = "regional.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook(1, bundled())


@pytest.mark.parametrize(
    ("provider", "model", "seller", "listed", "name"),
    [
        # the AI SDK: which API, behind the provider
        (
            "groq.chat",
            "llama-3.3-70b-versatile",
            "groq",
            "llama-3.3-70b-versatile",
            "llama-3.3-70b-versatile",
        ),
        (
            "togetherai.chat",
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
            "together",
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
            "llama-3.3-70b-instruct-turbo",
        ),
        ("cerebras.chat", "llama3.1-8b", "cerebras", "llama3.1-8b", "llama3.1-8b"),
        (
            "amazon-bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            SONNET_AWS,
            "claude-sonnet-4-5",
        ),
        ("openai.responses", "gpt-4o", "openai", "gpt-4o", "gpt-4o"),
        ("azure-openai.chat", "gpt-4o", "openai", "gpt-4o", "gpt-4o"),
        (
            "anthropic.messages",
            "claude-sonnet-4-5",
            "anthropic",
            "claude-sonnet-4-5",
            "claude-sonnet-4-5",
        ),
        (
            "google.generative-ai",
            "models/gemini-2.5-pro",
            "google",
            "gemini-2.5-pro",
            "gemini-2.5-pro",
        ),
        ("google.vertex.chat", "gemini-2.5-pro", "google", "gemini-2.5-pro", "gemini-2.5-pro"),
        (
            "vertex.anthropic.messages",
            "claude-sonnet-4-5@20250929",
            "google",
            "claude-sonnet-4-5",
            "claude-sonnet-4-5",
        ),
        ("xai.chat", "grok-4", "x-ai", "grok-4-0709", "grok-4"),
        ("Amazon Bedrock", "amazon.nova-pro-v1:0", "aws", "amazon.nova-pro-v1:0", "nova-pro"),
        # resource names
        ("", "models/gemini-2.5-flash", "google", "gemini-2.5-flash", "gemini-2.5-flash"),
        (
            "",
            "publishers/google/models/gemini-2.5-pro",
            "google",
            "gemini-2.5-pro",
            "gemini-2.5-pro",
        ),
        (
            "vertex_ai",
            "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro",
            "google",
            "gemini-2.5-pro",
            "gemini-2.5-pro",
        ),
        (
            "",
            "publishers/anthropic/models/claude-sonnet-4-5@20250929",
            "google",
            "claude-sonnet-4-5",
            "claude-sonnet-4-5",
        ),
        ("", "claude-sonnet-4-5@20250929", "anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("google-vertex", "gemini-2.5-pro@default", "google", "gemini-2.5-pro", "gemini-2.5-pro"),
        # Google lists two models as one; they are two
        ("vertex_ai", "claude-opus-4-1@20250805", "google", "claude-4-opus", "claude-opus-4-1"),
        # Bedrock: regions and ARNs
        (
            "",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            SONNET_AWS,
            "claude-sonnet-4-5",
        ),
        (
            "",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            SONNET_AWS,
            "claude-sonnet-4-5",
        ),
        (
            "",
            "apac.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            SONNET_AWS,
            "claude-sonnet-4-5",
        ),
        (
            "",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "claude-sonnet-4-5",
        ),
        (
            "",
            f"{PROFILE}/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            SONNET_AWS,
            "claude-sonnet-4-5",
        ),
        (
            "aws.bedrock",
            f"{PROFILE}/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            SONNET_AWS,
            "claude-sonnet-4-5",
        ),
        (
            "",
            f"bedrock/{PROFILE}/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            SONNET_AWS,
            "claude-sonnet-4-5",
        ),
        (
            "",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            "aws",
            "regional.anthropic.claude-3-haiku-20240307-v1:0",
            "claude-3-haiku",
        ),
        ("", "bedrock/converse/us.amazon.nova-pro-v1:0", "aws", "amazon.nova-pro-v1:0", "nova-pro"),
        ("", "bedrock/us-east-1/amazon.nova-pro-v1:0", "aws", "amazon.nova-pro-v1:0", "nova-pro"),
        # an instrumentation that names the maker, not the cloud
        (
            "anthropic",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            SONNET_AWS,
            "claude-sonnet-4-5",
        ),
        # another provider behind OpenAI's protocol
        ("openai", "deepseek-chat", "deepseek", "deepseek-chat", "deepseek-chat"),
        # fine-tuned models
        ("", "ft:gpt-4o-mini-2024-07-18:acme::id", "openai", "ft:gpt-4o-mini", "ft:gpt-4o-mini"),
        (
            "openai",
            "ft:gpt-4o-2024-08-06:acme:n:id:ckpt-step-90",
            "openai",
            "ft:gpt-4o",
            "ft:gpt-4o",
        ),
        # OpenRouter
        (
            "openrouter",
            "anthropic/claude-sonnet-4.5",
            "openrouter",
            "anthropic/claude-sonnet-4.5",
            "claude-sonnet-4-5",
        ),
        ("", "anthropic/claude-sonnet-4.5", "anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5"),
        (
            "openrouter",
            "anthropic/claude-3.7-sonnet:thinking",
            "openrouter",
            "anthropic/claude-3.7-sonnet",
            "claude-3-7-sonnet",
        ),
        ("openrouter", "openai/gpt-5:batch", "openrouter", "openai/gpt-5:batch", "gpt-5"),
        ("", "openai/gpt-4o:extended", "openai", "gpt-4o:extended", "gpt-4o"),
        (
            "openrouter",
            "deepseek/deepseek-r1:free",
            "openrouter",
            "deepseek/deepseek-r1:free",
            "deepseek-reasoner",
        ),
        (
            "",
            "meta-llama/llama-3.3-70b-instruct:free",
            "openrouter",
            "meta-llama/llama-3.3-70b-instruct:free",
            "llama-3.3-70b-instruct",
        ),
        # Azure: its spelling of a model, and a deployment called after one
        ("azure", "gpt-35-turbo", "openai", "gpt-3.5-turbo", "gpt-3.5-turbo"),
        ("az.ai.openai", "gpt-4o", "openai", "gpt-4o", "gpt-4o"),
        (
            "fireworks.chat",
            "accounts/fireworks/models/llama-v3p1-8b-instruct",
            "fireworks",
            "llama-v3p1-8b-instruct",
            "llama-v3p1-8b-instruct",
        ),
    ],
)
def test_their_price(
    book: PriceBook, provider: str, model: str, seller: str, listed: str, name: str
) -> None:
    found = book.find(model, NOON, provider=provider)
    assert found is not None
    assert (found.provider, found.model) == (seller, listed)
    assert book.name_of(model, provider=provider) == name


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        # at other terms than the model's, and not listed: no price, and still that model
        ("openrouter", "openai/gpt-4o:online", "gpt-4o"),
        ("", "openai/gpt-4o:online", "gpt-4o"),
        ("openrouter", "anthropic/claude-sonnet-4.5:online", "claude-sonnet-4-5"),
        ("", "anthropic/claude-sonnet-4.5:nitro", "claude-sonnet-4-5"),
        ("openrouter", "openai/gpt-4o:floor", "gpt-4o"),
        # free only where the list says so
        ("openrouter", "openai/gpt-4o:free", "gpt-4o"),
        ("", "anthropic/claude-sonnet-4.5:free", "claude-sonnet-4-5"),
        ("", "gpt-5:free", "gpt-5"),
        # what somebody made and named: nobody knows what runs there
        ("azure", "my-deployment", "my-deployment"),
        ("azure", "gpt-4o-prod", "gpt-4o-prod"),
        ("azure.ai.openai", "team-gpt-4o-eastus", "team-gpt-4o-eastus"),
        ("", "azure/my-gpt4-deployment", "my-gpt4-deployment"),
        ("", f"{PROFILE.replace('inference', 'application-inference')}/abc123", "abc123"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/x1", "x1"),
        ("vertex_ai", "projects/p/locations/us-central1/endpoints/1234567890", "1234567890"),
        # fine-tuned from a model whose price is not listed
        ("", "ft:gpt-4.1-2025-04-14:acme::id", "ft:gpt-4.1-2025-04-14:acme::id"),
        ("", "ft:nobody:a::b", "ft:nobody:a::b"),
        # an open model that its host's list does not have is not priced as another host's
        ("groq.chat", "gpt-oss-120b", "gpt-oss-120b"),
        # a router's choice, and a fee for each request
        ("openrouter", "openrouter/auto", "auto"),
        ("perplexity", "sonar-pro", "sonar-pro"),
    ],
)
def test_no_price_rather_than_anothers(
    book: PriceBook, provider: str, model: str, name: str
) -> None:
    assert book.find(model, NOON, provider=provider) is None
    assert book.name_of(model, provider=provider) == name


def test_an_own_price_stands_for_a_name_that_means_nothing() -> None:
    arn = f"{PROFILE.replace('inference', 'application-inference')}/abc123"
    deployment = own("my-deployment", "3", provider="azure")
    book = PriceBook(1, [*bundled(), own(arn, "7"), deployment])
    assert str(book.find(arn, NOON, provider="aws.bedrock").input_per_mtok) == "7"  # type: ignore[union-attr]
    found = book.find("my-deployment", NOON, provider="azure-openai.chat")
    assert found is not None
    assert found.input_per_mtok == 3


def test_a_free_model_costs_nothing_and_its_paid_name_does(book: PriceBook) -> None:
    free = book.find("deepseek/deepseek-r1:free", NOON, provider="openrouter")
    paid = book.find("deepseek/deepseek-r1", NOON, provider="openrouter")
    assert free is not None
    assert paid is not None
    assert free.input_per_mtok == free.output_per_mtok == 0
    assert paid.input_per_mtok > 0
