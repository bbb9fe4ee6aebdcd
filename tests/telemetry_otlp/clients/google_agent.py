"""Google's Agent Development Kit: an agent with a tool."""

import asyncio

from exporting import provider
from google.adk.agents import LlmAgent
from google.adk.runners import InMemoryRunner
from google.genai import types


def weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


async def main() -> None:
    agent = LlmAgent(name="forecaster", model="gemini-2.5-flash", tools=[weather])
    runner = InMemoryRunner(agent=agent, app_name="weather")
    session = await runner.session_service.create_session(app_name="weather", user_id="u-adk")
    question = types.Content(role="user", parts=[types.Part(text="Weather in Oslo?")])
    async for _ in runner.run_async(user_id="u-adk", session_id=session.id, new_message=question):
        pass


asyncio.run(main())
provider.shutdown()
