"""`manage.py preflight FILE`: look at a batch before it starts."""

import csv
import io
import json
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from rich.console import Console
from rich.table import Table

from budgets.admission import Caller, preflight
from budgets.admission.preflight_checks import Task
from opslog.management.base import Documented, add_yes
from opslog.pricing.money import usd_shown
from workorders import tokens

MARKS = {"info": "✓", "warning": "⚠", "error": "✗"}
NAMES = {
    "workOrderId": "work_order_id",
    "name": "name",
    "agentName": "agent_name",
    "model": "model",
    "estimatedCostUsd": "estimated_cost_usd",
    "estimatedInputTokens": "estimated_input_tokens",
    "estimatedOutputTokens": "estimated_output_tokens",
}
MAX_TASKS = 5_000


class Command(Documented):
    examples = ("manage.py preflight batch.json --yes",)
    exits = {0: "ready to start", 1: "a check is an error, or nobody confirmed"}
    help = (
        "Check a batch of tasks before it starts: how many, test data, cost, budget left, limits, "
        "environment. Exit code 1 when a check is an error, or when nobody confirms."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file",
            help="JSON (a list, or {tasks: [...]}), JSON lines, or CSV with a header; - for "
            f"standard input. Fields: {', '.join(NAMES)}",
        )
        add_yes(parser)
        parser.add_argument("--dry-run", action="store_true", help="tell nobody of what fails")

    def handle(self, *args: Any, file: str, yes: bool, dry_run: bool, **options: Any) -> None:
        tasks = read(file)
        report = look(tasks)
        if not dry_run:
            preflight.tell(report, by="command line")
        console = Console(file=cast("IO[str]", self.stdout._out))
        table = Table("", "check", "found", title=f"Pre-flight of {len(tasks)} tasks")
        for line in report.lines:
            table.add_row(MARKS[line.severity], line.name.replace("_", " "), line.message)
        console.print(table)
        if not report.passed:
            raise CommandError("A check is an error: do not start this batch.", returncode=1)
        over = Decimal(settings.TOLLGATE_CONFIRM_OVER_USD)
        failed = [line for line in report.lines if not line.passed]
        if (failed or report.estimated_usd > over) and not yes:
            question = f"Start for about ${usd_shown(report.estimated_usd)}?"
            self.confirm(question, otherwise="Not confirmed: do not start this batch.")
        self.stdout.write("Ready to start.")


def look(tasks: list[Task]) -> preflight.Report:
    """By a token of its own, in a transaction that is taken back."""
    with transaction.atomic():
        owner = User.objects.create(username="preflight (command line)")
        _, text = tokens.create(name="preflight", scopes=["start"], owner=owner, by="preflight")
        found = preflight.run(tasks, caller=Caller(tokens.digest(text), ""), confirm=True)
        transaction.set_rollback(True)
    if not isinstance(found, preflight.Report):
        raise CommandError("The batch could not be looked at.")
    return found


def read(file: str) -> list[Task]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}") from None
    rows = parsed(text)
    if not rows:
        raise CommandError("There is no task in it.")
    if len(rows) > MAX_TASKS:
        raise CommandError(f"{len(rows)} tasks: at most {MAX_TASKS} at once.")
    return [task_of(row, number) for number, row in enumerate(rows, start=1)]


def parsed(text: str) -> list[Any]:
    text = text.strip().removeprefix("\ufeff")
    try:
        if text.startswith("["):
            return list(json.loads(text, parse_float=Decimal))
        if text.startswith("{"):
            try:
                whole = json.loads(text, parse_float=Decimal)
            except ValueError:
                return [json.loads(row, parse_float=Decimal) for row in text.splitlines() if row]
            return list(whole["tasks"]) if "tasks" in whole else [whole]
        return list(csv.DictReader(io.StringIO(text), strict=True))
    except (ValueError, TypeError, csv.Error) as error:
        raise CommandError(f"Neither JSON, JSON lines nor CSV: {error}") from None


def task_of(row: Any, number: int) -> Task:
    if not isinstance(row, dict):
        raise CommandError(f"Task {number} is no object.")
    if unknown := [str(name) for name in row if name not in NAMES]:
        raise CommandError(f"Task {number}: unknown field {unknown[0]!r}.")
    values = {NAMES[name]: value for name, value in row.items() if value not in (None, "")}
    for name in ("work_order_id", "name"):
        if not isinstance(values.get(name), str):
            raise CommandError(f"Task {number}: {name} is missing.")
    try:
        if "estimated_cost_usd" in values:
            values["estimated_cost_usd"] = within(values["estimated_cost_usd"], 1_000_000)
        for name in ("estimated_input_tokens", "estimated_output_tokens"):
            if name in values:
                values[name] = int(within(values[name], 1_000_000_000))
    except (ValueError, InvalidOperation):
        raise CommandError(f"Task {number}: an estimate is no number in its bounds.") from None
    return Task(**values)


def within(text: Any, highest: int) -> Decimal:
    """Raises ValueError or InvalidOperation for what is no number from 0 to `highest`."""
    value = Decimal(str(text))
    if not value.is_finite() or not 0 <= value <= highest:
        raise ValueError(text)
    return value
