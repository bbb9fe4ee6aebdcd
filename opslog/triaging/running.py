"""The triage at work: one at a time, from the hourly sums to the incident."""

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from django.db import connection, transaction

from opslog.incidents.detecting import record_verdict
from opslog.incidents.translating import finding_of
from opslog.models import Incident
from opslog.triage.data import Detail, Rollups
from opslog.triage.judge import follow, triage
from opslog.triage.thresholds import FLOOR_USD_PER_HOUR
from opslog.triage.verdict import Verdict
from opslog.triaging import reads

log = logging.getLogger("tollgate.triage")

ALONE = 7403  # the advisory lock of whoever runs it
OVER = (Incident.State.STABILISED, Incident.State.REVIEWED)


def run(*, now: datetime, floor_usd_per_hour: float = FLOOR_USD_PER_HOUR) -> Incident | None:
    """Judge the whole hours before `now`; gives the incident that there is about it, if any. What
    is less than the floor above the baseline, in dollars an hour, is not worth an alarm.

    All of it is one transaction: a worker that is killed leaves nothing, and the next run finds
    the same. Whoever comes while another runs goes away again: there is nothing to add.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [ALONE])
            if not cursor.fetchone()[0]:
                log.info("another triage is under way")
                return None
        until = now.replace(minute=0, second=0, microsecond=0)
        verdict, detail = judged(reads.rollups(until), floor_usd_per_hour)
        return record_verdict(finding_of(verdict, detail), now=now)


def judged(
    rollups: Rollups, floor_usd_per_hour: float = FLOOR_USD_PER_HOUR
) -> tuple[Verdict, Detail | None]:
    """The verdict, and who it was where there is a spike. An active incident is followed: its
    start stays, and the rest follows the evidence of the hours since then."""
    incident = Incident.objects.exclude(state__in=OVER).order_by("-id").first()
    judge: Callable[..., Verdict] = partial(triage, floor_usd_per_hour=floor_usd_per_hour)
    if incident is not None:
        known = Verdict(rollups.until, confirmed=True, start=incident.started_at)
        judge = partial(follow, known)

    first = judge(rollups)
    comparison = first.comparison
    if not first.confirmed or first.start is None or comparison is None or first.evidence is None:
        return first, None
    detail = reads.detail(comparison)
    changes = reads.changes_before(first.start, rollups.until)
    return judge(rollups, detail=detail, changes=changes), detail
