"""manage.py verify_events: is the log what was sealed?"""

from argparse import ArgumentTypeError
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from opslog import events
from opslog.database.fetching import fetch_one
from opslog.management.base import Documented
from opslog.seal_format.findings import Report
from opslog.sealing import heads
from opslog.sealing.verifier import TOO_LONG, own_key, verify

# Of the catalogue: to count ten million rows takes longer than a person likes to wait for a bar.
ABOUT = """
SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'operations_events'::regclass
"""


class Command(Documented):
    examples = ("manage.py verify_events --heads /media/audit/seal_heads.jsonl",)
    exits = {0: "the log is as it was sealed", 1: "something was found, a line each"}
    help = (
        "Compares every event with the seals, and the seals with the head file outside of the "
        "database. Exit code 1 and a line each for what is modified, deleted, inserted into what "
        "was sealed, unsealed too long, for missing seals, bad signatures, unknown keys, and for "
        "a database that is behind the outside head. What expired lawfully is no finding."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--heads",
            type=Path,
            metavar="FILE",
            help="the head file to compare with, and to trust the keys of (SEAL_HEADS_FILE); use "
            "your own copy of it",
        )
        parser.add_argument(
            "--key",
            type=public_key,
            action="append",
            default=[],
            metavar="HEX",
            help="a public key to trust besides, 64 hexadecimal digits; again for each",
        )
        parser.add_argument(
            "--max-delay",
            type=seconds,
            default=TOO_LONG,
            metavar="SECONDS",
            help=f"how long an event may wait for its seal ({TOO_LONG.seconds})",
        )
        parser.add_argument(
            "--no-record",
            action="store_true",
            help="do not write the event that tells of this verification",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["heads"] or Path(settings.TOLLGATE_SEAL_HEADS_FILE)
        console = Console(file=cast("IO[str]", self.stdout._out))
        if not console.is_terminal:
            console.width = 200  # into a file or a pipe: nothing is cut
        known = self.known(file, explicit=options["heads"] is not None, keys=options["key"])
        pinned = {*known.keys, *options["key"]}
        if options["heads"] is None:
            pinned |= own_key()
        with bar(console) as progress:
            task = progress.add_task("events", total=about())
            report = verify(
                known,
                pinned=pinned,
                too_long=options["max_delay"],
                progress=lambda done: progress.advance(task, done),
            )
            progress.update(task, total=report.events, completed=report.events)
        self.show(console, report, file)
        if not options["no_record"]:
            record(report)
        if report.findings:
            raise CommandError(f"{len(report.findings)} findings.", returncode=1)

    def known(self, file: Path, *, explicit: bool, keys: list[bytes]) -> heads.KnownHeads:
        try:
            return heads.read(file)
        except FileNotFoundError:
            if explicit:
                raise CommandError(f"There is no head file {file}.") from None
            if not keys:
                self.stderr.write(
                    f"There is no head file {file}, and no --key: nothing outside of the database "
                    "vouches for what is in it."
                )
            return heads.KnownHeads()
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from None

    def show(self, console: Console, report: Report, file: Path) -> None:
        if report.findings:
            table = Table(show_lines=False)
            for column in ("what", "seal", "finding"):
                table.add_column(column, overflow="fold")
            for each in report.findings:
                table.add_row(each.kind.value, str(each.seal or ""), each.text)
            console.print(table, markup=False)
        lines = [
            f"{report.seals} seals up to no. {report.through}.",
            f"{report.events} events: {report.sealed} as sealed, {report.unsealed} not sealed yet.",
            f"The head file {file} tells of {report.heads} seals, the last is no. {report.head}."
            if report.heads
            else "No outside head was compared.",
        ]
        if report.unreadable_heads:
            lines.append(f"{report.unreadable_heads} lines of the head file are not readable.")
        if report.expired_months:
            lines.append(
                f"Lawfully expired: {report.expired} events of "
                f"{', '.join(sorted(report.expired_months))}."
            )
        for line in lines:
            self.stdout.write(line)
        if not report.findings:
            self.stdout.write(self.style.SUCCESS("Nothing was altered."))


def record(report: Report) -> None:
    """An event of its own, sealed as any other: the page of the seals shows the last one."""
    with transaction.atomic():
        events.record(
            "EVENTS_VERIFIED",
            message=f"The log was verified up to seal {report.through}: "
            + (f"{len(report.findings)} findings" if report.findings else "nothing was altered"),
            actor="verify_events",
            meta={
                "through": report.through,
                "events": report.events,
                "unsealed": report.unsealed,
                "head": report.head,
                "findings": {kind.value: many for kind, many in report.by_kind.items()},
            },
        )


def bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def about() -> int:
    return int(fetch_one(ABOUT)[0])


def public_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ArgumentTypeError("a public key is 64 hexadecimal digits")
    return key


def seconds(text: str) -> timedelta:
    if not text.isdigit() or not 1 <= int(text) <= 86_400:
        raise ArgumentTypeError("seconds, from 1 to 86400")
    return timedelta(seconds=int(text))
