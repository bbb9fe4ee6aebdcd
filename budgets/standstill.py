"""What admits nothing now besides work orders, and until when: named reads for the first page.

Work orders are read by `overview.blocked`; the breaker of one of them is told here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Max
from django.urls import reverse

from budgets.models import Budget, FeatureControl, KillSwitch, TimedMitigation

# A limit that is reached is reached for those who ask for a whole run, or for any dollar at all.
# (A row for a name wins over the one for each of its scope.)
REACHED = """
WITH c AS (SELECT tollgate.now() AS now)
SELECT b.id, k.subject, tollgate.cured_at(
    row(0, b.id, b.scope, k.subject, b."window", b.measure, b.amount, NULL, '{}', c.now, NULL,
        k.used)::tollgate.charge, c.now)
FROM c CROSS JOIN budgets b CROSS JOIN LATERAL (
    SELECT s.subject, sum(CASE b.measure WHEN 'usd' THEN s.reserved_usd + s.settled_usd
        WHEN 'tokens' THEN s.reserved_tokens + s.settled_tokens
        WHEN 'runs' THEN s.open_runs ELSE s.runs END) AS used
    FROM counters s
    WHERE s.scope = b.scope AND s."window" = b."window"
        AND s.starts_at BETWEEN tollgate.counts_from(b."window", c.now) AND c.now
        AND (b.subject IN ('', s.subject)
            OR (b.scope = 'model_tier' AND b.subject = split_part(s.subject, chr(31), 2))
            OR (b.subject = '*' AND NOT EXISTS (
                SELECT FROM budgets own WHERE own.scope = b.scope AND own."window" = b."window"
                    AND own.measure = b.measure AND own.subject = s.subject)))
    GROUP BY s.subject) k
WHERE b.amount IS NOT NULL AND b.scope <> 'work_order' AND k.used >= b.amount
ORDER BY b.scope <> 'global', b.scope, k.subject LIMIT %s
"""


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
    features that are off, the limits that are used up. At most four queries, each of which gives at
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
    with connection.cursor() as cursor:
        cursor.execute(REACHED, [at_most])
        rows = cursor.fetchall()
    limits = Budget.objects.in_bulk([pk for pk, _, _ in rows])
    return [
        Stopped(
            _named(limits[pk], subject),
            f"{limits[pk].get_measure_display()} {limits[pk].get_window_display()} used up",
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
