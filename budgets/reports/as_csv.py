"""The daily report as CSV: every work order, safe to be opened by a spreadsheet."""

from collections.abc import Iterator
from datetime import date

from budgets.reports import selector
from budgets.reports.rules import SAID, Row
from opslog import spreadsheets

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
        f"{row.runs_share * 100:.1f}",
        f"{row.usd_share * 100:.1f}",
        SAID[row.action] if row.action else "",
    )
