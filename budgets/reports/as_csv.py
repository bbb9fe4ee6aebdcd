"""The daily report as CSV: every work order, safe to be opened by a spreadsheet."""

from collections.abc import Iterator
from datetime import date

from budgets.reports import selector
from budgets.reports.rules import SAID, Row
from opslog import spreadsheets
from opslog.meters import per_cent

COLUMNS = (
    "work_order",
    "title",
    "status",
    "runs_cap",
    "usd_cap",
    "runs",
    "cost_usd",
    "runs_utilization_pct",
    "cost_utilization_pct",
    "action",
)


def csv_lines(day: date) -> Iterator[str]:
    """Every work order of the day, the most used first."""
    yield spreadsheets.line(COLUMNS)
    for row in selector.every_row(day):
        yield spreadsheets.line(_cells(row))


def _cells(row: Row) -> tuple[object, ...]:
    return (
        row.work_order,
        row.title,
        row.status,
        row.runs_cap,
        row.usd_cap,
        row.runs,
        row.usd,
        per_cent(row.runs_share),
        per_cent(row.usd_share),
        SAID[row.action] if row.action else "",
    )
