"""`manage.py export_incident N`: an incident as Markdown, for a post-mortem."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from opslog.incidents.postmortem import markdown
from opslog.management.base import Documented
from opslog.models import Incident


class Command(Documented):
    examples = ("manage.py export_incident 12 --output incident-12.md",)
    exits = {1: "there is no such incident"}
    help = "Write an incident as Markdown: what it was, its timeline, evidence and review."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int)
        parser.add_argument("--output", type=Path, help="a file; else it is printed")

    def handle(self, *args: Any, number: int, output: Path | None, **options: Any) -> None:
        incident = Incident.objects.select_related("owner").filter(pk=number).first()
        if incident is None:
            raise CommandError(f"There is no incident #{number}.")
        text = markdown(incident, incident.entries.all(), incident.mitigations.all())
        if output is None:
            self.stdout.write(text, ending="")
        else:
            output.write_text(text, encoding="utf-8")
            self.stdout.write(f"Written to {output}.")
