"""Who asks for what: a request of a trace as a piece of work of ours. Pure and deterministic."""

import zlib
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from budgets.demo.replay.trace import TraceRequest

# The publishers renamed their models; these have a price and are of the same class.
PRICED_AS = {
    "azure-code-2023": "gpt-4o",
    "azure-conv-2023": "gpt-4o-mini",
    "kimi-conversation": "gpt-4o-mini",
    "m-mid": "gpt-4o-mini",
    "deepseek-r1": "gpt-4o-mini",
}
SECONDS_PER_OUTPUT_TOKEN = 0.02
SECONDS_TO_FIRST_TOKEN = 0.5


@dataclass(frozen=True, slots=True)
class Piece:
    """One ask. `output_limit` is what the program lets the model write at most, and so what it
    must reserve: it cannot know `output_tokens` before."""

    work_order_id: str
    agent: str
    model: str
    input_tokens: int
    output_tokens: int
    output_limit: int

    @property
    def seconds(self) -> float:
        """How long the work takes, at the pace of the trace."""
        return SECONDS_TO_FIRST_TOKEN + self.output_tokens * SECONDS_PER_OUTPUT_TOKEN


@dataclass(frozen=True, slots=True)
class Mapping:
    """Spreads requests unevenly, as in life: the k-th work order and agent weigh 1/k.

    A tenant that the trace names (`client_id`) is always the same agent. `model` overrides the
    price list's name for every request.
    """

    work_orders: Sequence[str]
    agents: Sequence[str]
    model: str = ""

    def piece(self, request: TraceRequest) -> Piece:
        spot = f"{request.line}:{request.created_at.isoformat()}:{request.input_tokens}"
        work_order = _weighted(self.work_orders, f"work order {spot}")
        if request.client_id is None:
            agent = _weighted(self.agents, f"agent {spot}")
        else:
            agent = self.agents[request.client_id % len(self.agents)]
        return Piece(
            work_order_id=work_order,
            agent=agent,
            model=self.model or PRICED_AS.get(request.model, request.model),
            input_tokens=request.input_tokens,
            output_tokens=request.output_tokens,
            output_limit=output_limit(request.output_tokens),
        )


def output_limit(output_tokens: int) -> int:
    """The usual steps of `max_tokens`: 256, 1024, 4096, …; the smallest that was enough."""
    limit = 256
    while limit < output_tokens:
        limit *= 4
    return limit


def _weighted(names: Sequence[str], key: str) -> str:
    """The same name for the same key on every machine and in every version of Python."""
    bounds = list(accumulate(1 / place for place in range(1, len(names) + 1)))
    spot = zlib.crc32(key.encode()) / 2**32 * bounds[-1]
    return names[min(bisect(bounds, spot), len(names) - 1)]
