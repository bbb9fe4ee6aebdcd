"""Was any limit exceeded? Judged from the runs on record alone, never from the counters; and do
these say the same as the runs, to the ninth decimal?

For every admission the use of that moment is added up again from the runs that had started before
it: what they cost where they had ended, what they had reserved where not. So an admission above a
cap is found even if cheap settlements have hidden it since. A run that cost more than it had
reserved may leave use above a cap; an admission after it is what must not happen.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from operator import attrgetter

import psycopg
from psycopg.rows import class_row

from client.python.tollgate_client import Tollgate

EVERYTHING = "all work orders"


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """`cost` and `finished_at` are None while it runs."""

    work_order_id: str
    day: date
    reserved_usd: Decimal
    cost: Decimal | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits in force for one subject; None: not limited."""

    runs_per_day: int | None = None
    usd_per_day: Decimal | None = None
    concurrent_runs: int | None = None


@dataclass(frozen=True, slots=True)
class Exceeded:
    """An admission that took `used` above `limit`; only the first one of a subject and a day."""

    subject: str
    day: date
    measure: str
    limit: Decimal
    used: Decimal


@dataclass(frozen=True, slots=True)
class Sums:
    """What was charged in all, settled and reserved, in US dollars: by the runs (and the spend that
    was reported), by the days of the work orders, by the days of everything."""

    runs: Decimal
    direct: Decimal
    work_orders: Decimal
    everything: Decimal

    @property
    def agree(self) -> bool:
        return self.runs == self.work_orders and self.runs + self.direct == self.everything


def exceeded(
    runs: Iterable[RecordedRun],
    limits: Mapping[str, Limits],
    *,
    admitted_from: datetime | None = None,
) -> list[Exceeded]:
    """Every limit that an admission broke; `limits` is keyed by work order id and EVERYTHING.

    Admissions before `admitted_from` count as use, and are not judged: other limits may have been
    in force then.
    """
    by_subject: dict[str, list[RecordedRun]] = {EVERYTHING: []}
    for run in runs:
        by_subject.setdefault(run.work_order_id, []).append(run)
        by_subject[EVERYTHING].append(run)
    return [
        finding
        for subject, its_runs in sorted(by_subject.items())
        for finding in _judge(subject, its_runs, limits.get(subject, Limits()), admitted_from)
    ]


def _judge(
    subject: str, runs: list[RecordedRun], limits: Limits, admitted_from: datetime | None
) -> Iterator[Exceeded]:
    for day, group in groupby(sorted(runs, key=attrgetter("day")), key=attrgetter("day")):
        peak_runs, peak_usd, peak_open = 0, Decimal(0), 0
        count, used, still_open = 0, Decimal(0), 0
        for moment, starts, run in _moments(list(group)):
            if not starts:
                used += (run.cost or Decimal(0)) - run.reserved_usd
                still_open -= 1
                continue
            count += 1
            used += run.reserved_usd
            still_open += 1
            if admitted_from is None or moment >= admitted_from:
                peak_runs, peak_usd = count, max(peak_usd, used)
                peak_open = max(peak_open, still_open)
        for measure, limit, most in (
            ("runs/day", limits.runs_per_day, peak_runs),
            ("USD/day", limits.usd_per_day, peak_usd),
            ("concurrent runs", limits.concurrent_runs, peak_open),
        ):
            if limit is not None and most > limit:
                yield Exceeded(subject, day, measure, Decimal(limit), Decimal(most))


def _moments(runs: list[RecordedRun]) -> list[tuple[datetime, bool, RecordedRun]]:
    """Starts (True) and ends (False) in the order of time, ends first where both are at once."""
    moments = [(run.started_at, True, run) for run in runs]
    moments += [(run.finished_at, False, run) for run in runs if run.finished_at]
    return sorted(moments, key=lambda moment: moment[:2])


RUNS = """
SELECT wo_id AS work_order_id, day, reserved_usd, cost, started_at, finished_at
FROM work_order_runs
"""
CAPS = """
SELECT id, runs_per_day, usd_per_day, max_concurrent_runs FROM work_orders
"""
SUMS = """
SELECT (SELECT coalesce(sum(coalesce(cost, reserved_usd)), 0) FROM work_order_runs),
    (SELECT coalesce(sum(cost_usd), 0) FROM direct_spend),
    coalesce(sum(reserved_usd + settled_usd) FILTER (WHERE scope = 'work_order'), 0),
    coalesce(sum(reserved_usd + settled_usd) FILTER (WHERE scope = 'global'), 0)
FROM counters WHERE "window" = 'day'
"""
SHARED = """
SELECT max(amount) FILTER (WHERE "window" = 'day' AND measure = 'usd'),
       max(amount) FILTER (WHERE "window" = 'open' AND measure = 'runs')
FROM budgets WHERE scope = 'global'
"""


def recorded(database_url: str) -> tuple[list[RecordedRun], dict[str, Limits]]:
    """All runs of a database and the limits in force there, in plain SQL."""
    with psycopg.connect(database_url) as connection:
        with connection.cursor(row_factory=class_row(RecordedRun)) as cursor:
            runs = cursor.execute(RUNS).fetchall()
        limits = {
            str(row[0]): Limits(runs_per_day=row[1], usd_per_day=row[2], concurrent_runs=row[3])
            for row in connection.execute(CAPS)
        }
        shared = connection.execute(SHARED).fetchone()
    if shared is not None:
        limits[EVERYTHING] = Limits(
            usd_per_day=shared[0], concurrent_runs=None if shared[1] is None else int(shared[1])
        )
    return runs, limits


def sums(database_url: str) -> Sums:
    with psycopg.connect(database_url) as connection:
        return Sums(*connection.execute(SUMS).fetchall()[0])


def recorded_over_http(
    client: Tollgate, work_orders: Sequence[str], *, since: datetime
) -> tuple[list[RecordedRun], dict[str, Limits]]:
    """The same through the API: the runs of these work orders that started at `since` or later.

    What all work orders share cannot be judged there: others may spend as well.
    """
    runs, limits = [], {}
    for each in client.work_orders():
        if each["id"] in work_orders:
            limits[each["id"]] = Limits(
                runs_per_day=int(each["capsInForce"]["runsPerDay"]),
                usd_per_day=Decimal(str(each["capsInForce"]["usdPerDay"])),
                concurrent_runs=int(each["capsInForce"]["maxConcurrentRuns"]),
            )
            runs += list(_runs_over_http(client, each["id"], since))
    return runs, limits


def _runs_over_http(client: Tollgate, work_order_id: str, since: datetime) -> Iterator[RecordedRun]:
    for run in client.runs(work_order_id):  # newest first
        started_at = datetime.fromisoformat(run["startedAt"])
        if started_at < since:
            return
        yield RecordedRun(
            work_order_id=work_order_id,
            day=started_at.astimezone(UTC).date(),
            reserved_usd=Decimal(run["reservedUsd"]),
            cost=None if run["costUsd"] is None else Decimal(run["costUsd"]),
            started_at=started_at,
            finished_at=datetime.fromisoformat(run["finishedAt"]) if run["finishedAt"] else None,
        )
