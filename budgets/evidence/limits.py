"""What must be known to decide on a shared limit: its use, and whom it refused."""

from collections import Counter as Tally
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import connection

from budgets import clock
from budgets.approvals.subjects import FeatureLimits, SharedLimit
from budgets.controls import features, limits
from budgets.models import Budget, ChangeRequest, FeatureControl
from budgets.usage import overview
from opslog.models import OperationsEvent

DAYS = 30
FEATURE_DENIALS = ("feature_rate", "feature_off")
OWN_DENIALS = {"user": "user_quota", "address": "address_rate"}
# `limit` is the row of `budgets` that refused, where the event names it; `own` how many runs the
# work order may have at the same time.
REFUSED = """
SELECT (e.created_at AT TIME ZONE 'UTC')::date AS day, e.meta->>'reason' AS reason,
    coalesce(e.meta->>'budgetId', '') AS "limit", coalesce(e.meta->>'cap', '') AS cap,
    coalesce(e.meta->>'feature',
        substring(e.message FROM 'refused(?: more)?: feature (.+) is switched off'), '') AS feature,
    o.max_concurrent_runs AS own, sum(tollgate.times(e.meta))::bigint AS times
FROM operations_events e
LEFT JOIN work_orders o ON e.owner_type = 'work_order' AND o.id = e.owner_id
WHERE e.kind = ANY (%s) AND e.created_at >= %s AND e.meta->>'reason' = ANY (%s)
GROUP BY 1, 2, 3, 4, 5, 6
"""


@dataclass(frozen=True, slots=True)
class LimitEvidence:
    """Of thirty days. `used` is that of its window now, by the one that uses most of it."""

    at: datetime
    used: Decimal
    used_by: str
    days: Sequence[overview.DayOfUse]  # of everything; empty where it is held over something else
    denials: tuple[str, ...]
    refused: Sequence[tuple[date, int]]  # every day, oldest first

    @property
    def refused_today(self) -> int:
        return self.refused[-1][1]

    @property
    def refused_total(self) -> int:
        return sum(times for _, times in self.refused)

    def as_json(self) -> dict[str, Any]:
        return {
            "limit": {
                "at": self.at.isoformat(),
                "used": str(self.used),
                "usedBy": self.used_by,
                "denials": list(self.denials),
                "refusedToday": self.refused_today,
                "refusedInThirtyDays": self.refused_total,
            }
        }


@dataclass(frozen=True, slots=True)
class Denials:
    """How refusals by one limit are recognized in the log. `names` are their denials, which other
    limits share; the other fields pick out its own."""

    names: tuple[str, ...]
    budget_id: str = ""
    amounts: frozenset[Decimal] = frozenset()  # that it had in the time in question
    feature: str = ""

    def cover(self, row: Mapping[str, Any]) -> bool:
        """Of a refusal on record: the limit that it names, else the amount it was held against. (A
        work order with as many concurrent runs is held to its own before any shared limit.)"""
        if row["reason"] not in self.names:
            return False
        if self.feature and row["feature"]:
            return bool(self.feature == row["feature"])
        if row["limit"]:
            return bool(row["limit"] == self.budget_id)
        if not row["cap"]:
            # An open breaker refuses without a look at its limit; all others say what it was.
            return bool(row["reason"] != "breaker_open")
        cap = _decimal(row["cap"])
        own = row["reason"] == "concurrency" and cap == row["own"]
        return cap in self.amounts and not own


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def denials_of(budgets: Collection[Budget], since: datetime) -> dict[int, Denials]:
    """How refusals by these limits are recognized in the log, from `since` on; one query."""
    amounts = {str(budget.pk): {budget.amount} for budget in budgets}
    changes = OperationsEvent.objects.filter(
        owner_type="budget",
        owner_id__in=amounts,
        created_at__gte=since,
        meta__changes__has_key="amount",
    )
    for pk, old in changes.values_list("owner_id", "meta__changes__amount__old"):
        amounts[pk].add(_decimal(str(old)))
    return {
        budget.pk: Denials(
            _names(budget),
            str(budget.pk),
            frozenset(each for each in amounts[str(budget.pk)] if each is not None),
        )
        for budget in budgets
    }


def _names(budget: Budget) -> tuple[str, ...]:
    if budget.is_breaker:
        return ("breaker_open",)
    if budget.window == Budget.Window.OPEN:
        return ("concurrency",)
    return (OWN_DENIALS.get(budget.scope, f"budget:{budget.scope}:{budget.window}"),)


def denials_of_features(controls: Iterable[FeatureControl]) -> dict[int, Denials]:
    """The same for features; one query. A refusal that names none was this one's if no other has
    its throttle."""
    throttles = Tally(FeatureControl.objects.values_list("requests_per_period", flat=True))
    return {
        control.pk: Denials(
            FEATURE_DENIALS,
            amounts=frozenset(
                Decimal(each)
                for each in (control.requests_per_period,)
                if each is not None and throttles[each] == 1
            ),
            feature=control.feature,
        )
        for control in controls
    }


def denials_by_request(requests: Sequence[ChangeRequest], since: datetime) -> dict[int, Denials]:
    """How refusals by the limits of these requests are recognized. Requests on caps, and on limits
    that are gone, are left out."""
    features_of = {
        each.pk: int(each.subject_id)
        for each in requests
        if each.subject_type == FeatureLimits.kind
    }
    shared = {
        each.pk: int(each.subject_id) for each in requests if each.subject_type == SharedLimit.kind
    }
    controls = FeatureControl.objects.in_bulk(features_of.values()) if features_of else {}
    budgets = Budget.objects.in_bulk(set(shared.values())) if shared else {}
    of_control = denials_of_features(controls.values()) if controls else {}
    of_budget = denials_of(budgets.values(), since) if budgets else {}
    return {
        pk: found[key]
        for found, asked in ((of_control, features_of), (of_budget, shared))
        for pk, key in asked.items()
        if key in found
    }


def refusals_by_request(
    requests: Sequence[ChangeRequest], since: datetime
) -> dict[int, list[tuple[str, int]]]:
    """How often the limits of these requests refused since, under the first name of it."""
    denials = denials_by_request(requests, since)
    names = {name for each in denials.values() for name in each.names}
    rows = list(_refused(names, since)) if names else []
    counts = {
        pk: sum(row["times"] for row in rows if each.cover(row)) for pk, each in denials.items()
    }
    return {pk: [(denials[pk].names[0], count)] for pk, count in counts.items() if count}


def limit_evidence(request: ChangeRequest, *, now: datetime) -> LimitEvidence | None:
    """None where the limit is gone."""
    days: Sequence[overview.DayOfUse] = ()
    if request.subject_type == SharedLimit.kind:
        budget = Budget.objects.filter(pk=request.subject_id).first()
        if budget is None:
            return None
        use = limits.use_of([budget.pk])[budget.pk]
        used, used_by = use.used, use.subject
        denials = denials_of([budget], now - timedelta(days=DAYS))[budget.pk]
        if budget.scope == Budget.Scope.GLOBAL:
            days = overview.use_by_day("global", "", clock.midnight(), days=DAYS)
    elif request.subject_type == FeatureLimits.kind:
        control = FeatureControl.objects.filter(pk=request.subject_id).first()
        if control is None:
            return None
        recent = features.recent(control.feature)
        used, used_by = recent.usd + recent.direct_usd, control.feature
        denials = denials_of_features([control])[control.pk]
    else:
        return None
    return LimitEvidence(now, used, used_by, days, denials.names, _refusals(denials, now))


def _refusals(denials: Denials, now: datetime) -> list[tuple[date, int]]:
    first = now.date() - timedelta(days=DAYS - 1)
    times: Tally[date] = Tally()
    for row in _refused(denials.names, datetime.combine(first, time(), UTC)):
        if denials.cover(row):
            times[row["day"]] += row["times"]
    return [(day, times[day]) for day in (first + timedelta(days=n) for n in range(DAYS))]


def _refused(names: Collection[str], since: datetime) -> list[dict[str, Any]]:
    """Refusals called so, by day and by what is on record of the limit."""
    with connection.cursor() as cursor:
        cursor.execute(REFUSED, [list(overview.REFUSALS), since, list(names)])
        columns = [column.name for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
