"""manage.py rebuild_rollup: the sums of the hours, computed again from the events."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandParser

from opslog.management.base import Documented
from opslog.telemetry import rollup


def moment(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no date or time, as in 2026-03-01T08:00Z") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


class Command(Documented):
    examples = ("manage.py rebuild_rollup --since 2026-03-01",)
    help = (
        "Computes the sums by the hour (inference_hours, tool_hours) again from the events that "
        "are there. Hours whose events were dropped keep the sums that they have. Safe while "
        "events come in."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=moment, help="only from this hour on (UTC)")

    def handle(self, *args: Any, **options: Any) -> None:
        rollup.mark_stale(since=options["since"])
        self.stdout.write(f"{rollup.refresh()} hours summed up.")
