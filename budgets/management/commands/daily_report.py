"""`manage.py daily_report`: the budget report of a UTC day, as a table or as CSV."""

from datetime import date, timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.table import Table

from budgets import clock
from budgets.reports import notify, rows
from budgets.reports.csv_file import csv_lines
from budgets.reports.rules import SAID
from opslog.management.base import Documented
from opslog.pages.charts import per_cent


class Command(Documented):
    examples = ("manage.py daily_report --date 2026-01-31 --csv",)
    help = "What each work order used of its caps on a UTC day, the most used first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--date", help="YYYY-MM-DD; yesterday where it is left out.")
        parser.add_argument("--csv", action="store_true", help="Every row, as CSV.")
        parser.add_argument("--limit", type=int, default=50, help="Rows of the table.")
        parser.add_argument(
            "--send",
            action="store_true",
            help="Tell operations and the channels, unless that day was sent before.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        today = clock.today()
        try:
            asked = options["date"]
            day = date.fromisoformat(asked) if asked else today - timedelta(days=1)
        except ValueError:
            raise CommandError("A date is written as 2026-01-31.") from None
        if day > today:
            raise CommandError("That day has not begun.")
        if options["send"]:
            if day == today:
                raise CommandError("The day is not over.")
            self.stdout.write("Told." if notify.tell(day) else "Told before.")
            return
        if options["csv"]:
            for line in csv_lines(day):
                self.stdout.write(line, ending="")
            return
        found = rows.read(day, size=max(options["limit"], 1))
        table = Table("work order", "title", "runs", "cap", "%", "USD", "cap", "%", "what to do")
        for row in found.rows:
            table.add_row(
                row.work_order,
                row.title,
                f"{row.runs:,}",
                f"{row.runs_cap:,}",
                str(per_cent(row.runs_share)),
                f"{row.usd:,.2f}",
                f"{row.usd_cap:,.2f}",
                str(per_cent(row.usd_share)),
                SAID[row.action] if row.action else "",
            )
        self.console().print(table)
        self.stdout.write(notify.headline(found))
