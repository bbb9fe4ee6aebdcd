"""Langfuse: a chat completion through its wrapper of OpenAI's client, for a user of its own."""

from exporting import provider
from langfuse import Langfuse, propagate_attributes

langfuse = Langfuse(public_key="pk", secret_key="sk", tracer_provider=provider)

from langfuse.openai import openai  # noqa: E402

with langfuse.start_as_current_observation(name="forecast"), propagate_attributes(user_id="u-lf"):
    openai.OpenAI().chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Weather?"}]
    )
provider.force_flush()
