"""A verdict becomes an incident, or updates the one that is open: never a second for one spike."""

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q
from msgspec import structs

from opslog.groups import OPERATIONS, members
from opslog.incidents import costs, levers, notices, proposing, rules
from opslog.incidents.finding import Finding
from opslog.incidents.proposals import propose
from opslog.incidents.timeline import Kind, State, hold_all, lock, tell
from opslog.models import Incident

# What people notice: a change of one of these is a line in the timeline, other figures are not.
NOTABLE = ("cause", "feature", "tool", "traffic", "severity")
TRAFFIC = ("traffic_growth", "feature_dominance")
ORDER = ("minor", "major", "critical")
MICRO = Decimal("0.000001")


def record_verdict(
    finding: Finding | None, *, now: datetime, by: str = "triage"
) -> Incident | None:
    """Keep what the triage found; None (no spike) changes nothing.

    Idempotent: the same verdict again, by a job that was killed and run anew or by two at once,
    returns the same incident, and nobody is notified twice. Everything is one transaction under one
    lock; a unique index (one active incident a feature) stands behind it.
    """
    if finding is None:
        return None
    with transaction.atomic():
        hold_all()
        recent = Q(stabilised_at=None) | Q(stabilised_at__gte=finding.started_at - rules.RELAPSE)
        candidates = [
            rules.Open(
                each.pk, each.feature, each.started_at, each.stabilised_at,
                reviewed=each.state == State.REVIEWED,
            )
            for each in Incident.objects.filter(recent).order_by("-id")
        ]  # fmt: skip
        found = rules.same_spike(candidates, finding.feature, finding.started_at, now)
        if found is None:
            return _create(finding, now=now, by=by)
        incident = lock(found)
        if incident.is_active:
            return _update(incident, finding, now=now, by=by)
        return _after_closing(incident, finding, now=now, by=by)


def _create(finding: Finding, *, now: datetime, by: str) -> Incident:
    incident = Incident.objects.create(
        state=State.TRIAGED if finding.cause != "none" else State.DETECTED,
        severity=_severity(finding),
        detected_at=max(now, finding.started_at),
        **_columns(finding),
        **finding.details(),
    )
    _propose(incident, finding)
    message = headline(incident)
    figures = _figures(incident)
    tell(incident, Kind.DETECTED, message, event="INCIDENT_DETECTED", by=by, now=now, **figures)
    notices.tell(incident, "detected", message, to=members(OPERATIONS), channels=True)
    return incident


def _update(incident: Incident, finding: Finding, *, now: datetime, by: str) -> Incident:
    if finding.until < incident.judged_until:
        return incident  # an older look at it: somebody was quicker with a newer one
    before = {name: getattr(incident, name) for name in NOTABLE}
    new: dict[str, Any] = {**_columns(finding), **finding.details()}
    if finding.started_at > incident.started_at:
        del new["started_at"]  # it began when it began; a later verdict may only see further back
    if incident.cause_by_hand or finding.cause == "none":
        del new["cause"]
    # What is not known now may have been known before; but traffic of everything has no feature.
    if not finding.feature and (finding.cause == "none" or incident.cause_by_hand):
        del new["feature"]
    severity = _severity(finding)
    if not incident.severity_by_hand and ORDER.index(severity) > ORDER.index(incident.severity):
        new["severity"] = severity
    for name, value in new.items():
        setattr(incident, name, value)
    if incident.state == State.DETECTED and incident.cause != "none":
        incident.state = State.TRIAGED
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


def _after_closing(incident: Incident, finding: Finding, *, now: datetime, by: str) -> Incident:
    """A spike that began in the hours of a closed incident, or soon after them."""
    closed_at = incident.stabilised_at or now
    own = incident.feature == finding.feature and incident.state == State.STABILISED
    if finding.started_at >= rules.end_of(closed_at):
        return _relapse(incident, finding, now=now, by=by)  # (nothing else is matched then)
    hours = hours_since_closed(incident, finding.until)
    alike = incident.feature == finding.feature or not (incident.feature and finding.feature)
    if not alike and all(normal is None for _, normal in hours):
        return _create(finding, now=now, by=by)  # nothing says that it is about the same
    going, since = rules.since_closed(hours, closed_at)
    if going is rules.Going.ON:
        return _reopen(incident, finding, now=now, by=by)
    if since is None:
        return incident  # the expensive hours are still looked at, but they are over
    later = _from(finding, since, incident)
    if later is None:
        return incident
    if own:
        return _relapse(incident, later, now=now, by=by)
    return _create(later, now=now, by=by)


def hours_since_closed(incident: Incident, until: datetime) -> list[tuple[datetime, bool | None]]:
    """Each whole hour from two before the closing on, and whether it was normal, of everything and
    of the guilty feature; None where no call was reported."""
    closed = costs.whole_hour(incident.stabilised_at or until)
    began = costs.whole_hour(incident.started_at)
    since = max(began, closed - rules.CALM_HOURS * costs.HOUR)
    scopes = [costs.of(incident, since, until)]
    if incident.feature:
        scopes.append(costs.of(incident, since, until, incident.feature))
    return [
        (same[0].at, None if same[0].silent else all(rules.is_normal(hour) for hour in same))
        for same in zip(*scopes, strict=True)
    ]


def _from(finding: Finding, since: datetime, incident: Incident) -> Finding | None:
    """The finding without the hours before `since`, which another incident has; None where nothing
    above normal is left. Its parts are of other hours, and left out."""
    hours = costs.of(incident, since, finding.until)
    usd, normal = costs.total(hours), sum((hour.baseline_usd for hour in hours), Decimal(0))
    if usd <= normal:
        return None
    return structs.replace(
        finding,
        started_at=since,
        cost_usd_per_hour=(usd / len(hours)).quantize(MICRO, ROUND_HALF_UP),
        baseline_usd_per_hour=(normal / len(hours)).quantize(MICRO, ROUND_HALF_UP),
        excess_usd_total=usd - normal,
        contributions=(),
    )


def _reopen(incident: Incident, finding: Finding, *, now: datetime, by: str) -> Incident:
    """It was closed before the cost came down: the same spike, and the same phase."""
    closed, word = incident.state, incident.state_word
    _activate(incident, now=now)
    incident.save()  # alone: a reviewed incident changes in nothing else
    message = f"Reopened: it was {word}, and the cost never came down to normal."
    tell(incident, Kind.REOPENED, message, event="INCIDENT_REOPENED", by=by, now=now, closed=closed)
    _notify(incident, f"reopened:{incident.reopenings}", message)
    incident.reminded_at = None
    return _update(incident, finding, now=now, by=by)


def _relapse(incident: Incident, finding: Finding, *, now: datetime, by: str) -> Incident:
    """The spike is back: a new phase, with a start, figures, severity and escalation of its own."""
    incident.earlier = [
        *incident.earlier,
        {
            "startedAt": incident.started_at.isoformat(),
            "endedAt": (incident.stabilised_at or now).isoformat(),
            "severity": incident.severity,
            "escalation": incident.escalation,
            "usdPerHour": f"{incident.cost_usd_per_hour:f}",
            "baselineUsdPerHour": f"{incident.baseline_usd_per_hour:f}",
            "excessUsd": f"{incident.excess_usd_total:f}",
        },
    ]
    before = incident.cause
    for name, value in {**_columns(finding), **finding.details()}.items():
        setattr(incident, name, value)
    if incident.cause_by_hand or finding.cause == "none":
        incident.cause = before
    incident.severity, incident.severity_by_hand = _severity(finding), False
    incident.detected_at = max(now, finding.started_at)
    _activate(incident, now=now)
    incident.save()
    _propose(incident, finding)
    message = f"The cost is up again. {headline(incident)}"
    tell(
        incident, Kind.RELAPSE, message, event="INCIDENT_RELAPSED", by=by, now=now,
        **_figures(incident),
    )  # fmt: skip
    _notify(incident, f"relapse:{incident.reopenings}", message)
    return incident


def _activate(incident: Incident, *, now: datetime) -> None:
    """Active again: the checks and the escalation begin anew."""
    if incident.mitigated_at:
        incident.state = State.MITIGATING
    else:
        incident.state = State.TRIAGED if incident.cause != "none" else State.DETECTED
    incident.stabilised_at = incident.reviewed_at = incident.escalated_at = None
    incident.reviewed_by = ""
    incident.escalation, incident.checks_told = 0, {}
    incident.reopenings += 1
    incident.reopened_at = now


def _notify(incident: Incident, what: str, message: str) -> None:
    """As of a new one: whoever is on duty now, and the owner."""
    to = {each.pk: each for each in (*notices.concerned(incident), *members(OPERATIONS))}
    notices.tell(incident, what, message, to=to.values(), channels=True)


def _severity(finding: Finding) -> str:
    return rules.severity_of(finding.cost_usd_per_hour, finding.baseline_usd_per_hour)


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
        finding = structs.replace(finding, cause=incident.cause, tool=finding.tool or incident.tool)
    control = levers.values_of(finding.feature)
    proposing.keep(incident, propose(finding, incident.severity, by_hand=named, control=control))


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
