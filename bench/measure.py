"""Admission without HTTP, and starts through the door: cell by cell, with their aims."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from bench import database_load, http_load
from bench.database_load import DatabaseAsk
from bench.ground import CAPPED, CROWDED, HOT, SPREAD, TOKEN, Ground
from bench.http_load import HttpAsk
from bench.report import Cell, Figures, Row, aim, fact, longer, share
from bench.statements import Statement, floor, in_batches, one_by_one, start

if TYPE_CHECKING:
    from config.run.scratch import ScratchService

CONNECTIONS = (8, 32, 64)
CYCLES = 32
ORDERS: dict[str, Sequence[str]] = {"hot": [HOT], "spread": SPREAD}
START, EMPTY, LONG_WAY = "/api/work-orders/start", "/bench/empty", "/bench/start"
CLIENTS = 16
# Asks of a call, and calls under way: one process that decides, and two (which is as shipped).
FLIGHTS = {"16 in flight, 1 process": (16, 1), "16 in flight, 2 processes": (8, 2),
           "64 in flight, 1 process": (32, 1), "64 in flight, 2 processes": (32, 2)}  # fmt: skip
PEER = 2873  # cycles a second, 64 cores, without durable writes


@dataclass(frozen=True)
class Bench:
    """Where the load comes from, how long a repetition lasts, and how many there are."""

    loader: Executor
    seconds: float
    repetitions: int
    note: Callable[[str], None]

    def http(
        self,
        service: "ScratchService",
        path: str,
        orders: Sequence[str],
        connections: int,
        expect: int = 201,
        more: Mapping[str, str] = MappingProxyType({}),
        *,
        finish: bool = False,
    ) -> Cell:
        """Starts go through the door, everything else to the port for people."""
        ask = HttpAsk(
            port_of(service.door_url if path == START else service.url), path, bodies(orders, more),
            TOKEN, connections, self.seconds, expect, pid_of(service), finish,
        )  # fmt: skip
        return lambda: self.loader.submit(http_load.run, ask).result()

    def database(self, on: Ground, database: str, statement: Statement, clients: int) -> Cell:
        ask = DatabaseAsk(on.app_url(database), statement, clients, self.seconds, on.pid)
        return lambda: self.loader.submit(database_load.run, ask).result()


def bodies(orders: Sequence[str], more: Mapping[str, str] = MappingProxyType({})) -> list[bytes]:
    asked = {"agentName": "bench", "estimatedCostUsd": "0.01", **more}
    return [json.dumps({"workOrderId": name, **asked}).encode() for name in orders]


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def pid_of(service: "ScratchService") -> int:
    process = service.children[0].process
    assert process is not None
    return process.pid


@contextmanager
def http_cells(bench: Bench, on: Ground) -> Iterator[dict[str, Cell]]:
    from config.run.scratch import scratch_service

    with scratch_service(template=on.template, workers=1, page_workers=2) as service:
        http = partial(bench.http, service)
        cells = {
            "door, 1": http(START, [HOT], 1),
            "views, 1": http(LONG_WAY, [HOT], 1),
            f"cycles, {CYCLES}": http(START, [HOT], CYCLES, finish=True),
        }
        for number in CONNECTIONS:
            cells[f"empty view, {number}"] = http(EMPTY, [HOT], number, 200)
            cells[f"views, hot, {number}"] = http(LONG_WAY, [HOT], number)
            for name, orders in ORDERS.items():
                cells[f"door, {name}, {number}"] = http(START, orders, number)
        for cell in cells.values():
            cell()  # opens connections, plans statements
        yield cells


def http_aims(got: dict[str, Figures]) -> list[Row]:
    lines = []
    for name in ORDERS:
        for number, wanted in zip(CONNECTIONS, (0.35, 0.75, 0.95), strict=True):
            part = share(got[f"door, {name}, {number}"], got[f"empty view, {number}"])
            lines.append(aim(f"door / empty view at {number}, {name}", part, wanted, at_least=True))
    alone = longer(got["door, 1"], got["views, 1"], 0.5)
    lines.append(aim("p50 alone, door / views", alone, 0.8, at_least=False))
    cycles = got[f"cycles, {CYCLES}"].rate
    lines.append(aim(f"start + finish a second at {CYCLES}", cycles, PEER, at_least=True))
    return lines


@contextmanager
def database_cells(bench: Bench, on: Ground) -> Iterator[dict[str, Cell]]:
    from config.run.scratch import scratch_database

    with scratch_database(on.template) as database:
        url, cells = on.app_url(database), {}
        for name, orders in ORDERS.items():
            asks = [start(order) for order in orders]
            made = {
                "floor": (floor(orders), CLIENTS),
                "one by one": (one_by_one(url, asks), CLIENTS),
                **{
                    flight: (in_batches(url, asks, size), calls)
                    for flight, (size, calls) in FLIGHTS.items()
                },
                "half refused": (half_refused(url, orders), 1),
                "all refused": (half_refused(url, (CAPPED, CROWDED)), 1),
            }
            for label, (statement, clients) in made.items():
                cells[f"{label}, {name}"] = bench.database(on, database, statement, clients)
        exhaust(bench, on, database)
        yield cells


def half_refused(url: str, orders: Sequence[str]) -> Statement:
    """Sixteen asks; every other one is refused, by the cap of the day or by concurrency."""
    refused = (CAPPED, CROWDED)
    asks = [
        start(refused[n // 2 % 2] if n % 2 else orders[n // 2 % len(orders)])
        for n in range(2 * max(len(orders), 8))
    ]
    granted = 0 if tuple(orders) == refused else 8
    return in_batches(url, asks, 16, granted=granted)


def exhaust(bench: Bench, on: Ground, database: str) -> None:
    """What may be refused from now on is: their only run is started."""
    url = on.app_url(database)
    asks = [start(CAPPED), start(CROWDED)]
    statement = in_batches(url, asks, 2, granted=0)
    database_load.run(DatabaseAsk(url, statement, 1, 0.05, on.pid))


def database_aims(got: dict[str, Figures]) -> list[Row]:
    lines = []
    for name, aims in (("hot", (1.0, 2.0)), ("spread", (0.8, 1.2))):
        for flight in FLIGHTS:
            part = share(got[f"{flight}, {name}"], got[f"floor, {name}"])
            wanted = aims[0] if flight.startswith("16") else aims[1]
            lines.append(aim(f"{flight} / floor, {name}", part, wanted, at_least=True))
        part = share(got[f"half refused, {name}"], got[f"floor, {name}"])
        lines.append(aim(f"half refused / floor, {name}", part, 0.6, at_least=True))
        for label in ("one by one", "all refused"):
            part = share(got[f"{label}, {name}"], got[f"floor, {name}"])
            lines.append(fact(f"{label} / floor, {name}", part))
    return lines
