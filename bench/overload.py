"""Ten times as many starts as can be decided, and a database that stands still under load.

On two cores no load generator sends ten times what the door decides, and leaves it a core. So the
first part makes the disk slow: each flush waits `FLUSH` longer (`commit_delay`).
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

import psycopg

from bench.flood import Flooded, flood
from bench.ground import SPREAD, TOKEN, Ground
from bench.http_load import HttpAsk
from bench.measure import START, Bench, bodies, pid_of, port_of
from bench.report import Broken, Row, aim, fact

if TYPE_CHECKING:
    from config.run.scratch import ScratchService

FLUSH = 50_000  # microseconds
BEST = 128  # connections that ask again at once: they get what can be decided
MOST = 2000  # connections over which ten times that comes
SECONDS = 3.0
CLIENTS = 200
FROZEN = 4.0  # seconds


@dataclass(frozen=True)
class Thawed:
    """A second before it was frozen, and in the third second after; seconds until the first start
    was admitted again."""

    before: float
    after: float
    back: float


def measure(bench: Bench, on: Ground) -> list[Row]:
    return [
        *of_overload(f"flush + {FLUSH / 1000:.0f} ms", list(overload(bench, on, FLUSH))),
        # Here no more is offered than the generator can send.
        *of_overload("flush as it is", list(overload(bench, on, 0))),
        *of_freeze(list(freeze(bench, on))),
    ]


@contextmanager
def serving(on: Ground, *, flush: int = 0) -> "Iterator[ScratchService]":
    from config.run.scratch import scratch_service

    env = {"CONNECTIONS_PER_ADDRESS": "8192"}
    with scratch_service(template=on.template, workers=1, page_workers=2, env=env) as service:
        if flush:
            name = service.database
            with psycopg.connect(on.superuser_url("postgres"), autocommit=True) as ruler:
                ruler.execute(f"ALTER DATABASE {name} SET commit_delay = {flush}")
                ruler.execute(f"ALTER DATABASE {name} SET commit_siblings = 0")
                ruler.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    [name],
                )
        yield service


def ask_of(service: "ScratchService", connections: int, seconds: float) -> HttpAsk:
    port, pid = port_of(service.door_url), pid_of(service)
    return HttpAsk(port, START, bodies(SPREAD), TOKEN, connections, seconds, 201, pid)


def run(bench: Bench, ask: HttpAsk, rate: float = 0) -> "Future[Flooded]":
    return bench.loader.submit(flood, ask, rate)


def checked(flooded: Flooded) -> Flooded:
    if flooded.failures or "broken" in flooded.statuses:
        raise Broken(f"{flooded.statuses}, the first: {flooded.complaint}")
    return flooded


def overload(bench: Bench, on: Ground, flush: int) -> Iterator[tuple[Flooded, Flooded]]:
    """What is decided at best, and with ten times that."""
    with serving(on, flush=flush) as service:
        few, many = ask_of(service, BEST, SECONDS), ask_of(service, MOST, SECONDS)
        run(bench, few).result()
        for number in range(bench.repetitions):
            bench.note(f"overload, flush {flush}, round {number + 1} of {bench.repetitions}")
            best = checked(run(bench, few).result())
            yield best, checked(run(bench, many, 10 * best.rate).result())


def freeze(bench: Bench, on: Ground) -> Iterator[Thawed]:
    with serving(on) as service:
        ask = ask_of(service, CLIENTS, FROZEN + 6)
        run(bench, replace(ask, seconds=1)).result()
        for number in range(bench.repetitions):
            bench.note(f"frozen database, round {number + 1} of {bench.repetitions}")
            load = run(bench, ask)
            time.sleep(2)
            with on.frozen():
                began = time.perf_counter()
                time.sleep(FROZEN)
            thawed = time.perf_counter()
            got = load.result()
            after = [each for each in got.ended if each > thawed]
            back = min(after) - thawed if after else float("inf")
            yield Thawed(got.admitted(began - 1, began), got.admitted(thawed + 2, thawed + 3), back)


def of_overload(disk: str, rounds: list[tuple[Flooded, Flooded]]) -> list[Row]:
    best = median(each.rate for each, _ in rounds)
    many = [each for _, each in rounds]
    share = median(each.rate / best.rate for best, each in rounds)
    p99 = median(each.percentile(0.99) for each in many)
    offered, rate = median(each.offered for each in many), median(each.rate for each in many)
    p50 = median(each.percentile(0.5) for each in many) * 1e3
    return [
        fact(f"{disk}: admitted a second at best ({BEST} connections)", best),
        fact("… offered a second", offered),
        fact("… of which admitted", rate),
        aim("… admitted / best", share, 0.8, at_least=True),
        fact("… p50 of the admitted, ms", p50),
        aim("… p99 of the admitted, seconds", p99, 1, at_least=False),
        aim("… seconds until back, longest", max(each.back for each in many), 2, at_least=False),
    ]


def of_freeze(rounds: list[Thawed]) -> list[Row]:
    before, after = median(each.before for each in rounds), median(each.after for each in rounds)
    return [
        fact(f"frozen for {FROZEN:.0f} s: admitted a second before, {CLIENTS} clients", before),
        fact("… in the third second after", after),
        aim("… after / before", median(r.after / r.before for r in rounds), 0.8, at_least=True),
        aim("… seconds until the first start, longest", max(r.back for r in rounds), 2,
            at_least=False),
    ]  # fmt: skip
