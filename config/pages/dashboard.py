"""The first page: what burns, what needs a decision, what is blocked, whether all is well. It joins
the floors and has no rule of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from budgets import approvals
from budgets.admin import burners
from budgets.approvals.break_glass import REVIEW_WITHIN
from budgets.controls import breaker, kill_switch
from budgets.models import AlertRule, Budget
from budgets.usage import burn_rate, burning, history, overview, stopped, today
from opslog import liveness
from opslog.models import Heartbeat, Incident
from opslog.outbox import channels, delivery
from opslog.pages.charts import Chart, Meter, Series, of_series
from opslog.sealing.selectors import last_verification
from opslog.telemetry import change_markers
from opslog.templatetags.tollgate import reason_word
from workorders.models import WorkOrder

ROWS = 4
REFRESH_SECONDS = 5
MAY = "budgets.view_budget"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the address chooses; what it does not know is the first of each."""

    by: str
    window: str
    span: str
    chart_by: str

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> "Choice":
        def one(name: str, known: Mapping[str, Any], default: str) -> str:
            value = asked.get(name, "")
            return value if value in known else default

        return cls(
            by=one("by", history.GROUPS, "work_order"),
            window=one("window", burning.WINDOWS, "1h"),
            span=one("span", history.SPANS, "24h"),
            chart_by=one("chart", history.GROUPS, "model"),
        )


@require_safe
@permission_required(MAY, raise_exception=True)
def page(request: HttpRequest) -> HttpResponseBase:
    """The first page of the admin under the address that people know."""
    return admin.site.index(request)


@require_safe
@permission_required(MAY, raise_exception=True)
def live(request: HttpRequest) -> HttpResponse:
    """What of it renews itself."""
    return render(request, "dashboard/state.html", first_page(request, {}))


def open_incidents() -> list[tuple[Incident, str]]:
    """Those that burn, the newest first, each with the change that preceded it."""
    over = (Incident.State.STABILISED, Incident.State.REVIEWED)
    found = Incident.objects.exclude(state__in=over).select_related("owner")
    return [(each, preceded_by(each)) for each in found.order_by("-id")[:ROWS]]


def preceded_by(incident: Incident) -> str:
    """The last change before the spike; empty where the triage named none."""
    before = [each for each in incident.changes if each["at"] <= incident.started_at.isoformat()]
    last = max(before, key=lambda each: str(each["at"]), default=None)
    return f"{last['kind']}: {last['what']}" if last else ""


def first_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK. The number of queries does not grow with anything.

    Whoever can log in sees this page, but figures only who is in a group.
    """
    if not request.user.has_perm(MAY):
        return {**context, "title": "Overview", "outsider": True}
    choice, rate = Choice.of(request.GET), burn_rate.now()
    return {
        **context,
        "title": "Overview",
        "refresh": REFRESH_SECONDS,
        "choice": choice,
        "may_register": request.user.has_perm("workorders.add_workorder"),
        "may_ask": request.user.has_perm("budgets.ask_changerequest"),
        **state(rate),
        **burning_now(request, choice, rate.at),
        **attention(request, rate.at),
        **charts(choice, rate.at),
        **trust(),
    }


def state(rate: burn_rate.BurnRate) -> dict[str, Any]:
    """The one line: today, now, the last hour, midnight."""
    usage = today.usage_of_all()
    of_all = {
        each.budget.window: Meter(each.settled_usd, each.held_usd, each.budget.amount)
        for each in rate.limits
        if each.budget.scope == Budget.Scope.GLOBAL
    }
    left = history.usual("all", [""], rate.at, usage.reset_at).get("")
    usual = None if left is None else rate.day_usd + left
    ends = [rate.day_projected_usd] if usual is None else sorted([usual, rate.day_projected_usd])
    amounts = {meter.limit for window, meter in of_all.items() if window == "rolling_minute"}
    return {
        "rate": rate,
        "usage": usage,
        "today": of_all.get("day") or Meter(usage.settled_usd, usage.reserved_usd, None),
        "hour": of_all.get("rolling_hour") or Meter(rate.hour_usd, Decimal(0), None),
        "minute": Meter(rate.minute_usd, Decimal(0), next(iter(amounts), None)),
        "low": ends[0],
        "high": ends[-1],
        "has_range": usual is not None,
    }


def burning_now(request: HttpRequest, choice: Choice, now: datetime) -> dict[str, Any]:
    found = burning.ranked(choice.by, choice.window, now)
    return {
        "burning": found,
        "rows": burners.rows(request, choice.by, found.rows),
        "any_work_order": bool(found.rows) or WorkOrder.objects.exists(),
        "groups": history.GROUPS,
        "by_label": history.GROUPS[choice.by],
        "windows": burning.WINDOWS,
        "window_label": burning.WINDOWS[choice.window],
        "reasons": burners.REASONS,
        # The page with what the address chooses, not what renews itself of it.
        "here": f"{reverse('admin:index')}?{request.GET.urlencode()}",
    }


def attention(request: HttpRequest, now: datetime) -> dict[str, Any]:
    """What needs whoever looks, and what admits nothing now."""
    user: Any = request.user
    begins = now.replace(hour=0, minute=0, second=0, microsecond=0)
    switches, tripped = list(kill_switch.in_force()[:ROWS]), breaker.not_closed()[:ROWS]
    blocked = overview.blocked(begins, at_most=ROWS)
    refused = overview.refusals_by_reason(begins, [each.work_order.pk for each in blocked])
    waiting = approvals.waiting_for(user)
    suspends = user.has_perm("workorders.suspend_workorder")
    reviews = user.has_perm("opslog.review_incident")
    glass = approvals.unreviewed().select_related("wo")[:ROWS]
    return {
        "incidents": open_incidents(),
        "may_handle": user.has_perm("opslog.handle_incident"),
        "firing": list(AlertRule.objects.exclude(firing_since=None)[:ROWS]),
        "tripped": tripped,
        "everything_stopped": [each for each in switches if each.scope == "Global"],
        "may_decide": user.has_perm("budgets.decide_changerequest"),
        "waiting": waiting[:ROWS],
        "waiting_more": max(len(waiting) - ROWS, 0),
        "others": approvals.waiting()
        .exclude(pk__in=[each.pk for each in waiting])
        .prefetch_related(None)
        .prefetch_related("lines")[:ROWS],
        "glass": [(each, each.created_at + REVIEW_WITHIN) for each in glass],
        "to_review": (
            list(Incident.objects.filter(state=Incident.State.STABILISED).order_by("-id")[:ROWS])
            if reviews
            else ()
        ),
        "impossible": (
            approvals.impossible_requests()[:ROWS]
            if user.has_perm("budgets.change_approvalrule")
            else ()
        ),
        "now": timezone.now(),
        "blocked": [
            (
                each,
                refused.get(each.work_order.pk, []),
                burners.resume(each.work_order.pk) if suspends and not each.until else None,
            )
            for each in blocked
        ],
        "standing": stopped.stopped(switches, tripped, at_most=ROWS),
    }


def charts(choice: Choice, now: datetime) -> dict[str, Any]:
    span = history.SPANS[choice.span]
    moments = history.columns(span, now)
    found = history.by_group(choice.chart_by, span, now)
    names = burners.labels(choice.chart_by, [each.name for each in found])
    return {
        "spans": history.SPANS,
        "spend_label": f"US dollars {span.word}, by {history.GROUPS[choice.chart_by]}",
        "refusals_label": f"Refused asks {history.SPANS[second(choice)].word}",
        "spend_chart": of_series(
            moments,
            [Series(names[each.name], each.values) for each in found],
            unit="usd",
            markers=changes_of_what_is_shown(moments[0], moments[-1] + span.step),
        ),
        "refusals_chart": refusals(choice, now),
    }


def changes_of_what_is_shown(since: datetime, until: datetime) -> list[tuple[datetime, str]]:
    """Changes of everything, and of the features that governed spend has in this time."""
    markers = list(change_markers.markers_between(since, until))
    spends = history.names_with_spend(
        "feature", {each.feature for each in markers if each.feature}, since, until
    )
    return [
        change_markers.labeled(each)
        for each in markers
        if not each.feature or each.feature in spends
    ]


def second(choice: Choice) -> str:
    """The span of the refusals: a day of events at most."""
    return "1h" if choice.span == "1h" else "24h"


def refusals(choice: Choice, now: datetime) -> Chart:
    """Of an hour, or of the last day: asks, by the limit that refused them."""
    span = history.SPANS[second(choice)]
    found = history.refusals(span, now)
    named = [Series(reason_word(each.name), each.values) for each in found]
    return of_series(history.columns(span, now), named, unit="asks")


def trust() -> dict[str, Any]:
    """Whether the log is verified, the processes work, and anybody would be notified."""
    now = timezone.now()
    beats = {each.name: each for each in Heartbeat.objects.all()}
    by_mail = User.objects.filter(is_active=True).exclude(email="").exclude(groups=None)
    return {
        "verified": last_verification(),
        "silent": [
            liveness.NAMES[name]
            for name, after in liveness.SILENT_AFTER.items()
            if name not in beats or beats[name].at < now - after
        ],
        "worker": beats.get(liveness.WORKER),
        "channels": len(channels.configured()),
        "by_mail": by_mail.distinct().count() if delivery.can_mail() else 0,
    }
