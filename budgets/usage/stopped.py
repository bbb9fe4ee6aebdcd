"""What admits nothing now besides work orders, and until when: named reads for the first page.

Work orders are read by `overview.blocked`; the breaker of one of them is read here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Max
from django.urls import reverse

from budgets.controls import limits
from budgets.models import Budget, FeatureControl, KillSwitch, TimedMitigation
from opslog.database import query

# A limit that is reached is reached for those who ask for a whole run, or for any dollar at all.
REACHED = f"""
SELECT b.id, k.subject, tollgate.cured_at(
    row('none', b.id, b.scope, k.subject, b."window", b.measure, b.amount, NULL, '{{}}', c.now,
        NULL, k.settled + k.held)::tollgate.charge, c.now)
FROM {limits.IN_USE}
WHERE b.amount IS NOT NULL AND b.scope <> 'work_order' AND k.settled + k.held >= b.amount
ORDER BY b.scope <> 'global', b.scope, k.subject LIMIT %s
"""  # noqa: S608  (constants put together)


@dataclass(frozen=True, slots=True)
class Stopped:
    """`until` is empty where time alone changes nothing; `ends` says what does."""

    what: str
    why: str
    href: str
    until: datetime | None
    ends: str = ""


def stopped(
    switches: Iterable[KillSwitch], breakers: Iterable[Any], *, at_most: int
) -> list[Stopped]:
    """These kill switches, those of these breakers (`breaker.with_due`) whose time is not over, the
    features that are off, the limits that are used up. At most four queries; each returns at
    most so many."""
    return [
        *(
            Stopped(
                str(each),
                "kill switch",
                reverse("admin:budgets_killswitch_change", args=[each.pk]),
                None,
                "somebody lifts it",
            )
            for each in switches
        ),
        *(
            Stopped(
                str(each),
                "circuit breaker",
                reverse("admin:budgets_circuitbreaker_change", args=[each.pk]),
                each.half_open_at,
                "its probe has succeeded",
            )
            for each in breakers
            if not each.due
        ),
        *_features(at_most),
        *_limits(at_most),
    ][:at_most]


def _features(at_most: int) -> list[Stopped]:
    """Those that are switched off; a lever of the job puts its own back at its time."""
    off = list(FeatureControl.objects.filter(enabled=False).order_by("feature")[:at_most])
    if not off:
        return []
    back = dict(
        TimedMitigation.objects.filter(ended_at=None, applied__enabled=False)
        .values_list("feature")
        .annotate(Max("until"))
    )
    return [
        Stopped(
            f"feature {each.feature}",
            "switched off",
            reverse("admin:budgets_featurecontrol_change", args=[each.pk]),
            back.get(each.feature),
            "somebody switches it on",
        )
        for each in off
    ]


def _limits(at_most: int) -> list[Stopped]:
    rows = query.rows(REACHED, [at_most])
    reached = Budget.objects.in_bulk([pk for pk, _, _ in rows])
    return [
        Stopped(
            _named(reached[pk], subject),
            f"{reached[pk].get_measure_display()} {reached[pk].get_window_display()} used up",
            reverse("admin:budgets_budget_change", args=[pk]),
            until,
            "a run ends",
        )
        for pk, subject, until in rows
    ]


def _named(limit: Budget, subject: str) -> str:
    if limit.scope == Budget.Scope.GLOBAL:
        return "everything"
    return f"{limit.get_scope_display().split(',')[0]} {subject.replace(chr(31), ' / ')}"
