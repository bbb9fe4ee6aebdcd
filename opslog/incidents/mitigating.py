"""What becomes of a proposal. The control itself is changed on the floor above, which calls this in
the same transaction: what was applied is recorded, or it was not applied."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

from opslog.exceptions import NotAllowedNow
from opslog.incidents.handling import needed
from opslog.incidents.timeline import Kind, State, lock, lock_active, tell
from opslog.models import Mitigation


def hold(mitigation_id: int) -> Mitigation:
    """A proposal that may be applied now; incident and proposal are locked until the end of the
    caller's transaction. To be called before the lock of the counters is taken (docs/locking.md).

    Raises NotAllowedNow where the incident is over, or the proposal was applied, dismissed or
    withdrawn; Mitigation.DoesNotExist.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("A mitigation is applied and recorded in one transaction.")
    incident_id = Mitigation.objects.values_list("incident_id", flat=True).get(pk=mitigation_id)
    incident = lock_active(incident_id)
    mitigation = Mitigation.objects.select_for_update(no_key=True).get(pk=mitigation_id)
    if mitigation.state != Mitigation.State.PROPOSED:
        raise NotAllowedNow(f"This is {mitigation.state} already.")
    mitigation.incident = incident
    return mitigation


def record_applied(
    mitigation: Mitigation,
    values: Mapping[str, Any],
    *,
    effect: str,
    reason: str,
    by: str,
    now: datetime,
    until: datetime | None = None,
    automatic: bool = False,
) -> None:
    """Note that the control was changed; `mitigation` comes from `hold`. `effect` says how, in
    numbers."""
    changed = Mitigation.objects.filter(pk=mitigation.pk, state=Mitigation.State.PROPOSED).update(
        state=Mitigation.State.APPLIED,
        applied_at=now,
        applied_by=by,
        applied_values=dict(values),
        reason=needed(reason),
        automatic=automatic,
        until=until,
    )
    if not changed:
        raise NotAllowedNow("Somebody was quicker.")
    mitigation.state, mitigation.applied_values = Mitigation.State.APPLIED, dict(values)
    incident = mitigation.incident
    incident.mitigated_at = now
    incident.state = State.MITIGATING
    incident.save(update_fields=["mitigated_at", "state"])
    ends = f", until {until:%Y-%m-%d %H:%M} UTC" if until else ""
    how = "Applied automatically" if automatic else "Applied"
    tell(
        incident, Kind.MITIGATION, f"{how}{ends}: {mitigation.summary}. {effect}",
        event="INCIDENT_MITIGATED", by=by, now=now, mitigationId=mitigation.pk,
        lever=mitigation.lever, values=dict(values), reason=reason.strip(), automatic=automatic,
        savingUsdPerHour=f"{mitigation.saving_usd_per_hour:f}",
    )  # fmt: skip


def record_asked(
    mitigation: Mitigation,
    values: Mapping[str, Any],
    *,
    effect: str,
    reason: str,
    by: str,
    now: datetime,
) -> None:
    """Note that the change waits for an approval: nothing is applied, the proposal stays open and
    the incident where it is. `mitigation` comes from `hold`."""
    tell(
        mitigation.incident, Kind.MITIGATION,
        f"Asked for, not applied: {mitigation.label}. It waits for approval. {effect}",
        event="INCIDENT_MITIGATION_ASKED", by=by, now=now, mitigationId=mitigation.pk,
        lever=mitigation.lever, values=dict(values), reason=needed(reason),
    )  # fmt: skip


def record_ended(mitigation_id: int, *, how: str, by: str, now: datetime) -> None:
    """A mitigation that was bounded in time is over. An entry, so also noted after the review."""
    with transaction.atomic():
        mitigation = Mitigation.objects.get(pk=mitigation_id)
        incident = lock(mitigation.incident_id)  # before the proposal, as in `hold`
        changed = Mitigation.objects.filter(
            pk=mitigation_id, state=Mitigation.State.APPLIED, ended_at=None
        ).update(ended_at=now)
        if not changed:
            return
        tell(
            incident, Kind.MITIGATION, f"Ended: {mitigation.summary}. {how}",
            event="INCIDENT_MITIGATION_ENDED", by=by, now=now, mitigationId=mitigation.pk,
            lever=mitigation.lever,
        )  # fmt: skip


def record_stuck(mitigation: Mitigation, *, message: str, by: str, now: datetime) -> None:
    """Note that the control could not be put back, in the caller's transaction."""
    tell(
        mitigation.incident, Kind.MITIGATION, message, event="INCIDENT_MITIGATION_STUCK",
        by=by, now=now, mitigationId=mitigation.pk, lever=mitigation.lever,
    )  # fmt: skip


def dismiss(mitigation_id: int, *, reason: str, by: str, now: datetime) -> Mitigation:
    """Nobody is asked for it again. Raises NotAllowedNow."""
    with transaction.atomic():
        mitigation = hold(mitigation_id)
        mitigation.state, mitigation.reason = Mitigation.State.DISMISSED, needed(reason)
        mitigation.save(update_fields=["state", "reason"])
        tell(
            mitigation.incident, Kind.MITIGATION,
            f"Dismissed: {mitigation.label}. {reason.strip()}",
            event="INCIDENT_MITIGATION_DISMISSED",
            by=by, now=now, mitigationId=mitigation.pk, lever=mitigation.lever,
        )  # fmt: skip
    return mitigation
