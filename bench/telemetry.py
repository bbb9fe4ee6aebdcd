"""What the ingest endpoint takes: batches of a thousand new events over HTTP, durable."""

import json
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from bench import http_load
from bench.ground import TOKEN, Ground
from bench.http_load import Sample
from bench.measure import Bench, pid_of, port_of
from bench.report import Cell, Figures, Row, aim

BATCH = 1000
MOST_PER_SECOND = 150  # batches that are prepared for each second; more would be sent twice
CONNECTIONS = (1, 2, 4)
PATH = "/api/inference-events"


def batch(rng: random.Random, size: int) -> bytes:
    """As a program would send it: priced by the book, of the last minutes, with what it knows."""
    now = datetime.now(UTC)
    return json.dumps(
        [
            {
                "eventId": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                "createdAt": (now - timedelta(seconds=rng.uniform(0, 300))).isoformat(),
                "model": "bench-model",
                "feature": rng.choice(("chat", "search", "digest", "review")),
                "triggerType": rng.choice(("user_request", "retry", "auto_save")),
                "userId": f"u{rng.randrange(5000)}",
                "sessionId": f"s{rng.randrange(50_000)}",
                "agentName": "bench",
                "inputTokens": rng.randrange(100, 20_000),
                "cachedInputTokens": 50,
                "outputTokens": rng.randrange(10, 2_000),
            }
            for _ in range(size)
        ]
    ).encode()


@contextmanager
def cells(bench: Bench, on: Ground) -> Iterator[dict[str, Cell]]:
    from config.run.scratch import scratch_service

    with scratch_service(template=on.template) as service:
        port, server = port_of(service.url), pid_of(service)
        rng = random.Random(1)

        def cell(connections: int, size: int, most: int) -> Cell:
            def measured() -> Sample:
                bodies = [batch(rng, size) for _ in range(int(bench.seconds * most) + connections)]
                ask = http_load.HttpAsk(
                    port, PATH, bodies, TOKEN, connections, bench.seconds, 200, server
                )
                return bench.loader.submit(http_load.run, ask).result()

            return measured

        # The first batch of a session plans its statements, and waits for the price book.
        warm = http_load.HttpAsk(port, PATH, [batch(rng, 1)], TOKEN, 8, 1.0, 200, server)
        bench.loader.submit(http_load.run, warm).result()
        yield {
            **{f"1,000 events, {n}": cell(n, BATCH, MOST_PER_SECOND) for n in CONNECTIONS},
            "1 event, 8": cell(8, 1, 1500),
        }


def aims(got: dict[str, Figures]) -> list[Row]:
    return [
        aim(f"events/s, batches of 1,000 at {n}", got[f"1,000 events, {n}"].rate * BATCH, 5000,
            at_least=True)
        for n in CONNECTIONS
    ]  # fmt: skip
