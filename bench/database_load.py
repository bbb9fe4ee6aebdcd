"""The same load without HTTP: prepared statements over libpq, all connections in one event loop.

Sixteen Python processes would take the two cores from the database that is measured.
"""

import re
import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import pq

from bench.http_load import GRACE, Sample

WARM = 8  # requests of each connection before the clock starts
RUN = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class DatabaseAsk:
    """`parameters` are used in turn. Each answer must hold `expect`, unless that is empty."""

    url: str
    statement: str
    parameters: Sequence[Sequence[bytes | None]]
    clients: int
    seconds: float
    expect: bytes = b""
    setup: Sequence[str] = ()
    keep: bool = False


def _values(result: "pq.abc.PGresult") -> bytes:
    if result.ntuples == 0:
        return b""
    return b"|".join(result.get_value(0, column) or b"" for column in range(result.nfields))


def run(ask: DatabaseAsk) -> Sample:
    """Keeps every connection busy for the given time."""
    selector = selectors.DefaultSelector()
    connections = []
    started: dict[int, float] = {}
    for _ in range(ask.clients):
        connection = psycopg.connect(
            ask.url, autocommit=True, options="-c timezone=UTC -c lock_timeout=2000"
        )
        for statement in ask.setup:
            connection.execute(statement)
        prepared = connection.pgconn.prepare(b"ask", ask.statement.encode())
        if prepared.status != pq.ExecStatus.COMMAND_OK:
            raise psycopg.OperationalError(prepared.error_message.decode())
        # A new session plans every statement of the routine once: that is no part of a request.
        for _ in range(WARM):
            connection.pgconn.exec_prepared(b"ask", list(ask.parameters[0]))  # type: ignore[arg-type]
        connections.append(connection)
    latencies: list[float] = []
    acknowledged: list[str] = []
    failures, complaint, turn = 0, "", 0
    end = time.perf_counter() + ask.seconds
    for connection in connections:
        raw = connection.pgconn
        raw.nonblocking = 1
        selector.register(raw.socket, selectors.EVENT_READ, raw)
        started[raw.socket] = time.perf_counter()
        raw.send_query_prepared(b"ask", ask.parameters[turn % len(ask.parameters)])
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
                if ask.expect and ask.expect not in row:
                    failures += 1
                    complaint = complaint or row.decode()
                elif ask.keep and (found := RUN.search(row)):
                    acknowledged.append(found[0].decode())
                started[descriptor] = time.perf_counter()
                raw.send_query_prepared(b"ask", ask.parameters[turn % len(ask.parameters)])
                raw.flush()
                turn += 1
            except psycopg.Error as error:
                failures += 1
                complaint = complaint or str(error)
                selector.unregister(descriptor)
    for connection in connections:
        connection.close()
    latencies.sort()
    return Sample(ask.seconds, latencies, failures, complaint, acknowledged)
