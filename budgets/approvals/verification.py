"""How an applied change is verified: by what was admitted and refused right after it."""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from budgets.models import ChangeRequest
from opslog.models import OperationsEvent
from workorders.models import Run

STARTS_SHOWN = 5
REFUSALS = ("RATE_LIMIT_429", "START_REFUSED")


@dataclass(frozen=True, slots=True)
class Start:
    """One ask: admitted, with its run; or refused, with its event and the reason."""

    at: datetime
    agent: str
    run: Run | None = None
    refusal: OperationsEvent | None = None
    reason: str = ""


def in_force_since(request: ChangeRequest) -> datetime | None:
    """From when on the change holds; None unless it was applied. A grant may begin later."""
    if request.status != ChangeRequest.Status.APPLIED or request.decided_at is None:
        return None
    return max(request.decided_at, request.grant_from or request.decided_at)


def first_starts(request: ChangeRequest) -> list[Start]:
    """The first starts under an applied change, admitted or not, oldest first; those of a grant
    while it lasts."""
    since = in_force_since(request)
    if since is None:
        return []
    until = request.grant_until or timezone.now()
    of_caps = request.subject_type == "work_order"  # a shared limit is verified by starts of all
    runs_of = {"wo": request.subject_id} if of_caps else {}
    events_of = {"owner_id": request.subject_id} if of_caps else {}
    runs = Run.objects.filter(
        started_at__gte=since,
        started_at__lt=until,
        **runs_of,
    )
    refused = OperationsEvent.objects.filter(
        owner_type="work_order",
        **events_of,
        kind__in=REFUSALS,
        created_at__gte=since,
        created_at__lt=until,
    )
    starts = [
        Start(run.started_at, run.agent_name, run=run)
        for run in runs.order_by("started_at")[:STARTS_SHOWN]
    ]
    for event in refused.order_by("created_at")[:STARTS_SHOWN]:
        if "runId" in event.meta:  # an extension of a run, no start
            continue
        reason = str(event.meta.get("reason") or event.kind)
        agent = str(event.meta.get("agentName") or event.actor)
        starts.append(Start(event.created_at, agent, refusal=event, reason=reason))
    return sorted(starts, key=lambda start: start.at)[:STARTS_SHOWN]
