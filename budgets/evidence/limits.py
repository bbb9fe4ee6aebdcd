"""What must be known to decide on a shared limit: its use, and whom it refused."""

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import TruncDate

from budgets import features, limits, overview
from budgets.approvals.subjects import FeatureLimits, SharedLimit
from budgets.models import Budget, ChangeRequest, FeatureControl
from opslog.event_filters import Times
from opslog.models import OperationsEvent

DAYS = 30
FEATURE_DENIALS = ("feature_rate", "feature_off")
OWN_DENIALS = {"user": "user_quota", "address": "address_rate"}


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


def denials_of(budget: Budget) -> tuple[str, ...]:
    """What a refusal by this limit is called in the log."""
    if budget.is_breaker:
        return ("breaker_open",)
    if budget.window == Budget.Window.OPEN:
        return ("concurrency",)
    return (OWN_DENIALS.get(budget.scope, f"budget:{budget.scope}:{budget.window}"),)


def denials_by_request(requests: Sequence[ChangeRequest]) -> dict[int, tuple[str, ...]]:
    """What the refusals by the limits of these requests are called; one query. Requests on caps,
    and on limits that are gone, are left out."""
    found = {
        each.pk: FEATURE_DENIALS for each in requests if each.subject_type == FeatureLimits.kind
    }
    shared = {
        each.pk: int(each.subject_id) for each in requests if each.subject_type == SharedLimit.kind
    }
    budgets = Budget.objects.in_bulk(shared.values()) if shared else {}
    return found | {
        pk: denials_of(budgets[budget]) for pk, budget in shared.items() if budget in budgets
    }


def refusals_by_request(
    requests: Sequence[ChangeRequest], since: datetime
) -> dict[int, list[tuple[str, int]]]:
    """How often the limits of these requests refused since, under the first name of it; two
    queries, whatever the number of requests."""
    denials = denials_by_request(requests)
    names = {name for each in denials.values() for name in each}
    if not names:
        return {}
    times = Tally(
        dict(
            OperationsEvent.objects.filter(
                kind__in=overview.REFUSALS, created_at__gte=since, meta__reason__in=names
            )
            .order_by()
            .values_list(KeyTextTransform("reason", "meta"))
            .annotate(times=Sum(Times("meta")))
        )
    )
    told = {pk: sum(times[name] for name in each) for pk, each in denials.items()}
    return {pk: [(denials[pk][0], count)] for pk, count in told.items() if count}


def limit_evidence(request: ChangeRequest, *, now: datetime) -> LimitEvidence | None:
    """None where the limit is gone."""
    days: Sequence[overview.DayOfUse] = ()
    if request.subject_type == SharedLimit.kind:
        budget = Budget.objects.filter(pk=request.subject_id).first()
        if budget is None:
            return None
        use = limits.use_of([budget.pk])[budget.pk]
        used, used_by, denials = use.settled + use.held, use.subject, denials_of(budget)
        if budget.scope == Budget.Scope.GLOBAL:
            days = overview.use_by_day("global", "", overview.today(), days=DAYS)
    elif request.subject_type == FeatureLimits.kind:
        control = FeatureControl.objects.filter(pk=request.subject_id).first()
        if control is None:
            return None
        used, used_by = features.recent(control.feature).usd, control.feature
        denials = FEATURE_DENIALS
    else:
        return None
    return LimitEvidence(now, used, used_by, days, denials, _refusals(denials, now))


def _refusals(denials: Sequence[str], now: datetime) -> list[tuple[date, int]]:
    first = now.date() - timedelta(days=DAYS - 1)
    rows = (
        OperationsEvent.objects.filter(
            kind__in=overview.REFUSALS,
            created_at__gte=now - timedelta(days=DAYS),
            meta__reason__in=denials,
        )
        .order_by()
        .annotate(of=TruncDate("created_at"))
        .values_list("of")
        .annotate(times=Sum(Times("meta")))
    )
    times: Tally[date] = Tally(dict(rows))
    return [(day, times[day]) for day in (first + timedelta(days=n) for n in range(DAYS))]
