"""A script with one stream: the whole governance is the four lines that name Tollgate."""

from openai import OpenAI
from tollgate_client import Tollgate

tollgate = Tollgate()
client = tollgate.meter(OpenAI())

with tollgate.run("weekly-report", model="gpt-4o-mini"):
    stream = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "Write the weekly report."}],
        stream=True,
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="")
print()
