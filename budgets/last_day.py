"""What happened in the last 24 hours, by the hour: read from runs and events by their time.

The cost of it grows with what happened in a day, never with history.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection

from opslog.event_filters import REFUSALS

HOURS = 24
SERIES = 5  # of a stacked chart; the rest is one more
OTHER = "others"
NO_FEATURE = "no feature told"
ZERO = Decimal(0)
LIMIT_REACHED = "RATE_LIMIT_429"
# What else an ask is refused with (docs/api.md); an event has the reason only.
STATUSES = {
    "unknown_agent": 403,
    "kill_switch": 403,
    "feature_off": 403,
    "suspended": 409,
    "unpriced_model": 422,
    "confirm": 428,
    "breaker_open": 503,
}

RUNS = """
SELECT date_trunc('hour', started_at, 'UTC'), coalesce(nullif(model, ''), 'no model told'),
    coalesce(nullif(feature, ''), 'no feature told'), count(*),
    count(*) FILTER (WHERE status = 'error'),
    count(*) FILTER (WHERE status <> 'running'),
    coalesce(sum(coalesce(cost, reserved_usd)), 0)
FROM work_order_runs WHERE started_at >= %s GROUP BY 1, 2, 3
UNION ALL
SELECT date_trunc('hour', at, 'UTC'), coalesce(nullif(model, ''), 'no model told'),
    coalesce(nullif(feature, ''), 'no feature told'), 0, 0, 0, sum(cost_usd)
FROM direct_spend WHERE at >= %s GROUP BY 1, 2, 3
"""
REFUSED = """
SELECT date_trunc('hour', created_at, 'UTC'), coalesce(nullif(meta->>'reason', ''), kind), kind,
    sum(tollgate.times(meta))::bigint
FROM operations_events WHERE kind = ANY (%s) AND created_at >= %s GROUP BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart: a value for each of the hours."""

    name: str
    values: list[Decimal]


@dataclass(frozen=True, slots=True)
class Refused:
    """How often something was refused; `status` is 0 where it is not known."""

    reason: str
    status: int
    times: int


@dataclass(frozen=True, slots=True)
class LastDay:
    """`hours` are the beginnings of the hours of the clock that the last 24 hours lie in, UTC,
    oldest first: of the first and of the last one there is a part. Dollars are committed: settled,
    or reserved by what still runs; direct spend is among them. Runs are those that started in this
    time. `ended`: those of them that run no more, however they ended; `failed`: in an error."""

    since: datetime
    hours: list[datetime]
    runs: int
    failed: int
    ended: int
    usd: Decimal
    by_model: list[Series]
    by_feature: list[Series]
    runs_by_hour: list[int]
    refusals: list[Series]
    refused: list[Refused]  # the most frequent first

    @property
    def error_rate(self) -> Decimal | None:
        return Decimal(self.failed) / self.ended if self.ended else None

    @property
    def refusals_in_all(self) -> int:
        return sum(each.times for each in self.refused)

    @property
    def refusals_429(self) -> int:
        return sum(each.times for each in self.refused if each.status == 429)


def last_day(now: datetime) -> LastDay:
    """Two queries."""
    since = now - timedelta(hours=HOURS)
    last = now.replace(minute=0, second=0, microsecond=0)
    hours = [last - timedelta(hours=ago) for ago in range(HOURS, -1, -1)]
    with connection.cursor() as cursor:
        cursor.execute(RUNS, [since, since])
        rows = cursor.fetchall()
        cursor.execute(REFUSED, [list(REFUSALS), since])
        refusals = cursor.fetchall()
    started = dict.fromkeys(hours, 0)
    for row in rows:
        started[row[0]] = started.get(row[0], 0) + row[3]
    refused = stacked(hours, ((hour, why, Decimal(times)) for hour, why, _, times in refusals))
    return LastDay(
        since=since,
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


def _by_limit(rows: Iterable[tuple[datetime, str, str, int]]) -> list[Refused]:
    times: dict[tuple[str, int], int] = {}
    for _, why, kind, count in rows:
        status = 429 if kind == LIMIT_REACHED else STATUSES.get(why, 0)
        times[why, status] = times.get((why, status), 0) + count
    told = [Refused(why, status, count) for (why, status), count in times.items()]
    return sorted(told, key=lambda each: (-each.times, each.reason, each.status))
