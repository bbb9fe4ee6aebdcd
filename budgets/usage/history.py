"""Governed spend over time, by what it is grouped by, and what is usual at this hour.

A run counts at its start, with what it cost or has reserved, as in the counters of a day. Hours
that are over are read from their sums (`tollgate.governed_hours`): a month costs its hours.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from statistics import median

from opslog.database import query
from opslog.events.filters import REFUSALS
from opslog.pages.charts import Series

GROUPS: Mapping[str, str] = {
    "work_order": "work order",
    "model": "model",
    "agent": "agent",
    "token": "token",
    "user": "user",
    "feature": "feature",
}
OTHERS = "others"
ZERO = Decimal(0)
SHOWN = 5  # series of a chart; the rest is one more
NAMES_KEPT = 300  # of each kind and hour
HOURS_AT_ONCE = 120  # kept by one job
USUAL_DAYS, LEAST_DAYS = 7, 3  # that are compared with, and without which nothing is usual


@dataclass(frozen=True, slots=True)
class Span:
    """How far back a chart goes, and what one of its columns is."""

    label: str
    whole: timedelta
    step: timedelta
    word: str

    @property
    def every(self) -> str:
        """The step, as SQL has it."""
        return f"{self.step.total_seconds():.0f} seconds"


SPANS: Mapping[str, Span] = {
    "1h": Span("1 h", timedelta(hours=1), timedelta(minutes=1), "a minute"),
    "24h": Span("24 h", timedelta(hours=24), timedelta(hours=1), "an hour"),
    "7d": Span("7 d", timedelta(days=7), timedelta(hours=6), "in 6 hours"),
    "30d": Span("30 d", timedelta(days=30), timedelta(days=1), "a day"),
}

# The largest few names; all others are one already, since there may be a user for each run.
LARGEST = """
WITH s AS MATERIALIZED (
    SELECT date_bin(%(step)s::interval, {at}, 'epoch') AS at, name, sum(usd) AS usd
    FROM {source} GROUP BY 1, 2
), largest AS (
    SELECT name FROM s WHERE name <> %(others)s
    GROUP BY name ORDER BY sum(usd) DESC, name LIMIT %(shown)s
)
SELECT s.at, coalesce(l.name, %(others)s), sum(s.usd)
FROM s LEFT JOIN largest l USING (name) GROUP BY 1, 2
"""
OF_ROWS = LARGEST.format(
    at="at",
    source="tollgate.governed_rows(%(kind)s, %(since)s, %(now)s, %(step)s::interval)",
)
OF_HOURS = LARGEST.format(at="hour", source="tollgate.governed_hours(%(kind)s, %(since)s, %(now)s)")
# The same span of each of the days before, hours in part where it begins or ends within one; of
# days that were wholly in use.
USUAL = """
SELECT d.ago, h.name, sum(h.usd * extract(epoch FROM
    least(h.hour + interval '1 hour', s.till) - greatest(h.hour, s.since)) / 3600)
FROM (SELECT ago FROM generate_series(1, %(days)s) ago WHERE %(since)s::timestamptz
        - make_interval(days => ago) >= (SELECT least(
            (SELECT min(started_at) FROM work_order_runs), (SELECT min(at) FROM direct_spend)))
    ) d
CROSS JOIN LATERAL (SELECT %(since)s::timestamptz - make_interval(days => d.ago) AS since,
    %(till)s::timestamptz - make_interval(days => d.ago) AS till) s
LEFT JOIN LATERAL tollgate.governed_hours(%(kind)s, date_trunc('hour', s.since, 'UTC'),
    date_trunc('hour', s.till - interval '1 microsecond', 'UTC') + interval '1 hour') h
    ON h.name = ANY (%(names)s)
GROUP BY 1, 2
"""
REFUSED = """
SELECT date_bin(%s::interval, created_at, 'epoch'), coalesce(nullif(meta->>'reason', ''), kind),
    sum(tollgate.times(meta))
FROM operations_events WHERE kind = ANY (%s) AND created_at >= %s GROUP BY 1, 2
"""


def columns(span: Span, now: datetime) -> list[datetime]:
    """The beginnings of the columns of a chart, the present one last."""
    seconds = span.step.total_seconds()
    last = now - timedelta(seconds=now.timestamp() % seconds)
    number = span.whole // span.step
    return [last - span.step * ago for ago in range(number - 1, -1, -1)]


def by_group(kind: str, span: Span, now: datetime) -> list[Series]:
    """Dollars of each column, by the largest names of that kind. One query."""
    moments = columns(span, now)
    return stacked(
        moments,
        query.rows(
            OF_ROWS if span.step < timedelta(hours=1) else OF_HOURS,
            {
                "kind": kind,
                "since": moments[0],
                "now": now,
                "step": span.every,
                "others": OTHERS,
                "shown": SHOWN,
            },
        ),
    )


def names_with_spend(
    kind: str, names: Collection[str], since: datetime, until: datetime
) -> set[str]:
    """Those of these names that spent something in whole hours between two moments."""
    if not names:
        return set()
    return {
        name
        for (name,) in query.rows(
            "SELECT DISTINCT name FROM tollgate.governed_hours(%s, %s, %s)"
            " WHERE usd > 0 AND name = ANY (%s)",
            [kind, since, until, list(names)],
        )
    }


def stacked(
    moments: Sequence[datetime], rows: Iterable[tuple[datetime, str, Decimal]]
) -> list[Series]:
    """The largest few by their sum, and all others as one. Pure."""
    sums: dict[str, dict[datetime, Decimal]] = {}
    for at, name, value in rows:
        of_name = sums.setdefault(name, {})
        of_name[at] = of_name.get(at, ZERO) + value
    named = [name for name in sums if name != OTHERS]
    ranked = sorted(named, key=lambda name: (-sum(sums[name].values()), name))
    shown = [Series(name, [sums[name].get(at, ZERO) for at in moments]) for name in ranked[:SHOWN]]
    rest = [*ranked[SHOWN:], *(name for name in sums if name == OTHERS)]
    if rest:
        values = [sum((sums[name].get(at, ZERO) for name in rest), ZERO) for at in moments]
        shown.append(Series(OTHERS, values))
    return shown


def usual(kind: str, names: Collection[str], since: datetime, till: datetime) -> dict[str, Decimal]:
    """What each of these names committed in the same span of the last seven days: the median. Empty
    while fewer than three of them were in use. One query."""
    found: dict[str, dict[int, Decimal]] = {name: {} for name in names}
    days: set[int] = set()
    for ago, name, usd in query.rows(
        USUAL,
        {"kind": kind, "names": list(names), "since": since, "till": till, "days": USUAL_DAYS},
    ):
        days.add(ago)
        if name is not None:
            found[name][ago] = usd
    if len(days) < LEAST_DAYS:
        return {}
    return {name: median(of.get(ago, ZERO) for ago in days) for name, of in found.items()}


def keep_hours() -> int:
    """Sum up hours that are over for good; returns how many. The newest first, so that a new
    installation is quick at once. A transaction each: see `tollgate.keep_hour_v1`."""
    for kept in range(HOURS_AT_ONCE):
        if not query.one("SELECT tollgate.keep_hour_v1(%s)", [NAMES_KEPT])[0]:
            return kept
    return HOURS_AT_ONCE


def refusals(span: Span, now: datetime) -> list[Series]:
    """How many asks each limit refused in each column. One query, by the index of the kinds."""
    moments = columns(span, now)
    return stacked(moments, query.rows(REFUSED, [span.every, list(REFUSALS), moments[0]]))
