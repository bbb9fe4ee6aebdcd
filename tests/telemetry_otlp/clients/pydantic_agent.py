"""pydantic-ai: an agent with a tool, with OpenAI's models and with Anthropic's."""

from exporting import provider
from pydantic_ai import Agent
from pydantic_ai.models.instrumented import InstrumentationSettings

Agent.instrument_all(InstrumentationSettings())


def weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


for model in ("openai-chat:gpt-4o-mini", "anthropic:claude-sonnet-4-5"):
    Agent(model, name="forecaster", tools=[weather], model_settings={"max_tokens": 500}).run_sync(
        "Weather in Oslo?"
    )
provider.shutdown()
