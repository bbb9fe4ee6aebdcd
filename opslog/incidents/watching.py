"""What time does to an incident: the job looks whether it is over, whom to tell, whom to remind.

Each incident is looked at in a transaction of its own, under its lock, and everything is decided
from what is read there: twice, or two at once, is as good as once.
"""

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import transaction

from opslog.exceptions import NotAllowedNow
from opslog.incidents import costs, levers, notices, rules
from opslog.incidents.handling import escalate, needed
from opslog.incidents.rules import Hour
from opslog.incidents.timeline import Kind, State, lock, lock_active, tell
from opslog.models import Incident

log = logging.getLogger("tollgate.incidents")

BY = "tollgate"
LOOK_BACK = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of being over, as far as it is fulfilled now."""

    name: str
    label: str
    passed: bool
    told: str


def check(incident: Incident, now: datetime) -> list[Check]:
    """The stabilisation checks: cost of everything, and of the guilty feature, back to normal
    (`rules.allowed`) for two whole hours that began after the spike did; and telemetry arrives."""
    until = costs.whole_hour(now)
    since = max(until - LOOK_BACK, costs.whole_hour(incident.started_at))
    scopes = [("everything", "")]
    if incident.feature:
        scopes.append((incident.feature, incident.feature))
    checks = []
    for name, feature in scopes:
        hours = costs.of(incident, since, until, feature)
        calm = rules.calm_since(hours)
        checks.append(
            Check(
                f"cost:{name}" if feature else "cost",
                f"Cost of {name} is back within 20 % of its baseline (or ${rules.FLOOR:.2f}, "
                f"if that is more) for {rules.CALM_HOURS} hours",
                calm >= rules.CALM_HOURS,
                _told(hours, calm),
            )
        )
    checks.append(_talks(incident, until))
    return checks


def _talks(incident: Incident, until: datetime) -> Check:
    """Others talk on while the guilty feature's telemetry is broken: so it is the feature's that
    counts. Its silence is expected where something stopped it, or where these are hours in which it
    never does anything."""
    since, feature = until - rules.CALM_HOURS * costs.HOUR, incident.feature
    calls = costs.requests_in(since, until, feature)
    text = f"{calls:,} calls in the last {rules.CALM_HOURS} whole hours"
    expected = ""
    if feature and not calls and costs.requests_in(since, until):
        if not levers.values_of(feature).get("enabled", True):
            expected = "it is switched off"
        elif costs.is_usually_silent(incident, since, until):
            expected = "as usual in these hours"
    whose = f"Telemetry of {feature}" if feature else "Telemetry"
    return Check(
        "telemetry",
        f"{whose} arrives: silence is no sign of low cost",
        bool(calls or expected),
        f"{text}: {expected}" if expected else text,
    )


def watch(*, now: datetime) -> tuple[int, int, int]:
    """Returns how many were stabilised, escalated, and reminded of."""
    stabilised = escalated = 0
    active = Incident.objects.exclude(state__in=(State.STABILISED, State.REVIEWED))
    for pk in list(active.order_by("id").values_list("pk", flat=True)):
        try:
            if stabilise_if_calm(pk, now=now):
                stabilised += 1
            elif escalate_if_due(pk, now=now):
                escalated += 1
        except Exception:  # one that cannot be looked at must not hide the others
            log.exception("incident %s could not be checked", pk)
    return stabilised, escalated, remind(today=now.date(), now=now)


def stabilise_if_calm(incident_id: int, *, now: datetime) -> bool:
    """Whether the checks have passed, and the incident is stabilised now."""
    with transaction.atomic():
        incident = lock(incident_id)
        if not incident.is_active:
            return False
        checks = check(incident, now)
        results = {each.name: {"passed": each.passed, "told": each.told} for each in checks}
        if all(each.passed for each in checks):
            _stabilise(incident, "The checks have passed. " + checks[0].told, by=BY, now=now)
            return True
        if results != incident.checks_told:
            Incident.objects.filter(pk=incident_id).update(checks_told=results)
        return False


def stabilise(incident_id: int, *, reason: str, by: str, now: datetime) -> Incident:
    """A person says that it is over, whatever the checks say. Raises NotAllowedNow."""
    with transaction.atomic():
        incident = lock_active(incident_id)
        _stabilise(incident, needed(reason), by=by, now=now)
    return incident


def _stabilise(incident: Incident, message: str, *, by: str, now: datetime) -> None:
    incident.state, incident.stabilised_at = State.STABILISED, now
    incident.save(update_fields=["state", "stabilised_at"])
    tell(incident, Kind.STABILISED, message, event="INCIDENT_STABILISED", by=by, now=now)
    what = f"stabilised:{now:%Y%m%dT%H%M}"
    text = f"{message} It needs a review."
    notices.tell(incident, what, text, to=notices.asked(incident), channels=True)


def escalate_if_due(incident_id: int, *, now: datetime) -> bool:
    incident = Incident.objects.get(pk=incident_id)
    until = costs.whole_hour(now)
    hours = costs.of(incident, until - LOOK_BACK, until)
    situation = rules.Situation(
        incident.escalation,
        incident.severity,
        incident.alarmed_at,
        _acted_at(incident),
        incident.escalated_at,
        rules.above_since(hours),
        rising=rules.is_rising(hours, _acted_at(incident)),
    )
    due = rules.level_due(situation, now)
    if due == incident.escalation:
        return False
    last = hours[-1]
    normal = f"${last.baseline_usd:,.2f} is normal"
    why = f"the hour from {last.at:%H:%M} UTC cost ${last.usd:,.2f}, {normal}."
    try:
        # (It looks at the level again under the lock: who was slower escalates nothing.)
        escalate(incident_id, due, reason=why, by=BY, now=now)
    except NotAllowedNow:
        return False
    return True


def _acted_at(incident: Incident) -> datetime | None:
    """When something was last applied against the present phase."""
    acted = incident.mitigated_at
    return acted if acted is not None and acted >= incident.alarmed_at else None


def remind(*, today: date, now: datetime) -> int:
    """On the follow-up date of a review, once."""
    due = Incident.objects.filter(
        state=State.REVIEWED, follow_up_on__lte=today, reminded_at=None
    ).order_by("id")
    reminded = 0
    for pk in list(due.values_list("pk", flat=True)):
        with transaction.atomic():
            claimed = Incident.objects.filter(pk=pk, reminded_at=None).update(reminded_at=now)
            if not claimed:
                continue
            incident = Incident.objects.select_related("owner").get(pk=pk)
            text = f"Follow-up is due: is “{incident.root_cause[:200]}” really gone?"
            tell(incident, Kind.FOLLOW_UP, text, event="INCIDENT_FOLLOW_UP", by=BY, now=now)
            again = f":{incident.reopenings}" if incident.reopenings else ""
            notices.tell(
                incident, f"follow-up{again}", text, to=notices.concerned(incident), channels=True
            )
            reminded += 1
    return reminded


def _told(hours: list[Hour], calm: int) -> str:
    if not hours:
        return "no whole hour has passed since the spike began"
    last = hours[-1]
    return (
        f"{calm} of {rules.CALM_HOURS} hours; the one from {last.at:%H:%M} UTC: ${last.usd:,.2f}, "
        f"up to ${rules.allowed(last.baseline_usd):,.2f} is normal"
    )
