"""Who is told of an incident: people of groups, and the channels of the settings."""

from collections.abc import Iterable

from django.contrib.auth.models import User

from opslog import outbox
from opslog.incidents.timeline import label_of, link_of
from opslog.models import Incident

# Who is meant by the runbook's levels: at once, within an hour ("leadership"), critical.
GROUPS = {1: ("operations",), 2: ("operations", "director"), 3: ("operations", "director", "vp")}
ADVICE = {
    1: "Enable a cost cap, if there is none yet.",
    2: "Engineering leadership is told: the cost did not come down within an hour.",
    3: "Consider switching the feature off for a time.",
}


def people(*groups: str) -> list[User]:
    return list(User.objects.filter(is_active=True, groups__name__in=groups).distinct())


def tell(
    incident: Incident, what: str, text: str, *, to: Iterable[User], channels: bool = False
) -> None:
    """Queue one message for each, in the caller's transaction; once for each `what`."""
    subject = label_of(incident)
    key = f"{incident.pk}:{what}"
    link = link_of(incident)
    outbox.send(topic="incident", to=list(to), subject=subject, text=text, link=link, key=key)
    if channels:
        outbox.send(topic="incident", to="channels", subject=subject, text=text, link=link, key=key)


def concerned(incident: Incident) -> list[User]:
    """The owner; operations, where there is none."""
    if incident.owner is not None and incident.owner.is_active:
        return [incident.owner]
    return people("operations")
