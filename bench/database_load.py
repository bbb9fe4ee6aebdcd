"""The same load without HTTP: prepared statements over libpq, all connections in one event loop.

Sixteen Python processes would take the two cores from the database that is measured.
"""

import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq

from bench.http_load import GRACE, RUN, Sample, cpu_seconds
from bench.statements import Statement

WARM = 8  # calls of each connection before the clock starts


@dataclass(frozen=True)
class DatabaseAsk:
    """`server`: the postmaster. `keep`: the ids of the acknowledged runs are wanted."""

    url: str
    statement: Statement
    clients: int
    seconds: float
    server: int
    setup: Sequence[str] = ()
    keep: bool = False


def _values(result: "pq.abc.PGresult") -> bytes:
    if result.ntuples == 0:
        return b""
    return b"|".join(result.get_value(0, column) or b"" for column in range(result.nfields))


def run(ask: DatabaseAsk) -> Sample:
    """Keeps every connection busy for the given time."""
    selector = selectors.DefaultSelector()
    connections: list[psycopg.Connection[Any]] = []
    parameters = ask.statement.parameters
    started: dict[int, float] = {}
    for _ in range(ask.clients):
        connection = psycopg.connect(
            ask.url, autocommit=True, options="-c timezone=UTC -c lock_timeout=2000"
        )
        for statement in ask.setup:
            connection.execute(statement)
        prepared = connection.pgconn.prepare(b"ask", ask.statement.sql.encode())
        if prepared.status != pq.ExecStatus.COMMAND_OK:
            raise psycopg.OperationalError(prepared.error_message.decode())
        # A new session plans every statement of the routine once: that is no part of a request.
        for _ in range(WARM):
            connection.pgconn.exec_prepared(b"ask", list(parameters[0]))  # type: ignore[arg-type]
        connections.append(connection)
    latencies: list[float] = []
    acknowledged: list[str] = []
    failures, complaint, turn = 0, "", 0
    before = cpu_seconds(ask.server)
    end = time.perf_counter() + ask.seconds
    for connection in connections:
        raw = connection.pgconn
        raw.nonblocking = 1
        selector.register(raw.socket, selectors.EVENT_READ, raw)
        started[raw.socket] = time.perf_counter()
        raw.send_query_prepared(b"ask", parameters[turn % len(parameters)])
        raw.flush()
        turn += 1
    while selector.get_map() and (now := time.perf_counter()) < end + GRACE:
        for key, _ in selector.select(end + GRACE - now):
            raw, descriptor = key.data, key.fd
            try:
                raw.consume_input()
                if raw.is_busy():
                    continue
                row = b""
                while (result := raw.get_result()) is not None:
                    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
                        raise psycopg.OperationalError(result.error_message.decode())
                    row = row or _values(result)
                if time.perf_counter() > end:
                    selector.unregister(descriptor)
                    continue
                latencies.append(time.perf_counter() - started[descriptor])
                if row.count(b'"runId"') != ask.statement.granted:
                    failures += 1
                    complaint = complaint or row[:400].decode()
                elif ask.keep:
                    acknowledged += [found.decode() for found in RUN.findall(row)]
                started[descriptor] = time.perf_counter()
                raw.send_query_prepared(b"ask", parameters[turn % len(parameters)])
                raw.flush()
                turn += 1
            except psycopg.Error as error:
                failures += 1
                complaint = complaint or str(error)
                selector.unregister(descriptor)
    used = cpu_seconds(ask.server) - before
    for connection in connections:
        connection.close()
    latencies.sort()
    asks = ask.statement.asks
    return Sample(ask.seconds, latencies, failures, complaint, acknowledged, asks, used)
