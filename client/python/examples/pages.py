"""A generator whose run lasts until it is exhausted, on any HTTP client."""

import os

from tollgate_client import Tollgate, require_run

tollgate = Tollgate()
http = tollgate.http_client(base_url=os.environ["OPENAI_BASE_URL"])


@tollgate.governed("weekly-report", model="gpt-4o-mini")
def pages(topics):
    for topic in topics:
        messages = [{"role": "user", "content": topic}]
        answer = http.post("chat/completions", json={"model": "gpt-4o-mini", "messages": messages})
        answer.raise_for_status()
        yield require_run().id, answer.json()["choices"][0]["message"]["content"]


for run_id, page in pages(["costs", "risks", "plans"]):
    print(run_id, page)
