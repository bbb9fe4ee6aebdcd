"""The table of what burns: names, addresses, and the acts beside each row.

An act is posted to the page that it has anyhow, with the way back (`next`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import reverse

from budgets.models import FeatureControl, KillSwitch
from budgets.usage.burning import Burner
from workorders.models import Agent, ServiceToken, WorkOrder

NOBODY = {
    "work_order": "Direct spend, no work order",
    "model": "No model reported",
    "agent": "No agent reported",
    "token": "No token",
    "user": "No user reported",
    "feature": "No feature reported",
}
REASONS = ("Runaway spend", "Runs loop", "Wrong model", "Under investigation")


@dataclass(frozen=True, slots=True)
class Act:
    """What a button does: the address that takes it, and what is sent with the reason."""

    href: str
    verb: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Row:
    burner: Burner
    label: str
    href: str = ""
    state: str = ""  # suspended | archived | stopped | off
    stop: Act | None = None
    lift: Act | None = None
    ask: str = ""

    @property
    def key(self) -> str:
        """For the id of its element: names hold whatever programs send."""
        return sha256(self.burner.name.encode()).hexdigest()[:12]


def rows(request: HttpRequest, kind: str, found: Sequence[Burner]) -> list[Row]:
    """At most two queries."""
    made = {each.name: Row(each, each.name or NOBODY[kind]) for each in found}
    named = {name: row for name, row in made.items() if name}
    match kind:
        case "work_order":
            _work_orders(request, named)
        case "agent" | "user" | "token":
            _identities(request, kind, named)
        case "feature":
            _features(request, named)
    return list(made.values())


def labels(kind: str, names: Sequence[str]) -> dict[str, str]:
    """What a chart calls these names. One query at most."""
    known: dict[str, str] = {}
    if kind == "work_order":
        known = dict(WorkOrder.objects.filter(pk__in=names).values_list("pk", "title"))
    elif kind == "token":
        known = {name: str(token) for name, token in _tokens(names).items()}
    return {name: known.get(name, name) or NOBODY.get(kind, name) for name in names}


def _work_orders(request: HttpRequest, named: Mapping[str, Row]) -> None:
    suspends = request.user.has_perm("workorders.suspend_workorder")
    asks = request.user.has_perm("budgets.ask_changerequest")
    for row in named.values():
        order, page = row.burner.work_order, "admin:workorders_workorder"
        if order is None:
            continue
        row.label, row.href = order.title, reverse(f"{page}_change", args=[quote(order.pk)])
        if order.status != WorkOrder.Status.DRAFT:
            row.state = order.status
        if suspends and order.status == WorkOrder.Status.SUSPENDED:
            row.lift = resume(order.pk)
        elif suspends and order.status == WorkOrder.Status.DRAFT:
            row.stop = Act(reverse(f"{page}_suspend", args=[quote(order.pk)]), "Suspend")
        if asks and order.status != WorkOrder.Status.ARCHIVED:
            row.ask = f"{reverse('admin:budgets_changerequest_add')}?work_order={order.pk}"


def resume(wo_id: str) -> Act:
    href = reverse("admin:workorders_workorder_resume", args=[quote(wo_id)])
    return Act(href, "Resume", {"reason": "Resumed on the overview"})


def _identities(request: HttpRequest, kind: str, named: Mapping[str, Row]) -> None:
    """Each has a kill switch of its own; a token that of its line."""
    targets = {name: f"{kind}:{name}" for name in named}
    if kind == "token":
        tokens = _tokens(list(named))
        targets = {name: f"token:{token.prefix.lower()}" for name, token in tokens.items()}
        for name, token in tokens.items():
            named[name].label = str(token)
            named[name].href = reverse("admin:workorders_servicetoken_change", args=[token.pk])
    elif kind == "agent":
        for agent in Agent.objects.filter(name__in=named):
            named[agent.name].href = reverse("admin:workorders_agent_change", args=[agent.pk])
    on = KillSwitch.objects.filter(
        scope=KillSwitch.Scope.IDENTITY, target__in=targets.values(), enabled=True
    )
    switches = {each.target: each for each in on}
    may = request.user.has_perm("budgets.stop_identity")
    for name, target in targets.items():
        row = named[name]
        if switch := switches.get(target):
            row.state = "stopped"
            href = reverse("admin:budgets_killswitch_switch", args=[switch.pk])
            fields = {"reason": "Lifted on the overview", "was": "on"}
            row.lift = Act(href, "Lift", fields) if may else None
        elif may:
            fields = {"scope": "Identity", "target": target}
            row.stop = Act(reverse("admin:budgets_killswitch_add"), "Stop", fields)


def _tokens(lineages: Sequence[str]) -> dict[str, Any]:
    """The newest token of each line."""
    numbers = [int(each) for each in lineages if each.isdecimal()]
    found = ServiceToken.objects.filter(lineage__in=numbers).order_by("pk")
    return {str(token.lineage): token for token in found}


def _features(request: HttpRequest, named: Mapping[str, Row]) -> None:
    """One without a control has nothing to be switched off by."""
    may = request.user.has_perm("budgets.change_featurecontrol")
    for control in FeatureControl.objects.filter(feature__in=named):
        row, page = named[control.feature], "admin:budgets_featurecontrol"
        row.href = reverse(f"{page}_change", args=[control.pk])
        switch = reverse(f"{page}_switch", args=[control.pk])
        if control.enabled:
            row.stop = Act(switch, "Switch off", {"was": "on"}) if may else None
        else:
            fields = {"reason": "Switched on again on the overview", "was": "off"}
            row.state = "off"
            row.lift = Act(switch, "Switch on", fields) if may else None
