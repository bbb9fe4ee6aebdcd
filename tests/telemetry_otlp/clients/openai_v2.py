"""opentelemetry-instrumentation-openai-v2: one chat completion and one embedding."""

from exporting import provider
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

OpenAIInstrumentor().instrument()

import openai  # noqa: E402

client = openai.OpenAI()
client.chat.completions.create(
    model="gpt-4o-mini", messages=[{"role": "user", "content": "Weather?"}]
)
client.embeddings.create(model="text-embedding-3-small", input="Weather?")
provider.shutdown()
