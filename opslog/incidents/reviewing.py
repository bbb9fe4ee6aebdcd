"""The review that closes an incident: the runbook's last step, with every answer given."""

from datetime import date, datetime

from django.db import transaction

from opslog.exceptions import NotAllowedNow
from opslog.incidents.timeline import Kind, State, lock, tell
from opslog.models import Incident


def review(
    incident_id: int,
    *,
    root_cause: str,
    mitigation: str,
    alert_created: bool | None,
    follow_up_on: date | None,
    by: str,
    now: datetime,
) -> Incident:
    """Close it for good. Raises NotAllowedNow where an answer is missing, the date has passed, or
    the incident is not stabilised."""
    root_cause, mitigation = root_cause.strip(), mitigation.strip()
    if not root_cause or not mitigation:
        raise NotAllowedNow("A review names the root cause and the mitigation.")
    if alert_created is None:
        raise NotAllowedNow("Say whether an alert was created for this.")
    if follow_up_on is None or follow_up_on < now.date():
        raise NotAllowedNow("A follow-up lies today or later.")
    with transaction.atomic():
        incident = lock(incident_id)
        if incident.state != State.STABILISED:
            raise NotAllowedNow(
                f"This incident is {incident.state_word}: it is reviewed once it is stable."
            )
        incident.state = State.REVIEWED
        incident.root_cause, incident.mitigation = root_cause, mitigation
        incident.alert_created, incident.follow_up_on = alert_created, follow_up_on
        incident.reviewed_at, incident.reviewed_by = now, by
        incident.save()
        tell(
            incident, Kind.REVIEW, f"Reviewed. Root cause: {root_cause}", event="INCIDENT_REVIEWED",
            by=by, now=now, rootCause=root_cause, mitigation=mitigation, alertCreated=alert_created,
            followUpOn=follow_up_on.isoformat(),
        )  # fmt: skip
    return incident
