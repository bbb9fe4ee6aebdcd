"""The first page: the state of the money. It joins the floors and has no rule of its own."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from budgets import (
    approvals,
    breaker,
    burn_rate,
    killswitch,
    last_day,
    latency,
    overview,
    selectors,
    standstill,
)
from budgets.approvals.break_glass import REVIEW_WITHIN
from budgets.models import Alert, AlertRule, Budget
from opslog import changes
from opslog.incidents.detecting import headline
from opslog.meters import Meter, chart
from opslog.models import Incident
from opslog.templatetags.tollgate import reason_word
from workorders.models import WorkOrder

ROWS = 8
BUSIEST = 5
ALERTS = 5
DAYS_SHOWN = 14
REFRESH_SECONDS = 5
LATENCY_MINUTES = 60
MAY = "budgets.view_budget"


@require_safe
def page(request: HttpRequest) -> HttpResponseBase:
    """The first page of the admin under the address that people know."""
    _may_read(request)
    return admin.site.index(request)


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """What of it renews itself."""
    _may_read(request)
    return render(request, "dashboard/state.html", first_page(request, {}))


def open_incidents() -> list[Incident]:
    """Those that burn first, then those that wait for their review."""
    found = Incident.objects.exclude(state=Incident.State.REVIEWED).select_related("owner")
    return sorted(found.order_by("-id")[:ROWS], key=lambda each: not each.is_active)


def _may_read(request: HttpRequest) -> None:
    """For everybody who may read budgets."""
    if not request.user.has_perm(MAY):
        raise PermissionDenied


def told_by_name(series: list[last_day.Series]) -> list[last_day.Series]:
    """None, where all there is has no name: a chart of it would be that of everything again."""
    return series if any(each.name != last_day.NO_FEATURE for each in series) else []


def figures(day: last_day.LastDay) -> dict[str, Any]:
    """What the charts draw: labels and series, as numbers that JSON knows."""
    hours = [f"{hour:%H:%M}" for hour in day.hours]

    def stacked(series: list[last_day.Series]) -> dict[str, Any]:
        return {
            "labels": hours,
            "series": [
                {"name": each.name, "values": [float(v) for v in each.values]} for each in series
            ],
        }

    minutes = latency.by_minute(minutes=LATENCY_MINUTES)
    told = {
        name: [None if value is None else value * 1000 for value in values]
        for name, values in (
            ("median, at most", [each.median for each in minutes]),
            ("95th percentile, at most", [each.p95 for each in minutes]),
        )
    }
    return {
        "models": stacked(day.by_model),
        "features": stacked(told_by_name(day.by_feature)),
        "runs": {"labels": hours, "series": [{"name": "runs", "values": day.runs_by_hour}]},
        "refusals": stacked(
            [last_day.Series(reason_word(each.name), each.values) for each in day.refusals]
        ),
        "latency": {
            "labels": [f"{each.at:%H:%M}" for each in minutes],
            "series": [{"name": name, "values": values} for name, values in told.items()],
        },
    }


def first_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK. The number of queries does not grow with anything.

    Whoever can log in sees this page, but figures only who is in a group.
    """
    if not request.user.has_perm(MAY):
        return {**context, "title": "Overview", "outsider": True}
    usage = selectors.usage_of_all()
    begins = usage.reset_at - timedelta(days=1)
    limits = overview.shared_limits()
    waiting = approvals.waiting_for(request.user)  # type: ignore[arg-type]  # logged in
    pending = list(overview.pending_requests()[:ROWS])
    now = timezone.now()
    glass = [
        (grant, grant.created_at + REVIEW_WITHIN, grant.created_at + REVIEW_WITHIN <= now)
        for grant in approvals.unreviewed().select_related("wo")[:ROWS]
    ]
    may_rule = request.user.has_perm("budgets.change_approvalrule")
    day = last_day.last_day(now)
    rate = burn_rate.now()
    switches, tripped = list(killswitch.in_force()[:ROWS]), breaker.not_closed()[:ROWS]
    days = overview.use_by_day("global", "", begins, days=DAYS_SHOWN)
    return {
        **context,
        "title": "Overview",
        "refresh": REFRESH_SECONDS,
        "day": day,
        "rate": rate,
        "reaches": [
            (
                {
                    "budget": each.budget,
                    "href": reverse("admin:budgets_budget_change", args=[each.budget.pk]),
                    "within": timedelta(seconds=each.seconds) if each.seconds else None,
                    "reached": each.seconds == 0,
                },
                Meter(each.settled_usd, each.held_usd, each.budget.amount),
            )
            for each in rate.limits
            if each.budget.scope == Budget.Scope.GLOBAL
        ],
        # By number, which has an index: the last ones, as far as they are of this time.
        "alerts": [each for each in Alert.objects.all()[:ALERTS] if each.created_at >= day.since],
        "firing": list(AlertRule.objects.exclude(firing_since=None)),
        "figures": figures(day),
        "usage": usage,
        "spend": Meter(usage.settled_usd, usage.reserved_usd, limits.usd_a_day),
        "open_meter": Meter(Decimal(0), Decimal(usage.open_runs), limits.runs_at_once, "runs"),
        "waiting": waiting[:ROWS],
        "waiting_more": max(len(waiting) - ROWS, 0),
        "others": [each for each in pending if each.pk not in {mine.pk for mine in waiting}],
        "blocked": overview.blocked(begins, at_most=ROWS),
        "standing": standstill.stopped(switches, tripped, at_most=ROWS),
        "busiest": [
            (each, overview.usd_meter_of(each), overview.runs_meter_of(each))
            for each in overview.busiest(begins, at_most=BUSIEST)
        ],
        "refusals": overview.last_refusals(at_most=6),
        "refused_today": overview.refusals_since(begins),
        "spend_chart": chart(
            [(day.day, day.usd) for day in days],
            [("limit", limits.usd_a_day, "now")] if limits.usd_a_day else [],
            unit="usd",
            markers=changes.for_days([day.day for day in days]),
        ),
        "incidents": [(each, headline(each)) for each in open_incidents()],
        "stopped": switches,
        "tripped": tripped,
        "glass": glass,
        "impossible": approvals.impossible_requests()[:ROWS] if may_rule else (),
        "may_register": request.user.has_perm("workorders.add_workorder"),
        "may_ask": request.user.has_perm("budgets.ask_changerequest"),
        "may_decide": request.user.has_perm("budgets.decide_changerequest"),
        "any_work_order": WorkOrder.objects.exists(),
    }
