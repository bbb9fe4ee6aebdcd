"""Acknowledged starts that are gone after an immediate stop of PostgreSQL under load: must be 0."""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import psycopg

from bench import database_load
from bench.database_load import DatabaseAsk
from bench.ground import SPREAD, Ground
from bench.report import Row, aim, fact
from bench.statements import Statement, in_batches, start

LOST = """
SELECT count(*) FROM unnest(%s::uuid[]) AS listed (id)
LEFT JOIN work_order_runs r ON r.id = listed.id
LEFT JOIN operations_events e ON e.meta->>'runId' = listed.id::text
WHERE r.id IS NULL OR e.id IS NULL
"""


# The database would make it synchronous again: this takes that away.
ASYNCHRONOUS = """
CREATE OR REPLACE FUNCTION tollgate.confirm_commit() RETURNS void LANGUAGE sql AS ''
"""


@dataclass(frozen=True)
class Losses:
    acknowledged: int
    lost: int


def one_round(
    ground: Ground, loader: Executor, database: str, statement: Statement, setup: Sequence[str]
) -> Losses:
    """Load, an immediate stop in the middle of it, a restart, and the count of what is gone."""
    ask = DatabaseAsk(ground.app_url(database), statement, 2, 30, ground.pid, setup, keep=True)
    load = loader.submit(database_load.run, ask)
    time.sleep(2)
    ground.stop_immediately()
    result = load.result().acknowledged
    ground.start_again()
    with psycopg.connect(ground.superuser_url(database)) as owner:
        row = owner.execute(LOST, [result]).fetchone()
    assert row is not None
    return Losses(len(result), int(row[0]))


def stops(ground: Ground, loader: Executor, number: int) -> tuple[Losses, Losses]:
    """What batches of 32 lost in so many rounds, and, as the control, the same decision with
    `synchronous_commit = off` and nothing that overrides it."""
    from config.run.scratch import scratch_database

    totals = []
    for procedure, setup in ((True, ()), (False, ("SET synchronous_commit = off",))):
        with scratch_database(ground.template) as database:
            if not procedure:
                with psycopg.connect(ground.superuser_url(database)) as owner:
                    owner.execute(ASYNCHRONOUS)
            asks = [start(order) for order in SPREAD]
            statement = in_batches(ground.app_url(database), asks, 32, procedure=procedure)
            each = [one_round(ground, loader, database, statement, setup) for _ in range(number)]
        totals.append(Losses(sum(one.acknowledged for one in each), sum(one.lost for one in each)))
    return totals[0], totals[1]


def rows(ground: Ground, loader: Executor, number: int) -> list[Row]:
    ours, control = stops(ground, loader, number)
    return [
        fact(f"lost in {number} stops", f"{ours.lost} of {ours.acknowledged:,}"),
        fact("control: asynchronous commit", f"{control.lost} of {control.acknowledged:,}"),
        aim("acknowledged starts lost", ours.lost, 0, at_least=False),
    ]
