"""The programs that are known by name."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max

from opslog import events
from opslog.identities import canonical
from workorders.models import Agent, Run

UNKNOWN_LOOKBACK = timedelta(hours=24)


def save(agent: Agent, *, new: bool, by: str) -> Agent:
    """Register an agent, or change one, with its event. Nothing is recorded where
    nothing changes."""
    with transaction.atomic():
        # A name that programs send is never changed: it is the key.
        if new:
            agent.label, agent.name = agent.label or agent.name.strip(), canonical(agent.name)
        before = None if new else Agent.objects.select_for_update().get(pk=agent.pk)
        was, now = (
            {column: getattr(each, column, None) for column in ("description", "is_active")}
            for each in (before, agent)
        )
        changes = events.changed(was, now)
        if not changes:
            return agent
        agent.save(force_insert=new)
        events.record(
            "AGENT_REGISTERED" if new else "AGENT_CHANGED",
            message=f"Agent {agent} {'registered' if new else _told(agent, changes)}",
            owner=("agent", agent.name),
            label=str(agent),
            actor=by,
            meta={"agentName": agent.name, "changes": changes},
        )
    return agent


def _told(agent: Agent, changes: dict[str, dict[str, object]]) -> str:
    if "is_active" in changes:
        return "activated" if agent.is_active else "deactivated: treated as unknown"
    return "described anew"


def unknown_lately(now: datetime) -> list[tuple[str, datetime]]:
    """Names that are not registered (or not active), and when each last ran, in the 24 h before
    `now`; ten at most."""
    runs = (
        Run.objects.filter(started_at__gte=now - UNKNOWN_LOOKBACK, agent_known=False)
        .exclude(agent_name__in=Agent.objects.filter(is_active=True).values("name"))
        .order_by()
        .values_list("agent_name")
        .annotate(last=Max("started_at"))
        .order_by("-last")
    )
    return list(runs[:10])
