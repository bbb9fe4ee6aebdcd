"""A batch of 200 on eight threads: a run for each item, in line where there is no room."""

import sys
from concurrent.futures import ThreadPoolExecutor

from anthropic import Anthropic
from tollgate_client import Tollgate

tollgate = Tollgate()
client = tollgate.meter(Anthropic())


@tollgate.governed("labels", model="claude-sonnet-4-5", estimated_cost_usd="0.01")
def label(item: int) -> str:
    message = client.messages.create(
        model="claude-sonnet-4-5",
        max_tokens=300,
        messages=[{"role": "user", "content": f"Label item {item}."}],
    )
    return message.content[0].text


items = range(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
with ThreadPoolExecutor(8) as pool:
    labels = list(pool.map(label, items))
print(len(labels), "labels")
