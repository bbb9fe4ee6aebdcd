"""manage.py export_proof: that one event was in the log, for somebody who has no access to it."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from opslog.sealing import proofs


class Command(BaseCommand):
    help = (
        "Prints one event with the proof that it is in a signed seal, as JSON. "
        "docs/check_proof.py checks it without the database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("event_id", type=int, metavar="EVENT_ID")

    def handle(self, *args: Any, event_id: int, **options: Any) -> None:
        try:
            proof = proofs.export(event_id)
        except proofs.NoProof as error:
            raise CommandError(str(error)) from None
        self.stdout.write(json.dumps(proof, indent=2))
