"""`manage.py import_focus`: a bill in the columns of the FOCUS specification."""

import getpass
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from budgets.exceptions import Refused
from budgets.finops.bills import focus, importing
from opslog.management.base import Documented

SHOWN = 50


class Command(Documented):
    refusals = (Refused, focus.NotFocus)
    examples = ("manage.py import_focus bill-2026-01.csv.gz",)
    exits = {1: "nothing was imported"}
    help = (
        "Import the charges of a CSV (or .csv.gz) with FOCUS columns. What is stored of the "
        "billing periods in it is replaced, so a file may be read again; where that would lose "
        "lines or dollars, it says so and needs --shrink. A bad line stops the import."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--skip-bad", action="store_true", help="Import the other lines.")
        parser.add_argument(
            "--shrink",
            action="store_true",
            help="Replace what is stored even where the file has fewer lines or dollars.",
        )
        parser.add_argument("--by", default="", help="Who imports it; else the system's user.")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            with file.open("rb") as raw:
                bill, sha256 = importing.read(raw)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from None
        for problem in importing.problems_told(bill, at_most=SHOWN):
            self.stderr.write(problem)
        made = importing.store(
            bill,
            file_name=file.name,
            sha256=sha256,
            by=options["by"] or getpass.getuser(),
            skip_bad=options["skip_bad"],
            shrink=options["shrink"],
        )
        self.stdout.write(
            f"{made.lines - made.bad_lines:,} lines, ${made.billed_usd:,.2f}; "
            f"{made.bad_lines:,} lines left out. Replaced: {', '.join(made.periods)}."
        )
