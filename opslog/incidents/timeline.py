"""One line of an incident's timeline, and the event of operations that says the same."""

from datetime import datetime
from typing import Any

from django.db import connection
from django.db.transaction import TransactionManagementError
from django.urls import reverse

from opslog import events
from opslog.database.query import run
from opslog.exceptions import NotAllowedNow
from opslog.models import Incident, IncidentEntry

State = Incident.State
Kind = IncidentEntry.Kind
LOCK = "SELECT pg_advisory_xact_lock(7402, 0)"  # beside 7400 and 7401 (docs/locking.md)


def hold_all() -> None:
    """One at a time decides whether a spike is new: until the end of the transaction."""
    if not connection.in_atomic_block:
        raise TransactionManagementError("The lock of the incidents is held for a transaction.")
    run(LOCK)


def lock(incident_id: int) -> Incident:
    """The incident as it is now, until the end of the transaction. Raises Incident.DoesNotExist."""
    return Incident.objects.select_for_update(no_key=True).get(pk=incident_id)


def lock_open(incident_id: int) -> Incident:
    """As `lock`; raises NotAllowedNow for one that is reviewed."""
    incident = lock(incident_id)
    if incident.state == State.REVIEWED:
        raise NotAllowedNow("This incident is reviewed: it changes no more.")
    return incident


def lock_active(incident_id: int) -> Incident:
    """As `lock`; raises NotAllowedNow for one that is stabilised or reviewed."""
    incident = lock(incident_id)
    if not incident.is_active:
        raise NotAllowedNow(f"This incident is {incident.state_word}.")
    return incident


def tell(
    incident: Incident,
    kind: IncidentEntry.Kind,
    text: str,
    *,
    event: str,
    by: str,
    now: datetime,
    **data: Any,
) -> IncidentEntry:
    """Write both, in the transaction of the change that they record."""
    events.record(
        event,
        message=f"{incident}: {text}",
        owner=("incident", str(incident.pk)),
        label=label_of(incident),
        actor=by,
        meta={
            "incidentId": incident.pk,
            "state": incident.state,
            "cause": incident.cause,
            "feature": incident.feature,
            **data,
        },
    )
    return IncidentEntry.objects.create(
        incident=incident, kind=kind, text=text, actor=by, at=now, data=data
    )


def label_of(incident: Incident) -> str:
    """ "Incident #3: context grows in summaries"."""
    where = f" in {incident.feature}" if incident.feature else ""
    return f"{incident}: {Incident.Cause(incident.cause).label}{where}"


def link_of(incident: Incident) -> str:
    return reverse("admin:opslog_incident_change", args=[incident.pk])
