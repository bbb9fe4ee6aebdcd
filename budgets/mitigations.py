"""Applying what an incident proposes: the control is changed and the incident told, in one
transaction, by the same functions as everywhere.

A control may say already what the runbook recommends: those are the defaults that a feature is
shipped with. Then the step that is proposed is one tighter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, transaction

from budgets import approvals, features, killswitch
from budgets.exceptions import Refused
from budgets.models import ChangeRequest, FeatureControl
from opslog.incidents import mitigating, notices, permitting
from opslog.models import Mitigation
from workorders.models import WorkOrder

Lever = Mitigation.Lever
LEAST_USD = Decimal("0.01")
LONGEST_INTERVAL_MS = 3_600_000
LONGEST_SECONDS = 3_600

THROTTLED = """
SELECT count(*) FILTER (WHERE runs > %(limit)s), coalesce(sum(greatest(runs - %(limit)s, 0)), 0),
    coalesce(sum(runs), 0)
FROM (SELECT count(*) AS runs FROM work_order_runs
      WHERE feature = %(feature)s AND started_at > now() - interval '60 minutes'
      GROUP BY user_id) per_user
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying a mitigation would set, and what that means, in numbers."""

    values: dict[str, Any]
    effects: tuple[str, ...]
    verb: str
    danger: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """`applied` False: it waits for an approval, and nothing has changed yet."""

    applied: bool
    said: str


def is_of_feature(mitigation: Mitigation) -> bool:
    return mitigation.lever not in (Lever.KILL_SWITCH, Lever.LOWER_CAP)


def may_apply(mitigation: Mitigation, person: User | AnonymousUser) -> bool:
    """Whoever may change the control itself; nothing more is allowed by an incident."""
    return permitting.may_apply(mitigation, person)


def plan(mitigation: Mitigation) -> Plan:
    """Raises Refused where nothing would change."""
    usd = mitigation.saving_usd_per_hour
    saved = f"${usd:,.2f} an hour" if usd else "not known"
    saving = f"Estimated saving: {saved}. {mitigation.why}"
    if mitigation.lever == Lever.KILL_SWITCH:
        scope, target = scope_of(mitigation)
        stops = killswitch.effect(scope, killswitch.normalised(scope, target))
        return Plan(
            {},
            (
                saving,
                f"It matches {stops.runs} runs of the last 24 hours; {stops.running} run now.",
                "From the next start on everything that it names is refused.",
            ),
            "Stop it",
            danger=True,
        )
    if mitigation.lever == Lever.LOWER_CAP:
        work_order = WorkOrder.objects.filter(pk=mitigation.target).first()
        if work_order is None:
            raise Refused(f"There is no work order {mitigation.target}: nothing to lower.")
        new = Decimal(mitigation.values["usd_per_day"])
        _lowers(mitigation.target, work_order.usd_per_day, new)
        change = f"${work_order.usd_per_day:,.2f} → ${new:,.2f} a day, from the next start on."
        return Plan({"usd_per_day": new}, (saving, change), "Lower it")
    return _plan_of_feature(mitigation, saving)


def apply(
    mitigation_id: int, changed: Mapping[str, Any], *, reason: str, by: User, now: datetime
) -> Outcome:
    """Change the control and record it on the incident.

    `changed` are values that a person has typed over those of the plan. What would need an approval
    is asked for, and the proposal stays open. Raises Refused, NotAllowedNow (`opslog.exceptions`),
    and PermissionError for who may not change the control.
    """
    with transaction.atomic():
        mitigation = mitigating.hold(mitigation_id)
        if not may_apply(mitigation, by):
            raise PermissionError
        told = plan(mitigation)
        values = {**told.values, **{k: v for k, v in changed.items() if k in told.values}}
        actor = by.get_username()
        if mitigation.lever == Lever.LOWER_CAP:
            effect, request = _lower(mitigation, values, reason=reason, by=by)
            if request.status != ChangeRequest.Status.APPLIED:
                mitigating.record_asked(
                    mitigation, plain(values), effect=effect, reason=reason, by=actor, now=now
                )
                return Outcome(False, effect)
        else:
            effect = _set(mitigation, values, reason=reason, by=by)
        mitigating.record_applied(
            mitigation, plain(values), effect=effect, reason=reason, by=actor, now=now
        )
        others = [each for each in notices.people("operations") if each.pk != by.pk]
        text = f"{mitigation.told}. {effect}\n\n{reason.strip()}"
        what = f"applied:{mitigation.pk}"
        notices.tell(mitigation.incident, what, text, to=others, channels=True)
    return Outcome(True, effect)


def _lower(
    mitigation: Mitigation, values: Mapping[str, Any], *, reason: str, by: User
) -> tuple[str, ChangeRequest]:
    """What came of it, and the request: applied, or pending where somebody has lowered the cap
    further since it was looked at."""
    target, new = mitigation.target, Decimal(values["usd_per_day"])
    _lowers(target, WorkOrder.objects.get(pk=target).usd_per_day, new)
    request = approvals.ask(target, new=values, justification=reason, by=by)
    if request.status == ChangeRequest.Status.APPLIED:
        return f"The cap of {target} is ${new:,.2f} a day (request #{request.pk}).", request
    return f"${new:,.2f} a day for {target} is a raise by now: request #{request.pk}.", request


def _lowers(work_order: str, current: Decimal, new: Decimal) -> None:
    """Raises Refused where it would not: a raise has its own form, and its own approvers."""
    if new >= current:
        raise Refused(
            f"The cap of {work_order} is ${current:,.2f} a day: ${new:,.2f} would not lower it."
        )


def _set(mitigation: Mitigation, values: Mapping[str, Any], *, reason: str, by: User) -> str:
    if mitigation.lever == Lever.KILL_SWITCH:
        scope, target = scope_of(mitigation)
        made, stops = killswitch.switch(
            scope, target, enabled=True, reason=reason, by=by.get_username(), person=by
        )
        return f"{made} is stopped: {stops.running} runs were under way."
    return set_feature(mitigation.feature, values, reason=reason, by=by.get_username())


def set_feature(feature: str, values: Mapping[str, Any], *, reason: str, by: str) -> str:
    told = moves(features.control_of(feature), values)
    features.change(feature, dict(values), reason=reason, by=by)
    return f"{feature}: {', '.join(told) or 'as it was'}."


def scope_of(mitigation: Mitigation) -> tuple[str, str]:
    if mitigation.target == killswitch.Scope.GLOBAL:
        return killswitch.Scope.GLOBAL, ""
    return killswitch.Scope.IDENTITY, mitigation.target


def tightened(wanted: Mapping[str, Any], control: FeatureControl) -> dict[str, Any]:
    """The recommended values, or one step tighter where the control says as much already."""
    now = {name: getattr(control, name) for name in wanted}
    if "undo_rate_limit" in wanted:
        minute = control.undo_rate_period == FeatureControl.UndoPeriod.MINUTE
        an_hour = control.undo_rate_limit * (60 if minute else 1)
        if an_hour <= wanted["undo_rate_limit"] * 60:
            return {**now, "undo_rate_limit": max(1, control.undo_rate_limit // 2)}
    elif "auto_save_interval_ms" in wanted:
        if control.auto_save_interval_ms >= wanted["auto_save_interval_ms"]:
            longer = min(LONGEST_INTERVAL_MS, control.auto_save_interval_ms * 2)
            return {"auto_save_interval_ms": longer}
    elif "max_context_messages" in wanted:
        if control.max_context_messages <= wanted["max_context_messages"]:
            return {"max_context_messages": max(1, control.max_context_messages // 2)}
    elif "max_tool_retries" in wanted:
        if control.max_tool_retries <= wanted["max_tool_retries"]:
            return {"max_tool_retries": max(0, control.max_tool_retries - 1)}
    elif "tool_breaker_failures" in wanted:
        failures, seconds = control.tool_breaker_failures, control.tool_breaker_seconds
        if (
            failures <= wanted["tool_breaker_failures"]
            and seconds >= wanted["tool_breaker_seconds"]
        ):
            return {
                "tool_breaker_failures": max(1, failures - 1),
                "tool_breaker_seconds": min(LONGEST_SECONDS, seconds * 2),
            }
    elif "requests_per_period" in wanted and control.requests_per_period is not None:
        same = control.period == wanted["period"]
        # Another period may let more through: the throttle that is there is halved instead.
        if not same or control.requests_per_period <= wanted["requests_per_period"]:
            return {
                "requests_per_period": max(1, control.requests_per_period // 2),
                "period": control.period,
            }
    elif "cost_cap_usd" in wanted:
        cap = Decimal(wanted["cost_cap_usd"])
        if control.cost_cap_usd is not None and control.cost_cap_usd <= cap:
            cap = max(LEAST_USD, (control.cost_cap_usd / 2).quantize(LEAST_USD))
        return {"cost_cap_usd": cap}
    return dict(wanted)


def values_for(mitigation: Mitigation) -> dict[str, Any]:
    """What a feature's control would be set to. Raises Refused where nothing would change."""
    control = features.control_of(mitigation.feature)
    values = tightened(mitigation.values, control)
    if control.pk and all(getattr(control, name) == value for name, value in values.items()):
        raise Refused("The control says so already, and cannot be tighter: nothing would change.")
    return values


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON keeps it."""
    return {
        name: f"{value:f}" if isinstance(value, Decimal) else value
        for name, value in values.items()
    }


def wording(name: str) -> str:
    return str(FeatureControl._meta.get_field(name).verbose_name)  # type: ignore[union-attr]


def shown(name: str, value: Any) -> str:
    """A value of a control as people read it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value in (None, ""):
        return "none"
    choices = dict(FeatureControl._meta.get_field(name).flatchoices)  # type: ignore[union-attr]
    return str(choices.get(value, value))


def moves(was: FeatureControl, values: Mapping[str, Any]) -> list[str]:
    """ "requests per period none → 10": what differs."""
    return [
        f"{wording(name)} {shown(name, getattr(was, name))} → {shown(name, value)}"
        for name, value in values.items()
        if getattr(was, name) != value
    ]


def _plan_of_feature(mitigation: Mitigation, saving: str) -> Plan:
    control, feature = features.control_of(mitigation.feature), mitigation.feature
    values = values_for(mitigation)
    recent = features.recent(feature)
    effects = [
        saving,
        *(f"{feature}: {told}." for told in moves(control, values)),
        f"{feature} had {recent.runs} runs and ${recent.usd:,.2f} in the last 24 hours.",
    ]
    if mitigation.lever == Lever.THROTTLE:
        users, refused, runs = _throttled(feature, values["requests_per_period"])
        effects.append(
            f"In the last 60 minutes it would have refused {refused} of {runs} starts, "
            f"of {users} users."
            if recent.runs
            else f"No start of {feature} asked Tollgate in the last 24 hours, so a throttle here "
            "stops nothing until its service asks, or reads it."
        )
    elif mitigation.lever in (Lever.COST_CAP, Lever.FEATURE_OFF):
        effects.append("What runs may finish, and gets no more money.")
    else:
        effects.append("The service reads it and obeys by itself; Tollgate does not enforce it.")
    off = mitigation.lever == Lever.FEATURE_OFF
    verb = {Lever.THROTTLE: "Throttle it", Lever.FEATURE_OFF: "Switch it off"}
    return Plan(values, tuple(effects), verb.get(Lever(mitigation.lever), "Set it"), danger=off)


def _throttled(feature: str, limit: int) -> tuple[int, int, int]:
    """Users, refused starts and all starts of the last 60 minutes, at this limit an hour."""
    with connection.cursor() as cursor:
        cursor.execute(THROTTLED, {"feature": feature, "limit": limit})
        users, refused, runs = cursor.fetchone()
        return int(users), int(refused), int(runs)
