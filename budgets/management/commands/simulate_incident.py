"""`manage.py simulate_incident`: which safeguard stops a runaway, and at how many dollars."""

from decimal import Decimal
from typing import IO, Any, cast

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from budgets.demo import incident
from budgets.demo.incident import SAFEGUARDS, Safeguard, Story
from opslog.database.another_database import connected_to, scratch_database, scratch_service
from opslog.management.base import Documented

FASTER = 8  # where no safeguard that is left looks at the pace
LONGEST = 240.0  # seconds of the real pace, until the queue is empty where nothing stops it


class Command(Documented):
    examples = ("manage.py simulate_incident --only-shipped",)
    exits = {1: "nothing stopped the spend, or more was spent than a safeguard allows"}
    help = (
        "Play the incident (70 tasks, 15 eager agents, $20 a minute) over HTTP against a server "
        "with a database of its own: with the shipped limits, then with the safeguard that should "
        "have stopped it switched off, and so on until none is left. Reports which refusal stopped "
        "the spend, at how many dollars and after how long. Exit code 1 when nothing stopped it "
        "while a safeguard was on, or when more was spent than the safeguard allows. Takes under "
        "three minutes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--only-shipped", action="store_true", help="only with the limits as shipped"
        )
        parser.add_argument(
            "--seconds",
            type=float,
            help="end each play after so many seconds of the real pace (by default, a third more "
            "than the money lasts)",
        )
        parser.add_argument("--markdown", action="store_true", help="the table as Markdown")

    def handle(
        self,
        *args: Any,
        only_shipped: bool,
        seconds: float | None,
        markdown: bool,
        **options: Any,
    ) -> None:
        console = Console(stderr=True)
        stories: list[Story] = []
        wrong: list[str] = []
        looked = ""
        with scratch_database() as template:  # migrated once, and then cloned
            for number in range(1 if only_shipped else len(SAFEGUARDS) + 1):
                off, left = SAFEGUARDS[:number], SAFEGUARDS[number:]
                row = off[-1].name if off else "nothing, as shipped"
                console.print(f"Switched off: {', '.join(each.name for each in off) or 'nothing'}")
                story, recorded, preflight = self.one(template, off, left, seconds)
                console.print(f"  stopped by {story.outcome()}, ${story.usd:.2f}")
                looked = looked or preflight
                stories.append(story)
                usd = f"${story.usd:.2f}"
                if left and not story.stopped_by:
                    wrong.append(f"Switched off: {row}. Nothing stopped the spend ({usd}).")
                if passed := story.passed():
                    wrong.append(f"Switched off: {row}. {usd} passed {passed}.")
                if recorded != story.usd:
                    wrong.append(f"Switched off: {row}. ${recorded} recorded, {usd} admitted.")
        self.show(stories, looked, markdown=markdown)
        if wrong:
            raise CommandError("\n".join(wrong), returncode=1)

    def one(
        self,
        template: str,
        off: tuple[Safeguard, ...],
        left: tuple[Safeguard, ...],
        seconds: float | None,
    ) -> tuple[Story, Decimal, str]:
        """The story, the dollars that its server has on record, and the pre-flight's result."""
        paced = any(each.paced for each in left)
        first = left[0] if left else None
        speed = 1 if paced else FASTER
        # A third more than the money lasts, and half a minute of this machine for the refusals.
        lasts = LONGEST if first is None else float(first.limit_usd) * 60 / 20 * 1.3
        long = seconds or lasts + 30 * speed
        with scratch_service(workers=2, threads=4, template=template) as service:
            with connected_to(service.database):
                token = incident.furnish()
                for each in off:
                    each.switch_off()
                if not paced:
                    incident.scale_address_rate(speed)
            preflight = incident.preflight(service.url, token)
            story = incident.play(
                service.url,
                token,
                off=[each.name for each in off],
                seconds=long,
                speed=speed,
            )
            with connected_to(service.database):
                recorded = incident.recorded_usd()
        return story, recorded, preflight

    def show(self, stories: list[Story], looked: str, *, markdown: bool) -> None:
        head = ("switched off", "stopped by", "denial", "dollars", "after", "refused")
        rows = [
            (
                story.off[-1] if story.off else "nothing, as shipped",
                story.outcome(),
                ", ".join(story.stopped_by) or "–",
                f"${story.usd:.2f}",
                f"{story.last_admitted_at:.0f} s",
                str(story.refused),
            )
            for story in stories
        ]
        if markdown:
            for line in (head, tuple("---" for _ in head), *rows):
                self.stdout.write(f"| {' | '.join(line)} |")
        else:
            table = Table(*head, title="Seventy tasks, fifteen agents, $20 a minute")
            for row in rows:
                table.add_row(*row)
            Console(file=cast("IO[str]", self.stdout._out)).print(table)
        self.stdout.write(f"A pre-flight of the seventy tasks says: {looked}")
