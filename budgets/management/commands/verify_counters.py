"""`manage.py verify_counters`: do the counters say what the runs say?"""

from decimal import Decimal
from typing import IO, Any, cast

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from budgets.admission import counters as ledger
from opslog.management.base import Documented
from opslog.pricing.money import usd_text


class Command(Documented):
    examples = (
        "manage.py verify_counters",
        'manage.py verify_counters --repair "rows were written by hand, T-12"',
    )
    exits = {0: "they agree", 1: "they differ, or rows are dated in the future"}
    help = (
        "Recomputes every counter from the runs and compares. Exit code 1 and a report when any "
        "differs, or when rows are dated in the future."
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
        if wrong:
            self.show(wrong)
        else:
            self.stdout.write(f"{counters} counters agree with {runs} runs.")
        if future := ledger.from_the_future():
            self.stdout.write("Dated in the future (the database's clock was ahead, or is behind):")
            for each in future:
                self.stdout.write(f"  {each}")
        if wrong and repair is None:
            raise CommandError(f"{len(wrong)} of {counters} counters differ.", returncode=1)
        if wrong:
            self.stdout.write(f"{len(wrong)} of {counters} counters repaired.")
        if future:
            rows = sum(each.rows for each in future)
            raise CommandError(f"{rows} rows are dated in the future.", returncode=1)

    def show(self, wrong: list[ledger.Difference]) -> None:
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
            "reserved tokens",
            "settled tokens",
        ):
            table.add_column(column)
        for difference in wrong:
            table.add_row(
                difference.scope,
                difference.subject.replace("\x1f", " / "),
                difference.window,
                "" if difference.window == "open" else f"{difference.starts_at:%Y-%m-%d %H:%M}",
                *(
                    shown(a) if a == b else f"{shown(a)} → {shown(b)}"
                    for a, b in zip(difference.counted, difference.recomputed, strict=True)
                ),
            )
        console = Console(file=cast("IO[str]", self.stdout._out))
        if not console.is_terminal:
            console.width = 200  # into a file or a pipe: nothing is cut
        console.print(table)


def shown(figure: object) -> str:
    return usd_text(figure) if isinstance(figure, Decimal) else str(figure)
