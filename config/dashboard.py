"""The first page: the state of the money. It joins the floors and has no rule of its own."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from budgets import approvals, breaker, killswitch, overview, selectors
from budgets.approvals.break_glass import REVIEW_WITHIN
from opslog import changes
from opslog.meters import Meter, chart
from workorders.models import WorkOrder

ROWS = 8
DAYS_SHOWN = 14


def first_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK. The number of queries does not grow with anything."""
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
    days = overview.use_by_day("global", "", begins, days=DAYS_SHOWN)
    return {
        **context,
        "title": "Overview",
        "usage": usage,
        "spend": Meter(usage.settled_usd, usage.reserved_usd, limits.usd_a_day),
        "open_meter": Meter(Decimal(0), Decimal(usage.open_runs), limits.runs_at_once, "runs"),
        "waiting": waiting[:ROWS],
        "waiting_more": max(len(waiting) - ROWS, 0),
        "pending": pending,
        "blocked": overview.blocked(begins, at_most=ROWS),
        "busiest": [
            (each, overview.usd_meter_of(each), overview.runs_meter_of(each))
            for each in overview.busiest(begins, at_most=ROWS)
        ],
        "refusals": overview.last_refusals(at_most=6),
        "refused_today": overview.refusals_since(begins),
        "spend_chart": chart(
            [(day.day, day.usd) for day in days],
            [("limit", limits.usd_a_day, "now")] if limits.usd_a_day else [],
            unit="usd",
            markers=changes.for_days([day.day for day in days]),
        ),
        "stopped": list(killswitch.in_force()[:ROWS]),
        "tripped": breaker.not_closed()[:ROWS],
        "glass": glass,
        "impossible": approvals.impossible_requests()[:ROWS] if may_rule else (),
        "may_register": request.user.has_perm("workorders.add_workorder"),
        "may_ask": request.user.has_perm("budgets.ask_changerequest"),
        "may_decide": request.user.has_perm("budgets.decide_changerequest"),
        "any_work_order": WorkOrder.objects.exists(),
    }
