"""What a finish and a direct call cost: alone, and in a batch. One session for each, in turn."""

import json
import random
import time
from decimal import Decimal
from statistics import median
from typing import Any
from uuid import UUID

import psutil
import psycopg
from psycopg.adapt import Transformer

from bench.ground import SPREAD, Ground
from bench.http_load import RUN
from bench.measure import Bench
from bench.report import Row, fact
from bench.statements import DIGEST, in_batches, start

SIZES = (1, 16, 32)
KINDS = ("finish", "spend")
CALLS = 60  # of each kind and size, for each repetition


def runs(connection: psycopg.Connection[Any], url: str, number: int) -> list[UUID]:
    """So many that were started, on all work orders."""
    statement = in_batches(url, [start(order) for order in SPREAD], 32)
    raw, found = connection.pgconn, list[UUID]()
    for turn in range(-(-number // 32)):
        parameters = statement.parameters[turn % len(statement.parameters)]
        result = raw.exec_params(statement.sql.encode(), list(parameters))
        found += [UUID(each.decode()) for each in RUN.findall(result.get_value(0, 0) or b"")]
    random.shuffle(found)
    return found


def measure(bench: Bench, on: Ground) -> list[Row]:
    """Microseconds for each, as the client sees it, durable; and CPU of its session."""
    from budgets.admission import Caller, FinishTold, finish_fields
    from budgets.admission.batches import Ask
    from budgets.admission.direct_spend import Attribution, SpendTold, spend_fields
    from budgets.gathering import calls
    from config.run.scratch import scratch_database

    caller = Caller(DIGEST, "127.0.0.1")
    rounds = CALLS * bench.repetitions
    rows: list[Row] = []
    with scratch_database(on.template) as database:
        url = on.app_url(database)
        options = "-c timezone=UTC -c lock_timeout=2000"
        cells = {
            (kind, size): psycopg.connect(url, autocommit=True, options=options)
            for kind in KINDS
            for size in SIZES
        }
        with psycopg.connect(url, autocommit=True, options=options) as setup:
            started = runs(setup, url, (rounds + 8) * sum(SIZES))
        taken: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
        cpu: dict[tuple[str, int], float] = {}

        def ask(kind: str) -> Ask:
            if kind == "finish":
                report = FinishTold("success", Decimal("0.008"))
                return Ask("finish", finish_fields(started.pop(), report, caller=caller))
            spent = SpendTold(Attribution(user_id=f"u{random.randrange(4)}"), Decimal("0.008"))
            return Ask("spend", spend_fields(spent, caller=caller))

        for number in range(rounds + 8):
            order = list(cells)
            turn = number % len(order)
            for kind, size in order[turn:] + order[:turn]:
                connection, asks = cells[kind, size], [ask(kind) for _ in range(size)]
                if number == 8:
                    cpu[kind, size] = -session_seconds(connection)
                dump = Transformer(connection)
                call = calls.of_one(asks[0], dump) if size == 1 else calls.of_batch(asks, dump)
                name, raw = call.statement.name, connection.pgconn
                if number == 0:
                    raw.prepare(name, call.statement.sql)
                began = time.perf_counter()
                result = raw.exec_prepared(name, call.values)
                seconds = time.perf_counter() - began
                assert_settled(result, size)
                if number >= 8:
                    taken[kind, size].append(seconds / size)
        for (kind, size), connection in cells.items():
            used = cpu[kind, size] + session_seconds(connection)
            alone = median(taken[kind, 1])
            each = median(taken[kind, size])
            rows += [
                fact(f"{kind}, {size} in a call: µs each", each * 1e6),
                fact("… CPU of the session, µs each", used / rounds / size * 1e6),
            ]
            if size > 1:
                rows.append(fact("… of the time of one alone", each / alone))
            connection.close()
    return rows


def session_seconds(connection: psycopg.Connection[Any]) -> float:
    times = psutil.Process(connection.info.backend_pid).cpu_times()
    return float(times.user + times.system)


def assert_settled(result: "psycopg.pq.abc.PGresult", size: int) -> None:
    value = result.get_value(0, 0) or result.error_message
    statuses = [int(value)] if size == 1 else [each["status"] for each in json.loads(value)]
    assert statuses == [200] * size, value[:400]
