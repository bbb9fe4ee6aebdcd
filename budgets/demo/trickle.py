"""An endless, gentle stream of asks, drawn from the bundled trace."""

import random
from collections.abc import Iterator
from itertools import cycle

from budgets.demo.cast import BUSIEST, JOBS, Job
from budgets.demo.replay.engine import Timed
from budgets.demo.replay.mapping import Piece, output_limit
from budgets.demo.replay.trace import read_trace
from budgets.demo.seeding import TRACE

# The others would reach their caps within minutes at this rate. Suspended ones are asked for too,
# so that their refusals are seen.
BUSIEST_SHARE = 0.8


def trickle(*, per_second: float, rng: random.Random) -> Iterator[Timed]:
    """Irregular, as independent programs are: exponential gaps, `per_second` on average."""
    stock = cycle(read_trace(TRACE))
    due = 0.0
    for request in stock:
        due += rng.expovariate(per_second)
        job = _job(rng)
        piece = Piece(
            work_order_id=job.id,
            agent=rng.choice(job.agents),
            model=job.model,
            input_tokens=request.input_tokens,
            output_tokens=request.output_tokens,
            output_limit=output_limit(request.output_tokens),
        )
        yield Timed(due, piece)


def _job(rng: random.Random) -> Job:
    busiest = rng.random() < BUSIEST_SHARE
    jobs = [job for job in JOBS if (job.id == BUSIEST) == busiest]
    return rng.choices(jobs, weights=[job.runs for job in jobs])[0]
