"""An asynchronous agent with a tool, which may cost money as well."""

import asyncio
import json

from openai import AsyncOpenAI
from tollgate_client import AsyncTollgate, require_run

tollgate = AsyncTollgate()
client = tollgate.meter(AsyncOpenAI())
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


async def weather(city: str) -> str:
    require_run().spent(cost_usd="0.001")  # what the weather service charges
    return f"It is sunny in {city}."


async def answer(question: str) -> str:
    messages = [{"role": "user", "content": question}]
    while True:
        reply = await client.chat.completions.create(
            model="gpt-4o-mini", messages=messages, tools=[TOOL]
        )
        message = reply.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            return message.content
        for call in message.tool_calls:
            result = await weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


async def main() -> None:
    async with tollgate.run("support", model="gpt-4o-mini"):
        print(await answer("What is the weather in Oslo?"))


asyncio.run(main())
