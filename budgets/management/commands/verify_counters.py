"""`manage.py verify_counters`: do the counters say what the runs say?"""

from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from budgets import ledger
from opslog.money import usd_text


class Command(BaseCommand):
    help = (
        "Recomputes every counter from the runs and compares. Exit code 1 and a report when any "
        "differs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--repair",
            metavar="REASON",
            help="write what the runs say into the counters that differ, and record it as an event",
        )
        parser.add_argument("--by", default="manage.py", help="who repairs, for the event")

    def handle(self, *args: Any, repair: str | None, by: str, **options: Any) -> None:
        if repair is not None and not repair.strip():
            raise CommandError("--repair needs a reason.")
        counters, runs = ledger.how_many()
        wrong = (
            list(ledger.differences())
            if repair is None
            else ledger.repair(by=by, reason=repair.strip())
        )
        if not wrong:
            self.stdout.write(f"{counters} counters agree with {runs} runs.")
            return
        table = Table(title="Counter → recomputed from the runs")
        for column in (
            "scope",
            "subject",
            "window",
            "from (UTC)",
            "runs",
            "open",
            "reserved",
            "settled",
        ):
            table.add_column(column)
        for difference in wrong:
            (runs_a, open_a, held_a, spent_a), (runs_b, open_b, held_b, spent_b) = (
                difference.counted,
                difference.recomputed,
            )
            table.add_row(
                difference.scope,
                difference.subject,
                difference.window,
                "" if difference.window == "open" else f"{difference.starts_at:%Y-%m-%d %H:%M}",
                *(
                    str(a) if a == b else f"{a} → {b}"
                    for a, b in (
                        (runs_a, runs_b),
                        (open_a, open_b),
                        (usd_text(held_a), usd_text(held_b)),
                        (usd_text(spent_a), usd_text(spent_b)),
                    )
                ),
            )
        console = Console(file=cast("IO[str]", self.stdout._out))
        if not console.is_terminal:
            console.width = 200  # into a file or a pipe: nothing is cut
        console.print(table)
        if repair is None:
            raise CommandError(f"{len(wrong)} of {counters} counters differ.", returncode=1)
        self.stdout.write(f"{len(wrong)} of {counters} counters repaired.")
