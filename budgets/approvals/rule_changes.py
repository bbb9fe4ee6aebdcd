"""Changing the approval rules: by administrators, with a reason, sent to everybody who votes."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils import timezone

from budgets.approvals import notices, rules
from budgets.approvals.completing import complete_pending
from budgets.approvals.needs import current_rules
from budgets.approvals.people import groups_of, unfillable, voters
from budgets.approvals.subjects import BOUNDS, CAPS
from budgets.exceptions import Refused
from budgets.models import ApprovalRule, ApprovalSlot, Measure
from budgets.writing import stated
from opslog import events
from opslog.database import query

# What rules are made for. The limits of features are judged as shared limits are.
RULED = (*CAPS, Measure.SHARED_LIMIT)


def problems(measure: str, wanted: Sequence[rules.Rule]) -> list[str]:
    """What is wrong with these rules of one measure: gaps, overlaps, nobody asked."""
    step, highest = BOUNDS[measure]
    if not wanted:
        return ["There must be a rule."]
    found = []
    ordered = sorted(wanted, key=lambda rule: rule.minimum)
    expected = step
    for number, rule in enumerate(ordered):
        last = number == len(ordered) - 1
        if rule.minimum % step or (rule.maximum is not None and rule.maximum % step):
            found.append(f"Values are multiples of {step}.")
        if rule.minimum > expected:
            found.append(f"From {expected} to {rule.minimum - step} there is no rule.")
        elif rule.minimum < expected:
            found.append(f"At {rule.minimum} two rules overlap.")
        if not rule.slots:
            found.append(f"From {rule.minimum} on nobody is asked.")
        if any(count < 1 for count in rule.slots.values()):
            found.append(f"From {rule.minimum} on a group is asked for nobody.")
        if rule.maximum is None:
            if not last:
                found.append(f"The rule from {rule.minimum} has no end and others after it.")
            break
        if rule.maximum < rule.minimum:
            found.append(f"The rule from {rule.minimum} ends before it begins.")
        expected = rule.maximum + step
        if last and rule.maximum < highest:
            found.append(f"Above {rule.maximum} there is no rule: leave the last end empty.")
    return found


def replace(measure: str, wanted: Iterable[rules.Rule], *, by: User, reason: str) -> None:
    """Put these rules in place of all of the measure. Raises Refused with every reason.

    Open requests are judged by the new rules from now on.
    """
    wanted = list(wanted)
    if not by.is_active or "administrator" not in groups_of(by):
        raise Refused("Only administrators change approval rules.")
    reason = stated(reason, "A reason is required.")
    if measure not in RULED:
        raise Refused(f"There is no limit {measure}.")
    found = problems(measure, wanted)
    for rule in wanted:
        everybody = voters(set(rule.slots))
        # A request may be made at any time: who still waits will count for it.
        if missing := unfillable(rule.slots, everybody, by=timezone.now() + timedelta(days=366)):
            found.append(f"From {rule.minimum} on: {missing}")
    if found:
        raise Refused(" ".join(dict.fromkeys(found)))
    with transaction.atomic():
        # Two administrators at once: one after the other.
        query.run("LOCK TABLE approval_rules IN SHARE ROW EXCLUSIVE MODE")
        before = [rule for rule in current_rules() if rule.measure == measure]
        ApprovalRule.objects.filter(measure=measure).delete()
        groups = {group.name: group for group in Group.objects.all()}
        for rule in wanted:
            row = ApprovalRule.objects.create(
                measure=measure, minimum=rule.minimum, maximum=rule.maximum
            )
            ApprovalSlot.objects.bulk_create(
                ApprovalSlot(rule=row, group=groups[name], count=count)
                for name, count in rule.slots.items()
            )
        event = events.record(
            "APPROVAL_RULES_CHANGE",
            message=f"Approval rules for {Measure(measure).label} changed: {reason}",
            owner=("approval_rules", measure),
            label=Measure(measure).label,
            actor=by.get_username(),
            meta={
                "measure": measure,
                "reason": reason,
                "changes": {"rules": {"old": _told(before), "new": _told(wanted)}},
            },
        )
        change = f"{_in_words(before)} → {_in_words(wanted)}"
        label = Measure(measure).label
        notices.rules_changed(label, change, reason, by=by, key=str(event))
    complete_pending()  # the new rules may ask for less than what is signed already


def _in_words(some: Iterable[rules.Rule]) -> str:
    """ "from 10 up: 1 director, 1 finance"."""
    return (
        "; ".join(
            f"from {rule.minimum} up: "
            + ", ".join(f"{count} {name}" for name, count in sorted(rule.slots.items()))
            for rule in sorted(some, key=lambda rule: rule.minimum)
        )
        or "none"
    )


def _told(some: Iterable[rules.Rule]) -> list[dict[str, Any]]:
    def text(value: Decimal | None) -> str | None:
        return None if value is None else str(value)

    return [
        {"from": text(rule.minimum), "to": text(rule.maximum), "slots": dict(rule.slots)}
        for rule in sorted(some, key=lambda rule: rule.minimum)
    ]
