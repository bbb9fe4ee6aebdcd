"""How long admissions take, minute by minute: sampled from what the web server's processes count.

They count in files of a folder that the job worker can read too (PROMETHEUS_MULTIPROC_DIR, which
`make run` makes). Where it cannot, there are no samples, and the chart says so.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from django.db import connection, transaction
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from budgets.admission.metrics import LATENCY
from budgets.models import LatencySample

KEPT = timedelta(hours=48)
BOUNDS: tuple[float, ...] = tuple(LATENCY._upper_bounds)
NAME = "tollgate_admission_seconds"


@dataclass(frozen=True, slots=True)
class Latency:
    """Admissions of one minute; seconds, the upper bound of the bucket that holds the percentile.
    None where nothing was asked."""

    at: datetime
    asked: int
    median: float | None
    p95: float | None


def sample() -> bool:
    """Keep the counts of now, and drop those over 48 hours. Gives whether there was any."""
    counts = _counts()
    if counts is None:
        return False
    now = timezone.now().replace(second=0, microsecond=0)
    with transaction.atomic():
        LatencySample.objects.update_or_create(at=now, defaults={"buckets": counts})
        LatencySample.objects.filter(at__lt=now - KEPT).delete()
    return True


def _counts() -> list[int] | None:
    if not os.path.isdir(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")):
        return None
    collector = MultiProcessCollector(CollectorRegistry())  # type: ignore[no-untyped-call]
    found = dict.fromkeys(BOUNDS, 0)
    for metric in collector.collect():  # type: ignore[no-untyped-call]
        for each in metric.samples if metric.name == NAME else ():
            if each.name == f"{NAME}_bucket" and each.labels.get("operation") == "start":
                found[float(each.labels["le"])] = int(each.value)
    return list(found.values())


def by_minute(*, minutes: int) -> list[Latency]:
    """The last minutes that were sampled, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT at, buckets FROM latency_samples WHERE at >= now() - make_interval(mins => %s)"
            " ORDER BY at",
            [minutes + 1],
        )
        return differences(cursor.fetchall())


def differences(samples: Sequence[tuple[datetime, Sequence[int]]]) -> list[Latency]:
    """Pure: cumulative counts to those of each minute."""
    found = []
    for (_, before), (at, counts) in pairwise(samples):
        again = counts[-1] < before[-1]
        new = list(counts) if again else [a - b for a, b in zip(counts, before, strict=True)]
        found.append(Latency(at, new[-1], percentile(new, 0.5), percentile(new, 0.95)))
    return found


def percentile(cumulative: Sequence[int], share: float) -> float | None:
    """The bound of the first bucket that this share of all is within; the last bound but one where
    it is beyond all."""
    if not cumulative or not cumulative[-1]:
        return None
    wanted = share * cumulative[-1]
    bound = next(b for b, count in zip(BOUNDS, cumulative, strict=True) if count >= wanted)
    return bound if bound != float("inf") else BOUNDS[-2]
