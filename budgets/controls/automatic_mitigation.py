"""Automatic mitigation: the job pulls a lever that an open incident proposes, for a bounded time.

Off as shipped, for each lever. A control is set and, when the time is over, put back. The other
way, a control that is computed anew for every start, would have each start look for incidents. Late
is safe here: until the job has put it back, the control is tighter than it need be, never looser.
"""

import logging
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import IntegrityError, transaction

from budgets.audit import acting
from budgets.controls import features, mitigations
from budgets.exceptions import Refused
from budgets.models import AutomaticMitigation, FeatureControl, TimedMitigation
from budgets.writing import HOLD_LIMITS, stated
from opslog import events
from opslog.database import query
from opslog.exceptions import NotAllowedNow
from opslog.groups import OPERATIONS, members
from opslog.identities import canonical
from opslog.incidents import mitigating, notices, timeline
from opslog.models import Incident, Mitigation

log = logging.getLogger("tollgate.mitigation")

BY = "tollgate"
SURE = Decimal("0.7")  # more than twice what the next cause explains; the rest is for people
ACTIVE = (Incident.State.DETECTED, Incident.State.TRIAGED, Incident.State.MITIGATING)


def set_lever(
    lever: str, *, enabled: bool, minutes: int, reason: str, by: str, now: datetime
) -> AutomaticMitigation:
    """Raises Refused for an empty reason or a time out of bounds."""
    reason = stated(reason, "A change needs a reason.")
    if not 5 <= minutes <= 1440:
        raise Refused("It ends after 5 to 1,440 minutes.")
    with transaction.atomic():
        row = AutomaticMitigation.objects.select_for_update(no_key=True).get(lever=lever)
        old = {"enabled": row.enabled, "minutes": row.minutes}
        row.enabled, row.minutes, row.reason = enabled, minutes, reason
        row.changed_by, row.changed_at = by, now
        row.save()
        events.record(
            "AUTOMATIC_MITIGATION_CHANGE",
            message=f"Automatic {row}: {'on' if enabled else 'off'}, for {minutes} minutes",
            owner=("automatic_mitigation", str(row.pk)),
            label=str(row),
            actor=by,
            meta={"old": old, "new": {"enabled": enabled, "minutes": minutes}, "reason": reason},
        )
    return row


def apply_proposals(*, now: datetime) -> int:
    """Apply what is proposed and switched on; returns how many. Two at once apply each once."""
    levers = AutomaticMitigation.objects.filter(enabled=True).values_list("lever", flat=True)
    waiting = Mitigation.objects.filter(
        state=Mitigation.State.PROPOSED,
        lever__in=list(levers),
        incident__state__in=ACTIVE,
        incident__confidence__gte=SURE,
    ).exclude(incident__cause=Incident.Cause.NONE)
    ids = waiting.order_by("incident_id", "rank").values_list("pk", flat=True)
    return sum(_apply(pk, now=now) for pk in list(ids))


def _apply(mitigation_id: int, *, now: datetime) -> bool:
    """A try for each: one that fails must not keep the others from being applied."""
    try:
        with transaction.atomic():
            mitigation = mitigating.hold(mitigation_id)
            row = AutomaticMitigation.objects.filter(lever=mitigation.lever, enabled=True).first()
            if row is None:
                return False
            _set(mitigation, now + timedelta(minutes=row.minutes), now=now)
    except (Refused, NotAllowedNow, IntegrityError):
        return False  # nothing would change, a person was quicker, or one is live already
    except Exception:
        log.exception("mitigation %s could not be applied", mitigation_id)
        return False
    return True


def _set(mitigation: Mitigation, until: datetime, *, now: datetime) -> None:
    incident = mitigation.incident
    reason = f"Automatic mitigation of incident #{incident.pk}, until {until:%Y-%m-%d %H:%M} UTC"
    query.run(HOLD_LIMITS)
    if not mitigations.is_as_proposed(mitigation):
        raise Refused("Somebody has changed the control: the next verdict proposes anew.")
    control = features.control_of(mitigation.feature)
    values = mitigations.values_for(mitigation)
    before = {name: getattr(control, name) for name in values}
    effect = mitigations.set_feature(
        mitigation.feature, values, reason=reason, by=BY, for_a_time=True
    )
    TimedMitigation.objects.create(
        mitigation=mitigation,
        lever=mitigation.lever,
        feature=canonical(mitigation.feature),
        before=features.plain(before),
        applied=features.plain(values),
        applied_at=now,
        until=until,
    )
    mitigating.record_applied(
        mitigation, features.plain(values), effect=effect, reason=reason, by=BY, now=now,
        until=until, automatic=True,
    )  # fmt: skip
    message = f"Applied automatically, until {until:%H:%M} UTC: {mitigation.summary}. {effect}"
    to = members(OPERATIONS)
    notices.tell(incident, f"automatic:{mitigation.pk}", message, to=to, channels=True)


def end_overdue(*, now: datetime) -> int:
    """Put back the controls whose time is over; returns how many."""
    over = TimedMitigation.objects.filter(ended_at=None, until__lte=now).order_by("id")
    ids = list(over.values_list("pk", flat=True))
    return sum(_end_or_tell(pk, now=now) for pk in ids)


def _end_or_tell(timed_id: int, *, now: datetime) -> bool:
    """A try for each: one that cannot be put back must not keep the others tight. It is tried again
    each time; operations hear of it once."""
    try:
        return bool(_end(timed_id, how="The time is over.", by=BY, now=now))
    except Exception:
        log.exception("timed mitigation %s could not be put back", timed_id)
    with transaction.atomic():
        new = TimedMitigation.objects.filter(pk=timed_id, stuck_at=None).update(stuck_at=now)
        if new:
            mitigation = TimedMitigation.objects.get(pk=timed_id).mitigation
            message = (
                f"{mitigation.summary}: its time is over, and the control of {mitigation.feature} "
                "could not be put back. Set it by hand; the log has the error."
            )
            mitigating.record_stuck(mitigation, message=message, by=BY, now=now)
            to = members(OPERATIONS)
            key = f"automatic-stuck:{mitigation.pk}"
            notices.tell(mitigation.incident, key, message, to=to, channels=True)
    return False


def end(timed_id: int, *, reason: str, by: str, now: datetime) -> str:
    """A person ends it before its time; returns what came of it. Raises Refused."""
    reason = stated(reason, "A change needs a reason.")
    message = _end(timed_id, how=reason, by=by, now=now)
    if not message:
        raise Refused("It has ended already.")
    return message


def _end(timed_id: int, *, how: str, by: str, now: datetime) -> str:
    with transaction.atomic():
        # The order of locks: incident, this row, counters (docs/locking.md).
        mitigation = (
            TimedMitigation.objects.select_related("mitigation").get(pk=timed_id).mitigation
        )
        incident = timeline.lock(mitigation.incident_id)
        timed = TimedMitigation.objects.select_for_update(no_key=True).get(pk=timed_id)
        if timed.ended_at is not None:
            return ""
        outcome = put_back(timed, reason=how, by=by, now=now)
        timed.ended_at, timed.ended_by, timed.outcome = now, by, outcome
        timed.save(update_fields=["ended_at", "ended_by", "outcome"])
        mitigating.record_ended(mitigation.pk, how=f"{how} {outcome}", by=by, now=now)
        message = f"{mitigation.summary}: ended. {outcome}"
        to = members(OPERATIONS)
        notices.tell(incident, f"automatic-end:{mitigation.pk}", message, to=to, channels=True)
    return outcome


def put_back(timed: TimedMitigation, *, reason: str, by: str, now: datetime) -> str:
    """Restore each value that is still as it was applied; returns a sentence.

    The one place where a throttle or a cap rises without being asked for: to where it was.
    """
    with acting(by=by, reason=reason):
        query.run(HOLD_LIMITS)
        control = FeatureControl.objects.filter(feature=canonical(timed.feature)).first()
        if control is None:
            return "There is no such control any more."
        if timed.kept_by:
            return f"{timed.kept_by} has set the control meanwhile: it stays as it is."
        before, applied = features.typed(timed.before), features.typed(timed.applied)
        if any(getattr(control, name) != value for name, value in applied.items()):
            return "Somebody has changed the control meanwhile: it stays as it is."
        for name, value in before.items():
            setattr(control, name, value)
        control.reason, control.changed_by, control.changed_at = reason, by, now
        control.save()
    return "The control is as it was before."
