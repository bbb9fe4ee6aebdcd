"""What the guardrails cost: the same start with every kind of limit in force, and with none."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import psycopg

from bench.ground import HOT, HUGE, Ground
from bench.measure import Bench, Cell
from bench.report import Figures, aim, share
from bench.statements import NAMED_ADMISSION

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


@contextmanager
def cells(bench: Bench, on: Ground) -> Iterator[dict[str, Cell]]:
    """Side by side: a service, and a database, for each set of limits."""
    from config.scratch import scratch_database, scratch_service

    found: dict[str, Cell] = {}
    with ExitStack() as stack:
        for name, sql in SETS.items():
            template = stack.enter_context(scratch_database(on.template))
            with psycopg.connect(on.superuser_url(template), autocommit=True) as owner:
                owner.execute(sql)
                owner.execute("VACUUM ANALYZE")
            service = stack.enter_context(scratch_service(template=template))
            process = service.children[0].process
            assert process is not None
            port = int(service.url.rsplit(":", 1)[1])
            server = psutil.Process(process.pid)
            found[f"HTTP, {name}, 8"] = bench.http(
                port, server, "/api/work-orders/start", [HOT], 8, 201, NAMED
            )
            database = stack.enter_context(scratch_database(template))
            for clients in (1, 16):
                found[f"call, {name}, {clients}"] = bench.database(
                    on.app_url(database), NAMED_ADMISSION, [HOT], clients
                )
        yield found


def aims(got: dict[str, Figures]) -> list[str]:
    """The time of one start, so the inverse of the rates."""
    return [
        aim(
            f"{how}: time with {name} / with none",
            share(got[f"{how.split(' at ')[0]}, no guardrail, {at}"].rate,
                  got[f"{how.split(' at ')[0]}, {name}, {at}"].rate),
            1.3, at_least=False,
        )
        for how, at in (("HTTP at 8", 8), ("call at 1", 1), ("call at 16", 16))
        for name in ("shipped", "all guardrails")
    ]  # fmt: skip
