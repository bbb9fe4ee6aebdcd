"""What people do with an incident that is open: own it, judge it, note something, escalate it."""

from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction

from opslog.exceptions import NotAllowedNow
from opslog.groups import members
from opslog.incidents import notices, proposing
from opslog.incidents.timeline import Kind, State, lock_active, lock_open, tell
from opslog.models import Incident

HIGHEST_LEVEL = 3


def take(incident_id: int, *, by: User, now: datetime) -> Incident:
    """Own it. Raises NotAllowedNow where one owns it already, or it is reviewed."""
    with transaction.atomic():
        incident = lock_open(incident_id)
        if incident.owner_id == by.pk:
            raise NotAllowedNow("You own it already.")
        before = incident.owner.get_username() if incident.owner else ""
        incident.owner = by
        incident.save(update_fields=["owner"])
        message = f"{by.get_username()} owns it" + (f", {before} no more." if before else ".")
        tell(
            incident, Kind.OWNER, message, event="INCIDENT_OWNED", by=by.get_username(), now=now,
            before=before,
        )  # fmt: skip
    return incident


def set_severity(
    incident_id: int, severity: str, *, reason: str, by: str, now: datetime
) -> Incident:
    """From now on the triage leaves it alone. Raises NotAllowedNow, and ValueError for none there
    is."""
    with transaction.atomic():
        incident = lock_open(incident_id)
        new = Incident.Severity(severity)
        if incident.severity == new:
            raise NotAllowedNow(f"It is {new} already.")
        before, incident.severity = incident.severity, new
        incident.severity_by_hand = True
        incident.save(update_fields=["severity", "severity_by_hand"])
        tell(
            incident, Kind.SEVERITY, f"{before} → {new}: {needed(reason)}",
            event="INCIDENT_SEVERITY", by=by, now=now, before=before, reason=reason.strip(),
        )  # fmt: skip
    return incident


def set_cause(incident_id: int, cause: str, *, reason: str, by: str, now: datetime) -> Incident:
    """A person knows better, or first. Later verdicts leave the cause alone, and what is proposed
    against the fault is for this one."""
    with transaction.atomic():
        incident = lock_open(incident_id)
        new = Incident.Cause(cause)
        before, incident.cause = incident.cause, new
        incident.cause_by_hand = True
        if incident.state == State.DETECTED and new != Incident.Cause.NONE:
            incident.state = State.TRIAGED
        incident.save(update_fields=["cause", "cause_by_hand", "state"])
        if incident.is_active:
            proposing.follow_cause(incident)
        tell(
            incident, Kind.CAUSE, f"{Incident.Cause(before).label} → {new.label}: {needed(reason)}",
            event="INCIDENT_TRIAGED", by=by, now=now, before=before, reason=reason.strip(),
        )  # fmt: skip
    return incident


def note(incident_id: int, text: str, *, by: str, now: datetime) -> Incident:
    with transaction.atomic():
        incident = lock_open(incident_id)
        tell(incident, Kind.NOTE, needed(text), event="INCIDENT_NOTE", by=by, now=now)
    return incident


def escalate(incident_id: int, level: int, *, reason: str, by: str, now: datetime) -> Incident:
    """Tell the people of this level, once. Raises NotAllowedNow where it was reached before, or the
    incident is not active."""
    with transaction.atomic():
        incident = lock_active(incident_id)
        if not incident.escalation < level <= HIGHEST_LEVEL:
            raise NotAllowedNow(f"Level {incident.escalation} is reached already.")
        incident.escalation, incident.escalated_at = level, now
        incident.save(update_fields=["escalation", "escalated_at"])
        text = f"Escalated to level {level}: {needed(reason)} {notices.ADVICE[level]}"
        tell(
            incident, Kind.ESCALATION, text, event="INCIDENT_ESCALATED", by=by, now=now, level=level
        )  # fmt: skip
        to = members(*notices.GROUPS[level])
        again = f":{incident.reopenings}" if incident.reopenings else ""
        notices.tell(incident, f"level{level}{again}", text, to=to, channels=True)
    return incident


def needed(text: str) -> str:
    """The text without blanks around it. Raises NotAllowedNow where nothing is left."""
    if not text.strip():
        raise NotAllowedNow("This needs a reason.")
    return text.strip()
