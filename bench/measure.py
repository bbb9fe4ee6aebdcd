"""What is measured, cell by cell, and the aims that the figures are held against."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import MappingProxyType

import psutil

from bench import database_load, http_load
from bench.ground import HOT, SPREAD, TOKEN
from bench.http_load import Sample
from bench.report import Figures, aim, share
from bench.statements import ADMISSION, FLOOR, PLAIN_ADMISSION, parameters

CONNECTIONS = (1, 8, 32)
CLIENTS = (1, 4, 16)
ORDERS: dict[str, Sequence[str]] = {"hot": [HOT], "spread": SPREAD}
Cell = Callable[[], tuple[Sample, float]]


@dataclass(frozen=True)
class Bench:
    """Where the load comes from, how long a repetition lasts, and how many there are."""

    loader: Executor
    seconds: float
    repetitions: int
    note: Callable[[str], None]

    def http(
        self,
        port: int,
        server: psutil.Process,
        path: str,
        orders: Sequence[str],
        connections: int,
        expect: int,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> Cell:
        bodies = [
            json.dumps(
                {"workOrderId": name, "agentName": "bench", "estimatedCostUsd": "0.01", **more}
            ).encode()
            for name in orders
        ]
        ask = http_load.HttpAsk(port, path, bodies, TOKEN, connections, self.seconds, expect)

        def cell() -> tuple[Sample, float]:
            before = cpu_seconds(server)
            sample = self.loader.submit(http_load.run, ask).result()
            return sample, cpu_seconds(server) - before

        return cell

    def database(self, url: str, statement: str, orders: Sequence[str], clients: int) -> Cell:
        ask = database_load.DatabaseAsk(
            url, statement, parameters(TOKEN, orders), clients, self.seconds
        )
        return lambda: (self.loader.submit(database_load.run, ask).result(), 0.0)


def cpu_seconds(server: psutil.Process) -> float:
    """User and system time of the web server and its workers; the database is not in it."""
    total = 0.0
    for process in [server, *server.children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system
    return total


def http_cells(bench: Bench, port: int, server: psutil.Process) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for number in CONNECTIONS:
        cells[f"empty view, {number}"] = bench.http(
            port, server, "/bench/empty", [HOT], number, 200
        )
        for name, orders in ORDERS.items():
            for label, path in (("start", "/api/work-orders/start"), ("ORM", "/bench/orm-start")):
                cells[f"{label}, {name}, {number}"] = bench.http(
                    port, server, path, orders, number, 201
                )
    return cells


def database_cells(bench: Bench, url: str) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for number in CLIENTS:
        for name, orders in ORDERS.items():
            for label, statement in (
                ("floor", FLOOR),
                ("admission", ADMISSION),
                ("plain function", PLAIN_ADMISSION),
            ):
                cells[f"{label}, {name}, {number}"] = bench.database(url, statement, orders, number)
    return cells


def http_aims(got: dict[str, Figures]) -> list[str]:
    lines = []
    for name in ORDERS:
        lines.append(
            aim(f"start / ORM at 8, {name}",
                share(got[f"start, {name}, 8"].rate, got[f"ORM, {name}, 8"].rate), 8, at_least=True)
        )  # fmt: skip
        for number in (8, 32):
            part = share(got[f"start, {name}, {number}"].rate, got[f"empty view, {number}"].rate)
            lines.append(aim(f"start / empty view at {number}, {name}", part, 0.35, at_least=True))
    return lines


def database_aims(got: dict[str, Figures]) -> list[str]:
    lines = []
    for name in ORDERS:
        floor, admission = got[f"floor, {name}, 16"], got[f"admission, {name}, 16"]
        part = share(admission.rate, floor.rate)
        lines.append(aim(f"admission / floor at 16, {name}", part, 0.40, at_least=True))
        lines.append(
            aim(f"p99 of it / p99 of the floor at 16, {name}", share(admission.p99, floor.p99), 3,
                at_least=False)
        )  # fmt: skip
    return lines
