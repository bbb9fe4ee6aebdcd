"""Which rows hold a hotspot, and which of them can be lowered or switched: read, never typed."""

from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils.http import urlencode

from budgets.controls import breaker, features
from budgets.finops.hotspots import levers
from budgets.finops.hotspots.levers import Control, Lever
from budgets.models import (
    Budget,
    CircuitBreaker,
    DimensionBudget,
    FeatureControl,
    Hotspot,
    KillSwitch,
)
from budgets.models.hotspots import EVERY_FEATURE
from workorders.models import CostDimension


@dataclass(frozen=True, slots=True)
class Guardrail:
    """`state`: what it allows, or that it stops; `lever`: the act that tightens it."""

    what: str
    state: str
    in_force: bool
    page: str
    lever: "Link | None" = None


@dataclass(frozen=True, slots=True)
class Link:
    """A page of the admin that does something, by its name there: who reads may not open it."""

    text: str
    name: str
    pk: Any = None
    query: str = ""


def of(hotspot: Hotspot) -> list[Guardrail]:
    """In a bounded number of queries. Admission holds runs and reported spend: a bill that no
    program asks Tollgate about (storage, say) is held by its cost dimension's limit alone."""
    found = [*_controls(hotspot), *_limits(hotspot)]
    if hotspot.dimension == CostDimension.LLM_API or hotspot.feature:
        found += [*_breakers(), *_switches()]
    return found


def _controls(hotspot: Hotspot) -> list[Guardrail]:
    if not hotspot.feature:
        return []
    controls = FeatureControl.objects.order_by("feature")
    if hotspot.feature != EVERY_FEATURE:
        controls = controls.filter(feature=hotspot.feature)
    found = []
    for control in controls[:50]:
        throttle = (
            f"{control.requests_per_period:,} requests of a user {control.get_period_display()}"
            if control.requests_per_period
            else "no throttle"
        )
        cap = (
            f"${control.cost_cap_usd:,.2f} in any 60 minutes"
            if control.cost_cap_usd
            else "no cost cap"
        )
        found.append(
            Guardrail(
                f"Feature control of {control.feature}",
                f"{'on' if control.enabled else 'off'}; {throttle}; {cap}",
                not control.enabled or bool(control.requests_per_period or control.cost_cap_usd),
                reverse("admin:budgets_featurecontrol_change", args=[control.pk]),
                Link("throttle, cap and levers", "budgets_featurecontrol_levers", control.pk),
            )
        )
    if not found and hotspot.feature != EVERY_FEATURE:
        found.append(
            Guardrail(
                f"Feature control of {hotspot.feature}",
                "not registered: on, without throttle or cap",
                False,
                reverse("admin:budgets_featurecontrol_changelist"),
                Link(
                    "register it",
                    "budgets_featurecontrol_add",
                    query=urlencode({"feature": hotspot.feature}),
                ),
            )
        )
    return found


def _limits(hotspot: Hotspot) -> list[Guardrail]:
    covers = Q(scope=Budget.Scope.COST_DIMENSION, subject__in=("*", hotspot.dimension))
    if hotspot.feature == EVERY_FEATURE:
        covers |= Q(scope=Budget.Scope.FEATURE)
    elif hotspot.feature:
        covers |= Q(scope=Budget.Scope.FEATURE, subject__in=("*", hotspot.feature))
    if hotspot.dimension == CostDimension.LLM_API or hotspot.feature:
        covers |= Q(scope__in=("global", "user", "model_tier"))
    found = []
    for limit in Budget.objects.filter(covers):
        if limit.amount is None:
            continue
        unit = limit.measure.removesuffix("s") if limit.amount == 1 else limit.measure
        amount = f"{limit.amount:,.0f} {unit}"
        if limit.measure == Budget.Measure.USD:
            amount = f"${limit.amount:,.2f}"
        found.append(
            Guardrail(
                _sentence(limit),
                f"{amount} {limit.get_window_display()}",
                True,
                reverse("admin:budgets_budget_change", args=[limit.pk]),
                Link("lower it", "budgets_budget_lower", limit.pk),
            )
        )
    return found


def _sentence(limit: Budget) -> str:
    if limit.scope == Budget.Scope.GLOBAL:
        return "Limit of everything"
    label, _, within = limit.get_scope_display().partition(", ")
    whose = f"each {label}" if limit.subject == "*" else f"{label} {limit.subject}"
    return f"Limit of {whose}, {within}" if within else f"Limit of {whose}"


def _breakers() -> list[Guardrail]:
    trips = breaker.committed().trips_at
    found = CircuitBreaker.objects.filter(scope="global").first()
    if found is None:
        return []
    at = f"opens at ${trips:,.2f} in any 60 seconds" if trips else "never opens by itself"
    return [
        Guardrail(
            "Circuit breaker",
            f"{found.get_state_display()}; {at}",
            bool(trips),
            reverse("admin:budgets_circuitbreaker_change", args=[found.pk]),
            Link("open it by hand", "budgets_circuitbreaker_trip", found.pk),
        )
    ]


def _switches() -> list[Guardrail]:
    on = list(KillSwitch.objects.filter(enabled=True, scope__in=("Global", "Surface"))[:20])
    found = [
        Guardrail(
            f"Kill switch: {switch}",
            f"stopped since {switch.changed_at:%Y-%m-%d %H:%M} UTC",
            True,
            reverse("admin:budgets_killswitch_change", args=[switch.pk]),
        )
        for switch in on
    ]
    found.append(
        Guardrail(
            "Kill switch",
            f"{len(on)} on" if on else "none is on; ready",
            True,
            reverse("admin:budgets_killswitch_changelist"),
            Link("stop one surface", "budgets_killswitch_add", query="scope=Surface"),
        )
    )
    return found


def links(hotspot: Hotspot) -> list[tuple[str, Link | None]]:
    """The levers of an entry, each with the page that pulls it; None: outside Tollgate."""
    return [
        (lever.text, _link(hotspot, lever) if lever.control else None)
        for lever in levers.read(hotspot.levers)
    ]


def _link(hotspot: Hotspot, lever: Lever) -> Link:
    """Where there is no row yet, the page that makes one, or the list of them."""
    match lever.control:
        case Control.FEATURE if hotspot.feature in ("", EVERY_FEATURE):
            return Link(lever.text, "budgets_featurecontrol_changelist")
        case Control.FEATURE:
            return replace(_of_feature(hotspot.feature), text=lever.text)
        case Control.LIMIT:
            scope = {"scope": Budget.Scope.COST_DIMENSION.value, "subject": hotspot.dimension}
            limit = Budget.objects.filter(**scope).exclude(amount=None).first()
            if limit:
                return Link(lever.text, "budgets_budget_lower", limit.pk)
            return Link(lever.text, "budgets_budget_add", query=new_limit(hotspot))
        case Control.SURFACE:
            return Link(lever.text, "budgets_killswitch_add", query="scope=Surface")
        case Control.EVERYTHING:
            return Link(lever.text, "budgets_killswitch_add", query="scope=Global")
        case Control.BREAKER:
            return Link(lever.text, "budgets_circuitbreaker_changelist")
        case Control.CAPS:
            return Link(lever.text, "workorders_workorder_changelist")
        case _:
            budget = DimensionBudget.objects.get(dimension=hotspot.dimension)
            return Link(lever.text, "budgets_dimensionbudget_change", budget.pk)


def new_limit(hotspot: Hotspot) -> str:
    """The form of a limit on the hotspot's bill, filled in as far as is known."""
    scope = Budget.Scope.COST_DIMENSION.value
    initial = {"scope": scope, "subject": hotspot.dimension, "window": "month", "measure": "usd"}
    return urlencode(initial)


def _of_feature(feature: str) -> Link:
    control = features.control_of(feature)
    if control.pk:
        return Link("", "budgets_featurecontrol_levers", control.pk)
    return Link("", "budgets_featurecontrol_add", query=urlencode({"feature": feature}))


def values(hotspot: Hotspot) -> list[tuple[Link, Any]]:
    """What the service of a feature obeys, with the page that sets each, and its value now."""
    if hotspot.feature in ("", EVERY_FEATURE):
        return []
    control, page = features.control_of(hotspot.feature), _of_feature(hotspot.feature)
    return [(replace(page, text=name), value) for name, value in features.levers(control).items()]
