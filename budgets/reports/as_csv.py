"""The daily report as CSV: every work order, safe to be opened by a spreadsheet."""

import csv
from collections.abc import Iterator
from datetime import date

from budgets.reports import selector
from budgets.reports.rules import SAID, Row
from opslog import csv_cells

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


class Line:
    """The buffer of a csv writer that gives each line back."""

    def write(self, text: str) -> str:
        return text


def csv_lines(day: date) -> Iterator[str]:
    """Every work order of the day, the most used first."""
    writer = csv.writer(Line())
    yield writer.writerow(COLUMNS)
    for row in selector.every_row(day):
        yield writer.writerow(csv_cells.row(_cells(row)))


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
