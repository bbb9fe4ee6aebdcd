"""manage.py expire_events: drop months of the log, as the owner, leaving signed tombstones."""

from argparse import ArgumentTypeError
from datetime import date
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone

from opslog.exceptions import NotAllowedNow
from opslog.management.base import Documented
from opslog.sealing import expiry, keys


class Command(Documented):
    examples = (
        "manage.py expire_events --before 2025-01",
        'manage.py expire_events --before 2025-01 --apply --reason "two years are over"',
    )
    exits = {1: "a month was refused, or --apply has no reason"}
    help = (
        "Drops the log's partitions of the months before the one given, each with a signed "
        "tombstone and an event. A month that is not over, not wholly sealed or not as it was "
        "sealed is refused. Without --apply it only tells which months those are. What is dropped "
        "is gone: take a backup first."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--before", type=month, required=True, metavar="YYYY-MM")
        parser.add_argument("--reason", default="", help="why; goes on record (with --apply)")
        parser.add_argument("--by", default="expire_events", help="who; goes on record")
        parser.add_argument("--apply", action="store_true", help="drop them")

    def handle(self, *args: Any, **options: Any) -> None:
        reason: str = options["reason"].strip()
        if options["apply"] and not reason:
            raise CommandError("--apply needs --reason: it goes on record.")
        now = timezone.now()
        months = expiry.months(before=options["before"], now=now)
        if not months:
            self.stdout.write(f"There is no month before {options['before']:%Y-%m} to drop.")
        for each in months:
            if not options["apply"]:
                self.stdout.write(f"{each}: would be dropped.")
                continue
            try:
                stone = expiry.expire(each, by=options["by"], reason=reason, now=now)
            except (NotAllowedNow, keys.NoKey) as error:
                raise CommandError(str(error)) from None
            except DatabaseError as error:
                one_line = " ".join(str(error).split())
                raise CommandError(f"{each} was not dropped: {one_line}") from None
            self.stdout.write(f"{each}: {stone.event_count} events dropped.")
        if months and not options["apply"]:
            self.stdout.write('Nothing was dropped: --apply --reason "…" does.')


def month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise ArgumentTypeError("a month as in 2026-01") from None
