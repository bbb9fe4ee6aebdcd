"""What each hour cost, against what that hour of the week normally costs.

Hours that are summed up are read from the sums; hours that are stale, from the events themselves.
So an answer is right whether or not the job of the sums has run.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from statistics import median

from opslog.database.query import rows
from opslog.incidents.rules import Hour
from opslog.models import Incident

HOUR = timedelta(hours=1)
HISTORY = timedelta(days=28)  # four of the same hour of the week
SAME_HOUR_OF_WEEK = 2  # so many of them are enough; else the same hour of any day is taken
ZERO = Decimal(0)

COSTS = """
WITH stale AS MATERIALIZED (
    SELECT DISTINCT hour FROM stale_hours WHERE hour >= %(since)s AND hour < %(until)s
)
SELECT hour, sum(cost), sum(requests) FROM (
    SELECT h.hour, h.cost_usd AS cost, h.requests FROM inference_hours h
    WHERE h.hour >= %(since)s AND h.hour < %(until)s
        AND (%(feature)s = '' OR h.feature = %(feature)s)
        AND NOT EXISTS (SELECT FROM stale s WHERE s.hour = h.hour)
    UNION ALL
    SELECT s.hour, coalesce(e.cost_usd, 0), 1 FROM stale s JOIN inference_events e
        ON e.created_at >= s.hour AND e.created_at < s.hour + interval '1 hour'
    WHERE %(feature)s = '' OR e.feature = %(feature)s
) totals GROUP BY hour ORDER BY hour
"""


def whole_hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def per_hour(since: datetime, until: datetime, feature: str = "") -> dict[datetime, Decimal]:
    """Dollars of each whole hour in [since, until); hours without cost are left out."""
    return {hour: usd for hour, (usd, _) in _read(since, until, feature).items()}


def requests_in(since: datetime, until: datetime, feature: str = "") -> int:
    """How many calls were reported in [since, until): none at all is no sign of low cost."""
    return sum(requests for _, requests in _read(since, until, feature).values())


def hours(
    *, spike: datetime, since: datetime, until: datetime, feature: str = "", otherwise: Decimal
) -> list[Hour]:
    """Each whole hour in [since, until) with its baseline, which is taken from before the spike.

    `otherwise`: the baseline where there is no hour of the past to compare with.
    """
    begins = whole_hour(spike)
    past = per_hour(begins - HISTORY, begins, feature)
    first = min(per_hour(begins - HISTORY, begins), default=begins)
    shown = _read(since, until, feature)
    normal = baseline(past, first, begins)
    found = []
    hour = whole_hour(since)
    while hour < until:
        usd, requests = shown.get(hour, (ZERO, 0))
        found.append(Hour(hour, usd, normal.get(slot(hour), otherwise), silent=not requests))
        hour += HOUR
    return found


def of(incident: Incident, since: datetime, until: datetime, feature: str = "") -> list[Hour]:
    """Hours of everything, or of a feature, with what they normally cost: as before its first
    phase, because the later ones have that in their past."""
    return hours(
        spike=incident.first_started_at,
        since=since,
        until=until,
        feature=feature,
        otherwise=ZERO if feature else incident.baseline_usd_per_hour,
    )


def is_usually_silent(incident: Incident, since: datetime, until: datetime) -> bool:
    """Whether the guilty feature, whose past is known, normally does nothing in these hours."""
    first = whole_hour(incident.first_started_at)
    if not per_hour(first - HISTORY, first, incident.feature):
        return False
    return not any(hour.baseline_usd for hour in of(incident, since, until, incident.feature))


def slot(hour: datetime) -> tuple[int, int]:
    return hour.weekday(), hour.hour


def baseline(
    past: Mapping[datetime, Decimal], first: datetime, until: datetime
) -> dict[tuple[int, int], Decimal]:
    """The normal cost of each hour of the week: the median of the same ones, or, with less than two
    of them, of the same hour of any day. Hours from `first` on that are not in `past` cost nothing.
    """
    of_week: defaultdict[tuple[int, int], list[Decimal]] = defaultdict(list)
    of_day: defaultdict[int, list[Decimal]] = defaultdict(list)
    hour = whole_hour(first)
    while hour < until:
        of_week[slot(hour)].append(past.get(hour, ZERO))
        of_day[hour.hour].append(past.get(hour, ZERO))
        hour += HOUR
    return {
        (day, clock): median(
            of_week[day, clock] if len(of_week[day, clock]) >= SAME_HOUR_OF_WEEK else of_day[clock]
        )
        for day in range(7)
        for clock in range(24)
        if of_day[clock]
    }


def total(found: Iterable[Hour]) -> Decimal:
    return sum((hour.usd for hour in found), ZERO)


def _read(since: datetime, until: datetime, feature: str) -> dict[datetime, tuple[Decimal, int]]:
    found = rows(COSTS, {"since": since, "until": until, "feature": feature})
    return {hour: (usd, int(requests)) for hour, usd, requests in found}
