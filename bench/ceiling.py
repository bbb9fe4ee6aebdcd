"""What one lock of all counters leaves: calls that decide nothing, beside floor and admission."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from bench.ground import HOT, Ground
from bench.measure import Bench, Cell
from bench.report import Figures, share
from bench.statements import ADMISSION, FLOOR

CLIENTS = 16
LOCK = "PERFORM tollgate.hold_counters();"
WRITE = FLOOR.strip() + " INTO written;"
CHARGE = """UPDATE counters SET runs = runs + 1, open_runs = open_runs + 1,
    reserved_usd = reserved_usd + $5, reserved_tokens = reserved_tokens + 0
WHERE id = ANY (charged);"""
CALLS = {
    "no lock": WRITE,
    "written under the lock": LOCK + WRITE,
    "and the counters": LOCK + CHARGE + WRITE,
    "written before the lock": WRITE + LOCK + CHARGE,
}
# As admission does it: a function that is planned once, and a commit that gives the lock back
# before the flush.
ROUTINES = """
CREATE FUNCTION bench_write_NUMBER(bytea, inet, text, text, numeric, text, bytea) RETURNS text
LANGUAGE plpgsql VOLATILE SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    charged bigint[] := 'COUNTERS';
    written text;
BEGIN
    BODY
    RETURN written;
END $$;
CREATE PROCEDURE bench_call_NUMBER(bytea, inet, text, text, numeric, text, bytea, INOUT body text)
LANGUAGE plpgsql AS $$
BEGIN
    body := bench_write_NUMBER($1, $2, $3, $4, $5, $6, $7);
    CALL tollgate.commit(true);
END $$;
"""


@contextmanager
def cells(bench: Bench, on: Ground) -> Iterator[dict[str, Cell]]:
    from config.scratch import scratch_database

    with scratch_database(on.template) as database:
        url = on.app_url(database)
        made = {
            name: bench.database(url, statement, [HOT], CLIENTS)
            for name, statement in (("floor", FLOOR), ("admission", ADMISSION))
        }
        made["admission"]()  # it makes the counters of an hour, a day, a month
        with psycopg.connect(on.superuser_url(database), autocommit=True) as ruler:
            ids = [each for (each,) in ruler.execute("SELECT id FROM counters ORDER BY id LIMIT 8")]
            for number, (name, body) in enumerate(CALLS.items()):
                routines = ROUTINES.replace("NUMBER", str(number)).replace("BODY", body)
                ruler.execute(routines.replace("COUNTERS", f"{{{','.join(map(str, ids))}}}"))
                call = f"CALL bench_call_{number}($1, $2, $3, $4, $5, $6, $7, NULL)"
                made[name] = bench.database(url, call, [HOT], CLIENTS)
        yield made


def shares(got: dict[str, Figures]) -> list[str]:
    """Of the floor's rate, and how many times its p99."""
    floor = got["floor"]
    return [
        f"{name}: {share(each.rate, floor.rate):.2f} of the floor,"
        f" p99 {share(each.p99, floor.p99):.1f} times as long"
        for name, each in got.items()
        if name != "floor"
    ]
