"""manage.py triage_cases: labelled cases through the real tables and the real triage."""

import json
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import django
from django.core.management.base import CommandError, CommandParser
from django.db import connections
from rich.console import Console

from opslog.database.another_database import connected_to, scratch_database
from opslog.management.base import Documented, progress


class Command(Documented):
    examples = ("manage.py triage_cases cases/ --out predictions.jsonl",)
    help = (
        "Plays labelled cases (folders with inference_events.csv.gz and tool_calls.csv.gz) hour by "
        "hour through the tables, the hourly sums and the triage, on a database of its own that is "
        "removed afterwards. Prints one JSON line a case: case_id, spike, cause, feature, tool, "
        "detected_at, ranked_causes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="a case, or a folder of cases")
        parser.add_argument("--out", type=Path, help="write the predictions there, not to stdout")
        parser.add_argument("--jobs", type=int, default=2, help="cases at a time (2)")

    def handle(self, *args: Any, **options: Any) -> None:
        from opslog.incidents import triage_cases

        found = triage_cases.folders(options["folder"])
        if not found:
            raise CommandError(f"There is no case in {options['folder']}.")
        lines = self.play(found, max(1, options["jobs"]))
        text = "".join(f"{json.dumps(lines[folder.name])}\n" for folder in found)
        if options["out"]:
            options["out"].write_text(text, encoding="utf-8")
        else:
            self.stdout.write(text, ending="")

    def play(self, folders: list[Path], jobs: int) -> dict[str, dict[str, Any]]:
        lines: dict[str, dict[str, Any]] = {}
        with (
            scratch_database() as template,
            ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=ready) as pool,
            progress(Console(file=sys.stderr)) as shown,
        ):
            bar = shown.add_task("cases", total=len(folders))
            for done in as_completed(pool.submit(play_one, folder, template) for folder in folders):
                line = done.result()
                lines[line["case_id"]] = line
                shown.advance(bar)
        return lines


def ready() -> None:
    """A process of its own has the settings to read first."""
    django.setup()


def play_one(folder: Path, template: str) -> dict[str, Any]:
    """One case, on a database that is made for it and dropped again."""
    from opslog.incidents import triage_cases

    with scratch_database(template) as database:
        try:
            with connected_to(database):
                return triage_cases.play(folder).as_json()
        finally:
            connections.close_all()
