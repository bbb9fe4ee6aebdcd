"""The proposals of an incident as rows; which ones there are is `proposals`' to say."""

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

from opslog.incidents import levers
from opslog.incidents.finding import Contribution, Finding
from opslog.incidents.proposals import Proposal, of_named_cause
from opslog.models import Incident, Mitigation

State = Mitigation.State
Lever = Mitigation.Lever
OF_CAUSE = (  # those that touch the fault itself
    Lever.UNDO_RATE,
    Lever.AUTO_SAVE,
    Lever.CONTEXT_MESSAGES,
    Lever.TOOL_RETRIES,
    Lever.TOOL_BREAKER,
    Lever.SUBSTITUTE_MODEL,
)


def keep(
    incident: Incident, wanted: Sequence[Proposal], levers: Collection[str] = Lever.values
) -> None:
    """These and no others, in this order; what was applied or dismissed keeps its state. Other
    levers than these, if any, are left alone and come after them."""
    kept = {(each.lever, each.feature, each.target): each for each in incident.mitigations.all()}
    for rank, proposal in enumerate(wanted, start=1):
        columns = _columns(proposal, rank)
        mitigation = kept.pop(proposal.key, None)
        if mitigation is None:
            lever, feature, target = proposal.key
            Mitigation.objects.create(
                incident=incident, lever=lever, feature=feature, target=target, **columns
            )
        elif mitigation.state in (State.PROPOSED, State.WITHDRAWN):
            Mitigation.objects.filter(pk=mitigation.pk).update(state=State.PROPOSED, **columns)
    left = [each for each in kept.values() if each.state == State.PROPOSED]
    gone = [each.pk for each in left if each.lever in levers]
    Mitigation.objects.filter(pk__in=gone).update(state=State.WITHDRAWN)
    others = sorted((each for each in left if each.lever not in levers), key=lambda m: m.rank)
    for rank, mitigation in enumerate(others, start=len(wanted) + 1):
        Mitigation.objects.filter(pk=mitigation.pk).update(rank=rank)


def follow_cause(incident: Incident) -> None:
    """A person has named the cause: what touches that fault is proposed instead of what touched
    another. What slows or stops the feature is the same for every cause. Savings are as far as the
    incident tells; the next verdict knows more."""
    finding = Finding(
        started_at=incident.started_at,
        until=incident.judged_until,
        cause=incident.cause,
        confidence=float(incident.confidence),
        baseline_usd_per_hour=incident.baseline_usd_per_hour,
        cost_usd_per_hour=incident.cost_usd_per_hour,
        excess_usd_total=incident.excess_usd_total,
        contributions=contributions_of(incident),
        feature=incident.feature,
        tool=incident.tool,
    )
    keep(incident, of_named_cause(finding, levers.values_of(incident.feature)), OF_CAUSE)


def contributions_of(incident: Incident) -> list[Contribution]:
    return [
        Contribution(each["name"], each["label"], Decimal(each["usdPerHour"]))
        for each in incident.contributions
    ]


def _columns(proposal: Proposal, rank: int) -> dict[str, Any]:
    return {
        "rank": rank,
        "label": proposal.label,
        "why": proposal.why,
        "saving_usd_per_hour": proposal.saving_usd_per_hour,
        "values": dict(proposal.values),
    }
