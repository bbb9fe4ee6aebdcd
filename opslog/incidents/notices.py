"""Who is notified of an incident, and in which words: people of groups, and the channels."""

from collections.abc import Iterable
from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from opslog import outbox
from opslog.groups import OPERATIONS, members
from opslog.incidents.timeline import link_of
from opslog.models import Incident, Severity
from opslog.outbox.notices import Notice

# Who is meant by the runbook's levels: at once, within an hour ("leadership"), critical.
GROUPS = {1: ("operations",), 2: ("operations", "director"), 3: ("operations", "director", "vp")}
ADVICE = {
    1: "Enable a cost cap, if there is none yet.",
    2: "Engineering leadership is notified: the cost did not come down within an hour.",
    3: "Consider switching the feature off for a time.",
}
SEVERITIES = {
    Incident.Severity.MINOR: Severity.WARNING,
    Incident.Severity.MAJOR: Severity.ERROR,
    Incident.Severity.CRITICAL: Severity.CRITICAL,
}
# One message for each incident and change of state: what else happens in the same state within this
# time is in one message after it.
WITHIN = timedelta(minutes=15)
HAPPENED = {
    "detected": "detected",
    "relapse": "active again",
    "reopened": "reopened",
    "level": "escalated",
    "stabilised": "stabilized",
    "follow-up": "follow-up due",
    "automatic": "mitigated automatically",
    "automatic-end": "automatic mitigation ended",
    "automatic-stuck": "automatic mitigation could not be ended",
    "applied": "mitigated",
}
CHANGES = {
    "relapse": "stabilized → active again",
    "reopened": "closed → active again",
    "stabilised": "active → stabilized",
    "follow-up": "reviewed → follow-up due",
    "automatic": "proposed → applied automatically",
    "automatic-end": "applied automatically → ended",
    "automatic-stuck": "its time is over → still applied",
    "applied": "proposed → applied",
}
ACTIONS = {
    "detected": "Own it, confirm the cause, and apply a proposed mitigation.",
    "relapse": "Look at what changed since it was stabilized, and mitigate it again.",
    "reopened": "Own it: it was closed before the cost came down. Mitigate it again.",
    "level": "Help the owner to bring the cost down, or decide to switch the feature off.",
    "stabilised": "Review it: root cause, mitigation, alert and follow-up.",
    "follow-up": "Check that the root cause is gone; open the incident's page to look it up.",
    "automatic": "Check the effect; end it earlier if it is wrong.",
    "automatic-end": "Check that the cost stays down.",
    "automatic-stuck": "Set the control by hand; the log of the job worker has the error.",
    "applied": "Check the effect; it is undone on the control's own page.",
}
CALMER = ("stabilised", "automatic-end")
OWN_MESSAGE = ("level", "relapse", "reopened", "follow-up", "automatic-stuck")


def tell(
    incident: Incident, what: str, text: str, *, to: Iterable[User], channels: bool = False
) -> None:
    """Queue one message for each, in the caller's transaction; once for each `what`, which begins
    with one of `HAPPENED`. By whom and when is in the timeline, whose entry comes first."""
    kind = kind_of(what)
    merge_key = f"incident:{incident.pk}:{what if kind in OWN_MESSAGE else incident.state}"
    outbox.send(
        topic="incident",
        to=[*to],
        channels=channels,
        notice=notice_of(incident, kind, text),
        link=link_of(incident),
        key=f"{incident.pk}:{what}",
        thread=f"incident-{incident.pk}",
        merge=outbox.Merge(merge_key, within=WITHIN),
    )


def notice_of(incident: Incident, kind: str, text: str) -> Notice:
    entry = incident.entries.order_by("-id").first()
    cause = Incident.Cause(incident.cause).label
    where = f" in {incident.feature}" if incident.feature else ""
    severity = SEVERITIES[Incident.Severity(incident.severity)]
    return Notice(
        what=f"{incident} {HAPPENED.get(kind, kind)}: {cause}{where}",
        change=change_of(incident, kind),
        by=_name(entry.actor if entry else ""),
        at=entry.at if entry else timezone.now(),
        severity=Severity.INFO if kind in CALMER else severity,
        action=ACTIONS.get(kind, "Look at the incident."),
        details=text,
    )


def change_of(incident: Incident, kind: str) -> str:
    if kind == "detected":
        return (
            f"${incident.baseline_usd_per_hour:,.2f} an hour → "
            f"${incident.cost_usd_per_hour:,.2f} an hour"
        )
    if kind == "level":
        return f"level {max(incident.escalation - 1, 0)} → level {incident.escalation}"
    return CHANGES.get(kind, f"before → {incident.state_word}")


def kind_of(what: str) -> str:
    """ "level2" → "level", "automatic:7" → "automatic". Pure."""
    return what.partition(":")[0].rstrip("0123456789")


def asked(incident: Incident) -> list[User]:
    """Who is concerned, and whoever has had a message of this incident: they hear how it ended."""
    people = [*concerned(incident), *outbox.people_asked("incident", key=str(incident.pk))]
    return list({person.pk: person for person in people}.values())


def concerned(incident: Incident) -> list[User]:
    """The owner; operations, where there is none."""
    if incident.owner is not None and incident.owner.is_active:
        return [incident.owner]
    return members(OPERATIONS)


def _name(actor: str) -> str:
    return actor if actor not in ("", "tollgate", "triage") else "Tollgate"
