"""What happened in the last 24 hours, by the hour: read from runs and events by their time.

The cost of it grows with what happened in a day, never with history.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection

HOURS = 24
SERIES = 5  # of a stacked chart; the rest is one more
OTHER = "others"
ZERO = Decimal(0)

RUNS = """
SELECT date_trunc('hour', started_at, 'UTC'), coalesce(nullif(model, ''), 'no model told'),
    coalesce(nullif(feature, ''), 'no feature told'), count(*),
    count(*) FILTER (WHERE status = 'error'),
    count(*) FILTER (WHERE status IN ('success', 'error')),
    coalesce(sum(coalesce(cost, reserved_usd)), 0)
FROM work_order_runs WHERE started_at >= %s GROUP BY 1, 2, 3
UNION ALL
SELECT date_trunc('hour', at, 'UTC'), coalesce(nullif(model, ''), 'no model told'),
    coalesce(nullif(feature, ''), 'no feature told'), 0, 0, 0, sum(cost_usd)
FROM direct_spend WHERE at >= %s GROUP BY 1, 2, 3
"""
REFUSED = """
SELECT date_trunc('hour', created_at, 'UTC'), coalesce(nullif(meta->>'reason', ''), kind), count(*)
FROM operations_events
WHERE kind IN ('RATE_LIMIT_429', 'START_REFUSED') AND created_at >= %s GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart: a value for each of the hours."""

    name: str
    values: list[Decimal]


@dataclass(frozen=True, slots=True)
class LastDay:
    """`hours` are the beginnings of the last 24 hours of the clock, UTC, oldest first; the last one
    is not over. Dollars are committed: settled, or reserved by what still runs."""

    hours: list[datetime]
    runs: int
    failed: int
    ended: int
    usd: Decimal
    by_model: list[Series]
    by_feature: list[Series]
    runs_by_hour: list[int]
    refusals: list[Series]
    refused: list[tuple[str, int]]  # by limit, the most frequent first

    @property
    def error_rate(self) -> Decimal | None:
        return Decimal(self.failed) / self.ended if self.ended else None


def last_day(now: datetime) -> LastDay:
    """Two queries."""
    last = now.replace(minute=0, second=0, microsecond=0)
    hours = [last - timedelta(hours=ago) for ago in range(HOURS - 1, -1, -1)]
    with connection.cursor() as cursor:
        cursor.execute(RUNS, [hours[0], hours[0]])
        rows = cursor.fetchall()
        cursor.execute(REFUSED, [hours[0]])
        refusals = cursor.fetchall()
    started = dict.fromkeys(hours, 0)
    for row in rows:
        started[row[0]] = started.get(row[0], 0) + row[3]
    refused = stacked(hours, ((hour, why, Decimal(times)) for hour, why, times in refusals))
    return LastDay(
        hours=hours,
        runs=sum(row[3] for row in rows),
        failed=sum(row[4] for row in rows),
        ended=sum(row[5] for row in rows),
        usd=sum((row[6] for row in rows), ZERO),
        by_model=stacked(hours, ((row[0], row[1], row[6]) for row in rows)),
        by_feature=stacked(hours, ((row[0], row[2], row[6]) for row in rows)),
        runs_by_hour=[started[hour] for hour in hours],
        refusals=refused,
        refused=_by_limit(refusals),
    )


def stacked(hours: list[datetime], rows: Iterable[tuple[datetime, str, Decimal]]) -> list[Series]:
    """The largest few by their sum, and all others as one. Pure."""
    sums: dict[str, dict[datetime, Decimal]] = {}
    for hour, name, value in rows:
        of_name = sums.setdefault(name, {})
        of_name[hour] = of_name.get(hour, ZERO) + value
    ranked = sorted(sums, key=lambda name: (-sum(sums[name].values()), name))
    shown = [Series(name, [sums[name].get(h, ZERO) for h in hours]) for name in ranked[:SERIES]]
    if rest := ranked[SERIES:]:
        shown.append(
            Series(OTHER, [sum((sums[name].get(h, ZERO) for name in rest), ZERO) for h in hours])
        )
    return shown


def _by_limit(rows: Iterable[tuple[datetime, str, int]]) -> list[tuple[str, int]]:
    times: dict[str, int] = {}
    for _, why, count in rows:
        times[why] = times.get(why, 0) + count
    return sorted(times.items(), key=lambda each: (-each[1], each[0]))
