"""`manage.py simulate_incident`: which safeguard stops a runaway, and at how many dollars."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO, Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string
from rich.console import Console
from rich.table import Table

from budgets import incident
from budgets.incident import SAFEGUARDS, Safeguard, Story
from opslog.another_database import connected_to

FASTER = 6  # where no safeguard that is left looks at the pace
LONGEST = 240.0  # seconds of the real pace


class Command(BaseCommand):
    help = (
        "Play the incident (70 tasks, 15 eager agents, $20 a minute) over HTTP against a server "
        "with a database of its own: with the shipped limits, then with the safeguard that stopped "
        "it switched off, and so on until none is left. About three minutes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--only-shipped", action="store_true", help="only the shipped limits, for 20 seconds"
        )
        parser.add_argument("--markdown", action="store_true", help="the table as Markdown")

    def handle(self, *args: Any, only_shipped: bool, markdown: bool, **options: Any) -> None:
        console = Console(stderr=True)
        rows: list[tuple[Story, Safeguard | None]] = []
        looked = ""
        for number in range(1 if only_shipped else len(SAFEGUARDS) + 1):
            off, left = SAFEGUARDS[:number], SAFEGUARDS[number:]
            console.print(f"Off: {', '.join(each.name for each in off) or 'nothing'}")
            story, said = self.one(off, left, 20.0 if only_shipped else None)
            looked = looked or said
            rows.append((story, left[0] if left else None))
        self.show(rows, looked, markdown=markdown)
        for story, next_one in rows:
            if next_one is not None and story.usd > next_one.limit_usd:
                raise CommandError(f"${story.usd} passed {next_one.name}.", returncode=1)

    def one(
        self,
        off: tuple[Safeguard, ...],
        left: tuple[Safeguard, ...],
        seconds: float | None,
    ) -> tuple[Story, str]:
        scratch: Callable[..., AbstractContextManager[Any]] = import_string(
            settings.TOLLGATE_SCRATCH_SERVICE
        )
        paced = any(each.paced for each in left)
        first = left[0] if left else None
        # Long enough to see that nothing follows: a third more than the money lasts.
        long = seconds or (
            LONGEST if first is None else min(LONGEST, float(first.limit_usd) * 60 / 20 * 1.3 + 5)
        )
        with scratch(workers=2, threads=4) as service:
            with connected_to(service.database):
                token = incident.furnish()
                for each in off:
                    each.switch_off()
                if not paced:
                    incident.scale_address_rate(FASTER)
            said = incident.preflight(service.url, token)
            story = incident.play(
                service.url,
                token,
                off=[each.name for each in off],
                seconds=long,
                speed=1 if paced else FASTER,
            )
        return story, said

    def show(
        self, rows: list[tuple[Story, Safeguard | None]], looked: str, *, markdown: bool
    ) -> None:
        head = ("switched off", "stopped by", "denial", "dollars", "after", "refused")
        told = [
            (
                story.off[-1] if story.off else "nothing, as shipped",
                left.name if left else "the end of the queue",
                story.stopped_by or "–",
                f"${story.usd:.2f}",
                f"{story.last_admitted_at:.0f} s",
                str(story.refused),
            )
            for story, left in rows
        ]
        if markdown:
            for line in (head, tuple("---" for _ in head), *told):
                self.stdout.write(f"| {' | '.join(line)} |")
        else:
            table = Table(title="Seventy tasks, fifteen agents, $20 a minute")
            for column in head:
                table.add_column(column)
            for row in told:
                table.add_row(*row)
            Console(file=cast("IO[str]", self.stdout._out)).print(table)
        self.stdout.write(f"A pre-flight of the seventy tasks says: {looked}")
