"""Ranges from the hourly sums of telemetry, written into the registry by a job.

A month: the least and the most of the calendar months (UTC) of which every day is there; where
there is none yet, the least and the most of a whole day, times thirty. The day on which telemetry
began is whole only if it began in its first hour. A request: the 5th and the 95th percentile
(interpolated) of the hourly means of what was priced. Today is left out: it is not over.
"""

from django.db import transaction
from django.db.models.functions import Now

from budgets.models import Hotspot
from budgets.models.hotspots import EVERY_FEATURE
from opslog.database import query

MONTHS_BACK = 6
# Percentiles are computed in binary: as numeric, half of a unit is rounded as it is written.
MEASURE = """
WITH bounds AS (
    SELECT date_trunc('month', tollgate.now() - make_interval(months => %(months)s), 'UTC')
            AS first,
        date_trunc('day', tollgate.now(), 'UTC') AS today,
        date_trunc('month', tollgate.now(), 'UTC') AS this_month
), hours AS (
    SELECT h.hour, sum(h.cost_usd) AS usd,
        sum(h.cost_usd) / nullif(sum(h.requests - h.unpriced), 0) AS each
    FROM inference_hours h, bounds b
    WHERE h.hour >= b.first AND h.hour < b.today AND (%(feature)s = '*' OR h.feature = %(feature)s)
    GROUP BY h.hour
), began AS (
    SELECT min(hour) AS at FROM inference_hours WHERE %(feature)s IN ('*', feature)
), days AS (
    SELECT d.* FROM began b, (
        SELECT date_trunc('day', hour, 'UTC') AS day, sum(usd) AS usd FROM hours GROUP BY 1) d
    WHERE d.day >= b.at
), months AS (
    SELECT sum(d.usd) AS usd FROM days d, bounds b, began f
    WHERE d.day < b.this_month AND date_trunc('month', d.day, 'UTC') >= f.at
    GROUP BY date_trunc('month', d.day, 'UTC')
)
SELECT coalesce((SELECT min(usd) FROM months), (SELECT min(usd) * 30 FROM days)),
    coalesce((SELECT max(usd) FROM months), (SELECT max(usd) * 30 FROM days)),
    (SELECT (percentile_cont(0.05) WITHIN GROUP (ORDER BY each))::numeric FROM hours),
    (SELECT (percentile_cont(0.95) WITHIN GROUP (ORDER BY each))::numeric FROM hours),
    (SELECT count(*) FROM days)
"""
UNREGISTERED = """
SELECT h.feature, sum(h.cost_usd) AS usd, sum(h.requests) FROM inference_hours h
WHERE h.hour >= tollgate.now() - interval '30 days' AND h.feature <> ''
    AND NOT EXISTS (SELECT FROM hotspots s WHERE s.feature = h.feature)
GROUP BY h.feature ORDER BY usd DESC, h.feature LIMIT %s
"""


def measure() -> int:
    """Measure every entry that names a feature. Returns how many have a range now."""
    found = 0
    for hotspot in Hotspot.objects.exclude(feature="").order_by("pk"):
        with transaction.atomic():
            found += measure_one(hotspot)
    return found


def measure_one(hotspot: Hotspot) -> bool:
    low, high, each_low, each_high, days = query.one(
        MEASURE, {"months": MONTHS_BACK, "feature": hotspot.feature or EVERY_FEATURE}
    )
    if not days or not hotspot.feature:
        low = high = each_low = each_high = None
    Hotspot.objects.filter(pk=hotspot.pk, feature=hotspot.feature).update(
        measured_month_low=low,
        measured_month_high=high,
        measured_request_low=each_low,
        measured_request_high=each_high,
        measured_days=days or None,
        measured_at=Now() if days else None,
    )
    return bool(days)


def unregistered(*, at_most: int) -> list[tuple[str, object, int]]:
    """Features in telemetry of the last 30 days without an entry: name, $, requests."""
    return query.rows(UNREGISTERED, [at_most])
