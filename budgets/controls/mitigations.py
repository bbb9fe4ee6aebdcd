"""Applying what an incident proposes: the control is changed and the incident updated, in one
transaction, by the same functions as everywhere.

A control may say already what the runbook recommends: those are the defaults that a feature is
registered with. Then the step that is proposed is one tighter, and the proposal says so
(`opslog.incidents.proposals`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from budgets import approvals
from budgets.controls import features, kill_switch, permitting
from budgets.exceptions import Refused
from budgets.models import ChangeRequest, FeatureControl
from opslog.database import query
from opslog.groups import OPERATIONS, members
from opslog.incidents import mitigating, notices
from opslog.incidents.tightening import is_set, tightened
from opslog.models import Mitigation
from workorders.models import WorkOrder

Lever = Mitigation.Lever

THROTTLED = """
SELECT count(*) FILTER (WHERE runs > %(limit)s), coalesce(sum(greatest(runs - %(limit)s, 0)), 0),
    coalesce(sum(runs), 0)
FROM (SELECT count(*) AS runs FROM work_order_runs
      WHERE feature = %(feature)s AND started_at > (SELECT tollgate.now()) - interval '60 minutes'
          AND started_at <= (SELECT tollgate.now())
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
class Applied:
    """`applied` False: it waits for an approval, and nothing has changed yet."""

    applied: bool
    text: str


def is_of_feature(mitigation: Mitigation) -> bool:
    return mitigation.lever not in (Lever.KILL_SWITCH, Lever.LOWER_CAP)


def plan(mitigation: Mitigation) -> Plan:
    """Raises Refused where it could change nothing."""
    usd = mitigation.saving_usd_per_hour
    saved = f"${usd:,.2f} an hour" if usd else "not known"
    saving = f"Estimated saving: {saved}. {mitigation.why}"
    if mitigation.lever == Lever.KILL_SWITCH:
        scope, target = scope_of(mitigation)
        stops = kill_switch.effect(scope, kill_switch.normalised(scope, target))
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
) -> Applied:
    """Change the control and record it on the incident.

    `changed` are values that a person has typed over those of the plan. What would need an approval
    is asked for, and the proposal stays open. Raises Refused, NotAllowedNow (`opslog.exceptions`),
    and PermissionError for a person who may not change the control.
    """
    with transaction.atomic():
        mitigation = mitigating.hold(mitigation_id)
        if not permitting.may_apply(mitigation, by):
            raise PermissionError
        planned = plan(mitigation)
        values = {**planned.values, **{k: v for k, v in changed.items() if k in planned.values}}
        actor, kept = by.get_username(), features.plain(values)
        if mitigation.lever == Lever.LOWER_CAP:
            effect, request = _lower(mitigation, values, reason=reason, by=by)
            if request.status != ChangeRequest.Status.APPLIED:
                mitigating.record_asked(
                    mitigation,
                    kept,
                    effect=effect,
                    reason=reason,
                    by=actor,
                    now=now,
                )
                return Applied(False, effect)
        else:
            effect = _set(mitigation, values, reason=reason, by=by)
        mitigating.record_applied(mitigation, kept, effect=effect, reason=reason, by=actor, now=now)
        others = [each for each in members(OPERATIONS) if each.pk != by.pk]
        text = f"{mitigation.summary}. {effect}\n\n{reason.strip()}"
        what = f"applied:{mitigation.pk}"
        notices.tell(mitigation.incident, what, text, to=others, channels=True)
    return Applied(True, effect)


def _lower(
    mitigation: Mitigation, values: Mapping[str, Any], *, reason: str, by: User
) -> tuple[str, ChangeRequest]:
    """What came of it, and the request: applied, or pending where somebody has lowered the cap
    further since it was looked at."""
    target, new = mitigation.target, Decimal(values["usd_per_day"])
    _lowers(target, WorkOrder.objects.get(pk=target).usd_per_day, new)
    request = approvals.ask(
        target,
        new=values,
        justification=reason,
        expected_cost_impact=f"Up to ${new:,.2f} a day, to stop an incident.",
        by=by,
    )
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
        made, stops = kill_switch.switch(
            scope, target, enabled=True, reason=reason, by=by.get_username(), person=by
        )
        return f"{made} is stopped: {stops.running} runs were under way."
    control = features.control_of(mitigation.feature)
    if control.pk and not moves(control, values):
        raise Refused(
            f"{mitigation.feature} is limited to that already: nothing would change. Enter a "
            "tighter value."
        )
    return set_feature(mitigation.feature, values, reason=reason, by=by.get_username())


def set_feature(
    feature: str, values: Mapping[str, Any], *, reason: str, by: str, for_a_time: bool = False
) -> str:
    moved = moves(features.control_of(feature), values)
    features.change(feature, dict(values), reason=reason, by=by, for_a_time=for_a_time)
    return f"{feature}: {', '.join(moved) or 'as it was'}."


def scope_of(mitigation: Mitigation) -> tuple[str, str]:
    if mitigation.target == kill_switch.Scope.GLOBAL:
        return kill_switch.Scope.GLOBAL, ""
    return kill_switch.Scope.IDENTITY, mitigation.target


def values_for(mitigation: Mitigation) -> dict[str, Any]:
    """What a feature's control would be set to: what is proposed, or one step tighter where the
    control has been changed since. Raises Refused where nothing would change."""
    now = features.values_of(mitigation.feature)
    values = tightened(mitigation.values, now)
    if is_set(values, now):
        raise Refused("The control says so already, and cannot be tighter: nothing would change.")
    return features.typed(values)


def is_as_proposed(mitigation: Mitigation) -> bool:
    """Whether nobody has moved the control since."""
    now = features.values_of(mitigation.feature)
    return tightened(mitigation.values, now) == dict(mitigation.values)


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
    if not is_as_proposed(mitigation):
        saving = "Somebody has changed the control since this was proposed: this is a step tighter."
    effects = [
        saving,
        *(f"{feature}: {move}." for move in moves(control, values)),
        f"{feature} in the last 24 hours: {recent}.",
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
    users, refused, runs = query.one(THROTTLED, {"feature": feature, "limit": limit})
    return int(users), int(refused), int(runs)
