"""The triage at work: one at a time, from the hourly sums to the incidents."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import Q

from opslog.database.query import value
from opslog.incidents import costs, triage_reads
from opslog.incidents.detecting import hours_since_closed, record_verdict
from opslog.incidents.rules import FOLLOWED, RELAPSE, SAME_START, Going, end_of, since_closed
from opslog.incidents.translating import finding_of
from opslog.models import Incident
from opslog.triage import owned
from opslog.triage.data import CELL_HOURS, Detail, Rollups
from opslog.triage.judge import follow, triage
from opslog.triage.thresholds import FLOOR_USD_PER_HOUR
from opslog.triage.verdict import Verdict

log = logging.getLogger("tollgate.triage")

ALONE = 7403  # the advisory lock of whoever runs it
OVER = (Incident.State.STABILISED, Incident.State.REVIEWED)

Judge = Callable[..., Verdict]


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and who it was where there is a spike."""

    verdict: Verdict
    detail: Detail | None = None


def run(*, now: datetime, floor_usd_per_hour: float = FLOOR_USD_PER_HOUR) -> Incident | None:
    """Judge the whole hours before `now`; returns the incident that there is about them, the newest
    if there are several. What is less than the floor above the baseline, in dollars an hour, is
    not worth an alarm.

    All of it is one transaction: a worker that is killed leaves nothing, and the next run finds
    the same. Whoever comes while another runs goes away again: there is nothing to add.
    """
    with transaction.atomic():
        if not _alone():
            log.info("another triage is under way")
            return None
        until = now.replace(minute=0, second=0, microsecond=0)
        rollups = triage_reads.rollups(until)
        found: Incident | None = None
        for incident in closed_too_early(until):
            known = owned.without(rollups, owned_hours(until, but=incident))
            found = _recorded(partial(followed, incident, known), now=now) or found
        hours = owned_hours(until)
        rollups = owned.without(rollups, hours)
        burning = [
            each
            for each in Incident.objects.exclude(state__in=OVER).order_by("id")
            if until - each.started_at <= FOLLOWED
        ]
        for incident in burning:
            others = [each for each in burning if each != incident]
            found = _recorded(partial(followed, incident, rollups, others), now=now) or found
        judged = partial(fresh, rollups, burning, floor_usd_per_hour)
        return _recorded(judged, now=now) or found


def _recorded(judge: Callable[[], Judged], *, now: datetime) -> Incident | None:
    """What cannot be judged or recorded must not keep the others from it."""
    try:
        with transaction.atomic():
            finding = judge()
            return record_verdict(finding_of(finding.verdict, finding.detail), now=now)
    except Exception:
        log.exception("a verdict could not be recorded")
        return None


def owned_hours(until: datetime, but: Incident | None = None) -> list[owned.Owned]:
    """Of the incidents that are closed, and of the phases that are over: nothing begins in them
    again. What an incident has cost for longer than it is followed is usual by now. `but`: leave
    out the last phase of this one."""
    first = until - timedelta(hours=CELL_HOURS)
    found = []
    relapsed = Q(judged_until__gt=first) & ~Q(earlier=[])
    for each in Incident.objects.filter(Q(stabilised_at__gt=first) | relapsed).order_by("id"):
        phases = [
            (datetime.fromisoformat(phase["startedAt"]), datetime.fromisoformat(phase["endedAt"]))
            for phase in each.earlier
        ]
        if each.stabilised_at is not None and each != but:
            phases.append((each.started_at, each.stabilised_at))
        found += [
            owned.Owned(each.feature, costs.whole_hour(begins), end_of(ends))
            for begins, ends in phases
            if ends > first and ends - begins <= FOLLOWED
        ]
    return found


def closed_too_early(until: datetime) -> list[Incident]:
    """Closed within the last day, before the cost came down, and it still has not."""
    recent = Incident.objects.filter(state__in=OVER, stabilised_at__gt=until - RELAPSE)
    return [
        each
        for each in recent.order_by("id")
        if each.stabilised_at is not None
        and each.stabilised_at - each.started_at <= FOLLOWED
        and since_closed(hours_since_closed(each, until), each.stabilised_at)[0] is Going.ON
    ]


def _alone() -> bool:
    """Until the end of the transaction, or of its process."""
    return bool(value("SELECT pg_try_advisory_xact_lock(%s)", [ALONE]))


def followed(incident: Incident, rollups: Rollups, others: Sequence[Incident] = ()) -> Judged:
    """An active incident: its start stays, and the rest follows the evidence of the hours since
    then. What burns beside it is left to the incident that it has."""
    known = Verdict(rollups.until, confirmed=True, start=incident.started_at)
    return _named(partial(follow, known), rollups, features_of(others) - {incident.feature})


def fresh(
    rollups: Rollups,
    burning: Sequence[Incident] = (),
    floor_usd_per_hour: float = FLOOR_USD_PER_HOUR,
) -> Judged:
    """A spike that no active incident is about. What began with an incident is a part of it; what
    is in no single feature, the incident's or this, cannot be separated from it."""
    nothing = Judged(Verdict(rollups.until, confirmed=False))
    if any(not each.feature for each in burning):
        return nothing
    judge = partial(triage, floor_usd_per_hour=floor_usd_per_hour)
    finding = _named(judge, rollups, features_of(burning))
    start = finding.verdict.start
    if burning and not finding.verdict.feature:
        return nothing
    if start and any(abs(start - each.started_at) <= SAME_START for each in burning):
        return nothing
    return finding


def features_of(incidents: Sequence[Incident]) -> set[str]:
    return {each.feature for each in incidents if each.feature}


def _named(judge: Judge, rollups: Rollups, left_out: Collection[str]) -> Judged:
    """Judged twice where there is a spike: the first time to know which hours' raw events say who
    it was."""
    looked_at = rollups.without(left_out)
    first = judge(looked_at)
    comparison = first.comparison
    if not first.confirmed or first.start is None or comparison is None or first.evidence is None:
        return Judged(first)
    detail = triage_reads.detail(comparison)
    changes = triage_reads.changes_before(first.start, rollups.until)
    verdict = judge(looked_at, detail=detail, changes=changes)
    if left_out:
        beside = ", ".join(sorted(left_out))
        sentence = f"Without {beside}, which an incident of its own is about."
        verdict = replace(verdict, sentences=(*verdict.sentences, sentence))
    return Judged(verdict, detail)
