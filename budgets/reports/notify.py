"""The daily report as a message to operations and the channels, once a day after 00:05 UTC.

If the job worker was away, the days not yet reported are sent when it is back, at most a
week of them; a later look at the same day tells nothing.
"""

from datetime import date, datetime, time, timedelta

from django.db import connection, transaction
from django.urls import reverse

from budgets import clock
from budgets.models import DailyReport
from budgets.reports import rows as selector
from budgets.reports.rules import SAID, Action, Report, Row
from opslog import events, outbox
from opslog.groups import OPERATIONS, members
from opslog.models import Severity
from opslog.outbox.notices import Notice
from opslog.pages.charts import per_cent

TOLD_FROM = time(0, 5)  # UTC; runs of the last seconds of a day have settled by then, mostly
DAYS_BACK = 7
ITEMS = 20  # of each action in one message
CLAIM = """
INSERT INTO daily_reports (day, work_orders, blocked, near, idle, runs, usd)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (day) DO NOTHING RETURNING day
"""


def days_due(now: datetime, last: date | None) -> list[date]:
    """The days whose report is due and was not sent, oldest first."""
    newest = now.date() - timedelta(days=1 if now.time() >= TOLD_FROM else 2)
    first = (
        max(last + timedelta(days=1), newest - timedelta(days=DAYS_BACK - 1)) if last else newest
    )
    return [first + timedelta(days=ago) for ago in range((newest - first).days + 1)]


def tell_due(*, now: datetime | None = None) -> int:
    """Send every report that is due. Returns how many; safe to run at any time, and twice."""
    last = DailyReport.objects.order_by("-day").values_list("day", flat=True).first()
    return sum(tell(day) for day in days_due(now or clock.now(), last))


def tell(day: date) -> bool:
    """Send the report of one day, unless that was done."""
    found = selector.read(day, only=Action.BLOCKED, size=ITEMS)
    near = selector.read(day, only=Action.RAISE, size=ITEMS)
    sums = found.totals
    with transaction.atomic():
        with connection.cursor() as cursor:
            figures = (sums.work_orders, sums.blocked, sums.near, sums.idle, sums.runs, sums.usd)
            cursor.execute(CLAIM, [day, *figures])
            if cursor.fetchone() is None:
                return False
        events.record(
            "DAILY_REPORT",
            message=headline(found),
            owner=("daily_report", day.isoformat()),
            label=day.isoformat(),
            actor="tollgate",
            meta={"blocked": sums.blocked, "near": sums.near, "idle": sums.idle},
        )
        outbox.send(
            topic="daily_report",
            to=members(OPERATIONS),
            channels=True,
            notice=Notice(
                what=headline(found),
                change=f"{day:%Y-%m-%d} under way → over",
                by="Tollgate",
                at=clock.now(),
                severity=Severity.WARNING if sums.blocked else Severity.INFO,
                action="Raise the caps that were reached, if the work is wanted; archive what is "
                "idle."
                if sums.blocked or sums.near
                else "Nothing.",
                details=text_of(found, [*found.rows, *near.rows]),
            ),
            link=f"{reverse('daily-report-page')}?day={day.isoformat()}",
            key=day.isoformat(),
        )
    return True


def headline(found: Report) -> str:
    totals = found.totals
    return (
        f"Budget report of {found.day:%Y-%m-%d}: ${totals.usd:,.2f} and {totals.runs:,} runs"
        f"{f', ${totals.direct_usd:,.2f} direct spend' if totals.direct_calls else ''}, "
        f"{totals.blocked} refused at a cap, {totals.near} over 80 %"
    )


def text_of(found: Report, rows: list[Row]) -> str:
    """Plain text: what was refused or is near its caps by name, what is hardly used by number."""
    totals = found.totals
    of = f"{totals.work_orders:,} work orders, {totals.runs:,} runs, ${totals.usd:,.2f}"
    lines = [f"{found.day:%A, %Y-%m-%d} (UTC): {of}."]
    if totals.direct_calls:
        direct = f"{totals.direct_calls:,} calls, ${totals.direct_usd:,.2f}"
        lines.append(f"Direct spend, outside work orders: {direct}.")
    for action in (Action.BLOCKED, Action.RAISE):
        if number := totals.of(action):
            lines += ["", f"{SAID[action]} ({number:,})"]
            lines += [f"- {line_of(row)}" for row in rows if row.action == action]
            if number > ITEMS:
                lines.append(f"- and {number - ITEMS:,} more on the page")
    lines += ["", f"{SAID[Action.REVIEW]}: {totals.idle:,}"]
    return "\n".join(lines)


def line_of(row: Row) -> str:
    return (
        f"{row.title} ({row.work_order}): {row.runs:,} of {row.runs_cap:,} runs "
        f"({per_cent(row.runs_share)} %), ${row.usd:,.2f} of ${row.usd_cap:,.2f} "
        f"({per_cent(row.usd_share)} %)"
        f"{f', refused {row.refused:,} times' if row.refused else ''}"
    )
