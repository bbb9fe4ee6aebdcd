"""manage.py export_proof: that one event was in the log, for somebody who has no access to it."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from opslog.management.base import Documented
from opslog.sealing import proofs


class Command(Documented):
    examples = ("manage.py export_proof 4711 > proof.json",)
    exits = {1: "there is no such event, or no seal has it yet"}
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
