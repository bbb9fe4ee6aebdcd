"""The daily budget report as a page, a page of it at a time, and as CSV with every row."""

from datetime import date, timedelta
from typing import Any

from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from budgets import clock
from budgets.models import DailyReport
from budgets.reports import rows
from budgets.reports.csv_file import csv_lines
from budgets.reports.rules import RUNS, SAID, Action, Row
from opslog.admin.base import page_of, parse_day
from opslog.pages.charts import Meter, per_cent, runs_meter

MOST_PAGES = 1_000_000


def asked_day(request: HttpRequest, today: date) -> date:
    """The day of the address; yesterday where there is none that could be shown."""
    day = parse_day(request.GET.get("day"))
    return day if day and day <= today else today - timedelta(days=1)


@require_safe
@permission_required("budgets.view_budget", raise_exception=True)
def daily_report_page(request: HttpRequest) -> HttpResponse:
    today = clock.today()
    day = asked_day(request, today)
    only = next((each for each in Action if each == request.GET.get("only")), None)
    asked = request.GET.get("page", "")
    page = min(max(int(asked), 1), MOST_PAGES) if asked.isascii() and asked.isdigit() else 1
    found = rows.read(day, only=only, page=page)
    shown = found.totals.of(only) if only else found.totals.work_orders
    pages = max(1, -(-shown // rows.PAGE))
    may_ask = request.user.has_perm("budgets.ask_changerequest")
    context: dict[str, Any] = {
        "title": f"Daily budget report, {day:%Y-%m-%d}",
        "report": found,
        "rows": [
            {
                "row": row,
                "said": SAID[row.action] if row.action else "",
                "usd": Meter(row.settled_usd, row.reserved_usd, row.usd_cap),
                "runs": runs_meter(row.runs, row.open_runs, row.runs_cap),
                "ask": _ask(row, day) if may_ask and row.proposal and row.status == "draft" else "",
                "raised": [
                    f"{cap:,.0f} runs" if measure == RUNS else f"${cap:,.2f}"
                    for measure, cap in row.raised_since.items()
                ],
            }
            for row in found.rows
        ],
        "tabs": [("", "All", found.totals.work_orders)]
        + [
            (each.value, SAID[each].partition(":")[0], found.totals.of(each))
            for each in Action
            if each != Action.REVIEW or day != today
        ],
        "only": only or "",
        "is_today": day == today,
        "before": day - timedelta(days=1),
        "after": day + timedelta(days=1) if day < today else None,
        "today": today,
        "page_number": page,
        "pages": pages,
        "told": DailyReport.objects.filter(day=day).first(),
    }
    return page_of(request, "budgets/daily_report.html", **context)


@require_safe
@permission_required("budgets.view_budget", raise_exception=True)
def daily_report_csv(request: HttpRequest) -> HttpResponseBase:
    day = asked_day(request, clock.today())
    answer = StreamingHttpResponse(csv_lines(day), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="budget-report-{day:%Y-%m-%d}.csv"'
    return answer


def _ask(row: Row, day: date) -> str:
    """The form of a cap change, filled in with what the day's use speaks for."""
    why = (
        f"On {day:%Y-%m-%d} it used {row.runs:,} of {row.runs_cap:,} runs "
        f"({per_cent(row.runs_share)} %) and ${row.usd:,.2f} of ${row.usd_cap:,.2f} "
        f"({per_cent(row.usd_share)} %)."
    )
    caps = {measure: str(value) for measure, value in row.proposal.items()}
    impact = {"expected_cost_impact": row.cost_impact}
    initial = {"work_order": row.work_order, **caps, "justification": why, **impact}
    return f"{reverse('admin:budgets_changerequest_add')}?{urlencode(initial)}"
