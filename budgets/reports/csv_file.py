"""The daily report as CSV: every work order, safe to be opened by a spreadsheet."""

from collections.abc import Iterator
from datetime import date

from budgets.reports import rows
from budgets.reports.rules import SAID, Row
from opslog.events import csv_cells
from opslog.pages.meters import per_cent

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
    "reserved_usd",
    "refused_at_caps",
)
DIRECT = "Direct spend (no work order)"


def csv_lines(day: date) -> Iterator[str]:
    """Every work order of the day, the most used first. The last line is the direct spend, if there
    was any: it has no work order."""
    yield csv_cells.line(COLUMNS)
    for row in rows.every_row(day):
        yield csv_cells.line(_cells(row))
    totals = rows.read(day, size=1).totals
    if totals.direct_calls:
        direct = {"title": DIRECT, "cost_usd": totals.direct_usd}
        yield csv_cells.line([direct.get(column, "") for column in COLUMNS])


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
        row.reserved_usd,
        row.refused,
    )
