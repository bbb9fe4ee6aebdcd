"""OpenInference: a chat, a response and an embedding of OpenAI, a message of Anthropic."""

from exporting import provider
from openinference.instrumentation.anthropic import AnthropicInstrumentor
from openinference.instrumentation.openai import OpenAIInstrumentor

OpenAIInstrumentor().instrument()
AnthropicInstrumentor().instrument()

import anthropic  # noqa: E402
import openai  # noqa: E402

asked = [{"role": "user", "content": "Weather?"}]
client = openai.OpenAI()
client.chat.completions.create(model="gpt-4o-mini", messages=asked)
client.responses.create(model="gpt-4o-mini", input="Weather?")
client.embeddings.create(model="text-embedding-3-small", input="Weather?")
anthropic.Anthropic().messages.create(model="claude-sonnet-4-5", max_tokens=500, messages=asked)
provider.shutdown()
