"""manage.py seal_events: one turn of the sealer, by hand."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from opslog.sealing import keys, sealer


class Command(BaseCommand):
    help = (
        "Seals all committed events that no seal has yet, and writes the new heads to the head "
        "file. The job worker does this three times a minute."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            turn = sealer.seal(seconds=24 * 3600)
        except keys.NoKey as error:
            raise CommandError(str(error)) from None
        if turn.busy:
            self.stdout.write("Another sealer is at work; it seals the same.")
        self.stdout.write(f"{turn.events} events in {turn.seals} new seals.")
