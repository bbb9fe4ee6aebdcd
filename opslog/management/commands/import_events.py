"""manage.py import_events: model calls or tool calls of any age, from a file."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from opslog.management.base import Documented
from opslog.models import InferenceEvent
from opslog.telemetry import rollup, weeks
from opslog.telemetry.accepting import (
    EARLY,
    MOST,
    OLDEST,
    Outcome,
    Status,
    accept_inference,
    accept_tools,
)
from opslog.telemetry.drafts import InferenceDraft, ToolDraft
from opslog.telemetry.files import Row, Unreadable, opened, read

SHOWN = 100
COLUMNS = """
Columns (CSV) or names (JSON lines); those of the API do as well, and empty means not reported:
  event_id, created_at (required, UTC where it has no offset), user_id, feature, model (required),
  provider (finds the price; not kept), trigger_type, input_tokens, cached_input_tokens,
  cache_write_tokens (5 minutes), cache_write_1h_tokens, output_tokens, reasoning_tokens,
  audio_input_tokens, cached_audio_input_tokens, audio_output_tokens, image_input_tokens,
  image_output_tokens, service_tier, tool_calls (JSON: {"web_search": 3}), cost_usd,
  sender_cost_usd, success, run_id, wo_id, agent_name, session_id, surface, user_agent;
  units (JSON, as in the table) for audio, image and tool calls together
Without cost_usd the price book computes the cost; without tokens, too, it stays unknown.
with --tools:
  event_id, created_at (required), tool_name (required), success, retries, duration_ms,
  inference_event_id, run_id, wo_id, user_id, feature, agent_name, session_id;
  or tool_call_id, attempt (from 1), and event_id for the model call that asked for the tool
"""


class Command(Documented):
    notes = COLUMNS
    examples = ("manage.py import_events calls.csv.gz",)
    exits = {1: "a row was refused, or the file breaks off; the other rows are imported"}
    help = (
        "Imports model calls, or tool calls, of up to ten years ago from FILE: .csv or .jsonl, or "
        "one of them with .gz. A bad row is reported by its line and left out; what is there "
        "already is skipped, so that a file may be imported again. Exit code 1 if any was refused, "
        "or if the file breaks off; what could be read is imported then, too."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--tools", action="store_true", help="the file has tool calls")

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(stderr=True)
        importing = Import(ToolDraft if options["tools"] else InferenceDraft)
        unread = None
        try:
            try:
                importing.run(options["file"], console)
            except Unreadable as error:
                if not any(importing.count.values()):
                    raise CommandError(str(error)) from None
                unread = error
            hours = rollup.refresh()
        except DatabaseError as error:
            raise CommandError(f"The database refused: {' '.join(str(error).split())}") from None
        self.stdout.write(
            f"{importing.count[Status.ACCEPTED]} imported, "
            f"{importing.count[Status.DUPLICATE]} there already, "
            f"{importing.count[Status.REFUSED]} refused, {importing.unpriced} of unknown cost; "
            f"{hours} hours summed up."
        )
        if importing.expiring:
            self.stdout.write(
                f"{importing.expiring} are older than EVENT_RETENTION_DAYS: they will be dropped, "
                "their sums stay."
            )
        if unread:
            raise CommandError(str(unread))
        if importing.count[Status.REFUSED]:
            raise SystemExit(1)


def in_batches(rows: Iterator[Row[Any]]) -> Iterator[list[Row[Any]]]:
    """As large as may be. Where the file breaks off, first the rows that could be read."""
    batch: list[Row[Any]] = []
    try:
        for row in rows:
            batch.append(row)
            if len(batch) == MOST:
                yield batch
                batch = []
    except Unreadable:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


class Import:
    """One file on its way into the tables, a thousand rows at a time."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind
        self.now = datetime.now(UTC)
        self.count = dict.fromkeys(Status, 0)
        self.unpriced = 0
        self.expiring = 0
        self._weeks: set[date] = set()
        self._told = 0

    def run(self, path: Path, console: Console) -> None:
        """Raises Unreadable, with all rows before that place written, and DatabaseError; what was
        written before stays."""
        with (
            opened(path) as (text, raw),
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TimeRemainingColumn(),
                console=console,
            ) as progress,
        ):
            task = progress.add_task("Importing", total=path.stat().st_size)
            for batch in in_batches(read(path, text, self.kind)):
                self.write(batch, progress.console)
                progress.update(task, completed=raw.tell())

    def write(self, rows: list[Row[Any]], console: Console) -> None:
        good = [(row.line, row.draft) for row in rows if row.draft is not None]
        drafts = [draft for _, draft in good]
        self.make_weeks(drafts)
        problems = {row.line: row.problem for row in rows if row.draft is None}
        for (line, _), outcome in zip(good, self.accept(drafts), strict=True):
            self.count[outcome.status] += 1
            if outcome.status is Status.REFUSED:
                problems[line] = outcome.reason
            elif outcome.status is Status.ACCEPTED and outcome.reason:
                self.unpriced += 1
        for line, problem in sorted(problems.items()):
            self.tell(line, problem, console)
        self.count[Status.REFUSED] += len(rows) - len(good)

    def accept(self, drafts: list[Any]) -> list[Outcome]:
        if self.kind is InferenceDraft:
            source = InferenceEvent.Source.IMPORT
            return accept_inference(drafts, source=source, now=self.now, any_age=True)
        return accept_tools(drafts, now=self.now, any_age=True)

    def make_weeks(self, drafts: list[Any]) -> None:
        kept = settings.TOLLGATE_EVENT_RETENTION_DAYS
        expires = self.now - timedelta(days=kept) if kept else None
        days = set()
        for draft in drafts:
            at = draft.created_at
            if at is not None and self.now - OLDEST <= at <= self.now + EARLY:
                day = at.astimezone(UTC).date()
                days.add(day - timedelta(days=day.weekday()))
                self.expiring += expires is not None and at < expires
        if fresh := days - self._weeks:
            weeks.make(fresh)
            self._weeks |= fresh

    def tell(self, line: int, problem: str, console: Console) -> None:
        self._told += 1
        if self._told <= SHOWN:
            console.print(f"line {line}: {problem}", markup=False, highlight=False)
        elif self._told == SHOWN + 1:
            console.print("… and more lines like these")
