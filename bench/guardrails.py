"""What the guardrails cost: the same start with every kind of limit in force, and with none."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from bench.ground import HOT, HUGE, Ground
from bench.measure import START, Bench
from bench.report import Cell, Figures, Row, aim, share
from bench.statements import NAMES, in_batches, one_by_one, start

NONE = "DELETE FROM budgets"
# The shipped rows, and one more of every scope, in different windows and measures; a throttle and a
# cost cap on the feature; a kill switch, on, for something else.
ALL = f"""
INSERT INTO budgets (scope, subject, "window", measure, amount, alert_percents) VALUES
    ('surface', '*', 'hour', 'usd', {HUGE}, '{{80,100}}'),
    ('feature', '*', 'day', 'usd', {HUGE}, '{{80,100}}'),
    ('model', '*', 'rolling_hour', 'usd', {HUGE}, '{{80,100}}'),
    ('agent', '*', 'day', 'requests', {HUGE}, '{{80,100}}'),
    ('user', '*', 'month', 'usd', {HUGE}, '{{80,100}}'),
    ('cost_dimension', '*', 'month', 'usd', {HUGE}, '{{80,100}}');
INSERT INTO feature_flags (feature, requests_per_period, period, cost_cap_usd)
    VALUES ('bench-feature', 1000000, 'rolling_hour', 1000000);
INSERT INTO kill_switches (scope, target, enabled, reason, changed_by, changed_at)
    VALUES ('Surface', 'elsewhere', true, 'bench', 'bench', now());
"""
SETS = {"no guardrail": NONE, "shipped": "SELECT", "all guardrails": ALL}
NAMED = {
    "model": "bench-model",
    "userId": "bench-user",
    "surface": "cli",
    "feature": "bench-feature",
}
CELLS = ("door, 32", "one by one, 1", "16 in a call", "32 in a call")


@contextmanager
def cells(bench: Bench, on: Ground) -> Iterator[dict[str, Cell]]:
    """Side by side: a service, and a database, for each set of limits."""
    from config.run.scratch import scratch_database, scratch_service

    found: dict[str, Cell] = {}
    with ExitStack() as stack:
        for name, sql in SETS.items():
            template = stack.enter_context(scratch_database(on.template))
            with psycopg.connect(on.superuser_url(template), autocommit=True) as owner:
                owner.execute(sql)
                owner.execute("VACUUM ANALYZE")
            service = stack.enter_context(scratch_service(template=template))
            door = bench.http(service, START, [HOT], 32, more=NAMED)
            door()
            database = stack.enter_context(scratch_database(template))
            url, asks = on.app_url(database), [start(HOT, NAMES)]
            statements = [one_by_one(url, asks), *(in_batches(url, asks, n) for n in (16, 32))]
            calls = [bench.database(on, database, each, 1) for each in statements]
            found |= {
                f"{what}, {name}": cell for what, cell in zip(CELLS, [door, *calls], strict=True)
            }
        yield found


def aims(got: dict[str, Figures]) -> list[Row]:
    """The time of one start, so the inverse of the rates."""
    return [
        aim(
            f"{what}: time with {name} / with none",
            share(got[f"{what}, no guardrail"], got[f"{what}, {name}"]),
            1.3, at_least=False,
        )
        for what in CELLS
        for name in ("shipped", "all guardrails")
    ]  # fmt: skip
