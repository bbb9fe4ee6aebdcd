"""manage.py rotate_seal_key: seals are signed with a new key from now on."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from opslog.management.base import Documented
from opslog.sealing import keys


class Command(Documented):
    examples = ('manage.py rotate_seal_key --reason "yearly"',)
    help = (
        "Makes a new key, signs for it with the one in use, and retires that. Where the key comes "
        "from SEAL_KEY, --write says where the new private key goes: set SEAL_KEY to what is in "
        "that file, and restart the job worker; until then nothing is sealed. The private key is "
        "never printed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="why; goes on record")
        parser.add_argument("--by", default="rotate_seal_key", help="who; goes on record")
        parser.add_argument("--write", type=Path, metavar="FILE", help="a new file, mode 0600")
        parser.add_argument(
            "--lost",
            action="store_true",
            help="the key in use is lost: nothing signs for the new one, so verification takes it "
            "only from the head file or --key",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            key = keys.rotate(
                by=options["by"],
                reason=options["reason"],
                now=timezone.now(),
                write_to=options["write"],
                lost=options["lost"],
            )
        except (keys.NoKey, OSError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"Generation {key.generation}, key {key.key_id}, public key "
            f"{bytes(key.public_key).hex()}"
        )
        if options["write"]:
            self.stdout.write(f"Set SEAL_KEY to what is in {options['write']}, and restart.")
