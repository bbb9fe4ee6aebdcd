"""A verdict becomes an incident, or updates the one that is open: never a second for one spike."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from opslog.incidents import costs, notices, proposing, rules
from opslog.incidents.finding import Finding
from opslog.incidents.proposals import propose
from opslog.incidents.timeline import Kind, State, hold_all, lock, tell
from opslog.models import Incident

# What people notice: a change of one of these is a line in the timeline, other figures are not.
NOTABLE = ("cause", "feature", "tool", "traffic", "severity")
TRAFFIC = ("traffic_growth", "feature_dominance")
ORDER = ("minor", "major", "critical")


def record_verdict(
    finding: Finding | None, *, now: datetime, by: str = "triage"
) -> Incident | None:
    """Keep what the triage found; None (no spike) changes nothing.

    Idempotent: the same verdict again, by a job that was killed and run anew or by two at once,
    gives the same incident, and nothing is told twice. Everything is one transaction under one
    lock; a unique index (one active incident a feature) stands behind it.
    """
    if finding is None:
        return None
    with transaction.atomic():
        hold_all()
        candidates = [
            rules.Open(each.pk, each.feature, each.started_at, each.stabilised_at)
            for each in Incident.objects.exclude(state=State.REVIEWED).order_by("-id")
        ]
        found = rules.same_spike(candidates, finding.feature, finding.started_at, now)
        if found is None:
            return _create(finding, now=now, by=by)
        return _update(lock(found), finding, now=now, by=by)


def _create(finding: Finding, *, now: datetime, by: str) -> Incident:
    incident = Incident.objects.create(
        state=State.TRIAGED if finding.cause != "none" else State.DETECTED,
        severity=rules.severity_of(finding.cost_usd_per_hour, finding.baseline_usd_per_hour),
        detected_at=max(now, finding.started_at),
        **_columns(finding),
        **finding.details(),
    )
    _propose(incident, finding)
    said = headline(incident)
    told = _figures(incident)
    tell(incident, Kind.DETECTED, said, event="INCIDENT_DETECTED", by=by, now=now, **told)
    notices.tell(incident, "detected", said, to=notices.people("operations"), channels=True)
    return incident


def _update(incident: Incident, finding: Finding, *, now: datetime, by: str) -> Incident:
    if finding.until < incident.judged_until:
        return incident  # an older look at it: somebody was quicker with a newer one
    if not incident.is_active and _is_calm(incident, finding.until):
        return incident  # the hours that were dear are still looked at, but they are over
    before = {name: getattr(incident, name) for name in NOTABLE}
    new: dict[str, Any] = {**_columns(finding), **finding.details()}
    if finding.started_at > incident.started_at:
        del new["started_at"]  # it began when it began; a later verdict may only see further back
    if incident.cause_by_hand or finding.cause == "none":
        del new["cause"]
    # What is not known now may have been known before; but traffic of everything has no feature.
    if not finding.feature and (finding.cause == "none" or incident.cause_by_hand):
        del new["feature"]
    severity = rules.severity_of(finding.cost_usd_per_hour, finding.baseline_usd_per_hour)
    if not incident.severity_by_hand and ORDER.index(severity) > ORDER.index(incident.severity):
        new["severity"] = severity
    for name, value in new.items():
        setattr(incident, name, value)
    if incident.state == State.DETECTED and incident.cause != "none":
        incident.state = State.TRIAGED
    if not incident.is_active:
        _relapse(incident, now=now, by=by)
    incident.save()
    _propose(incident, finding)
    changed = {
        name: {"old": old, "new": getattr(incident, name)}
        for name, old in before.items()
        if old != getattr(incident, name)
    }
    if changed:
        tell(
            incident, Kind.VERDICT, headline(incident), event="INCIDENT_TRIAGED", by=by, now=now,
            changes=changed, **_figures(incident),
        )  # fmt: skip
    return incident


def _is_calm(incident: Incident, until: datetime) -> bool:
    hours = costs.of(incident, until - costs.HOUR, until)
    return all(rules.is_normal(hour) for hour in hours)


def _relapse(incident: Incident, *, now: datetime, by: str) -> None:
    """The spike is back: the incident is active again, and the checks begin anew."""
    incident.stabilised_at = None
    if incident.mitigated_at:
        incident.state = State.MITIGATING
    else:
        incident.state = State.TRIAGED if incident.cause != "none" else State.DETECTED
    said = "The cost is up again: the incident goes on."
    tell(incident, Kind.RELAPSE, said, event="INCIDENT_RELAPSED", by=by, now=now)
    what = f"relapse:{now:%Y%m%dT%H}"
    notices.tell(incident, what, said, to=notices.concerned(incident), channels=True)


def _columns(finding: Finding) -> dict[str, Any]:
    return {
        "started_at": finding.started_at,
        "judged_until": finding.until,
        "cause": finding.cause,
        "confidence": Decimal(str(round(finding.confidence, 4))),
        "feature": finding.feature,
        "tool": finding.tool,
        "traffic": finding.traffic,
        "baseline_usd_per_hour": finding.baseline_usd_per_hour,
        "cost_usd_per_hour": finding.cost_usd_per_hour,
        "excess_usd_total": finding.excess_usd_total,
    }


def _propose(incident: Incident, finding: Finding) -> None:
    """The proposals as they are now, for the cause that a person has named where one has."""
    named = incident.cause_by_hand and incident.cause != finding.cause
    if named:
        finding = replace(finding, cause=incident.cause, tool=finding.tool or incident.tool)
    proposing.keep(incident, propose(finding, incident.severity, by_hand=named))


def headline(incident: Incident) -> str:
    """The one sentence that says it: "context grows in summaries: $12.40 an hour above …"."""
    cause = Incident.Cause(incident.cause).label
    where = f" in {incident.feature}" if incident.feature else ""
    tool = f" ({incident.tool})" if incident.tool else ""
    traffic = incident.traffic if incident.cause in TRAFFIC else ""  # a person may name another
    kind = f" ({traffic})" if traffic else ""
    named = cause[0].upper() + cause[1:] if incident.cause != "none" else "Cost is up"
    return (
        f"{named}{tool}{kind}{where}: ${incident.cost_usd_per_hour:,.2f} an hour, where "
        f"${incident.baseline_usd_per_hour:,.2f} is normal, since "
        f"{incident.started_at:%Y-%m-%d %H:%M} UTC."
    )


def _figures(incident: Incident) -> dict[str, str]:
    return {
        "severity": incident.severity,
        "usdPerHour": f"{incident.cost_usd_per_hour:f}",
        "baselineUsdPerHour": f"{incident.baseline_usd_per_hour:f}",
        "excessUsd": f"{incident.excess_usd_total:f}",
    }
