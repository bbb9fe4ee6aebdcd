"""`manage.py rotate_token`: the successor of a service token."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from opslog.exceptions import NotAllowedNow
from opslog.management.base import Documented
from workorders import tokens
from workorders.management.commands.create_token import MAX_DAYS, expiry_of
from workorders.models import ServiceToken

MAX_OVERLAP_HOURS = 720


class Command(Documented):
    refusals = (NotAllowedNow,)
    examples = ('manage.py rotate_token tg_a1B2c --reason "quarterly"',)
    help = (
        "Make the successor of a service token, with the same owner and rights, and print it,"
        " alone, on stdout. It cannot be shown again. The old token expires after the overlap."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("token", help="Its id, or its visible beginning, such as tg_a1B2c.")
        parser.add_argument("--reason", default="rotated on the command line")
        parser.add_argument(
            "--overlap-hours", type=int, help="Default: the hours of the token policy. 0: none."
        )
        parser.add_argument(
            "--expires-in-days", type=int, help="Default: the days of the token policy."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        old = find_token(options["token"])
        overlap, days = options["overlap_hours"], options["expires_in_days"]
        if overlap is not None and not 0 <= overlap <= MAX_OVERLAP_HOURS:
            raise CommandError(f"--overlap-hours must be from 0 to {MAX_OVERLAP_HOURS}.")
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--expires-in-days must be from 1 to {MAX_DAYS}.")
        new, text = tokens.rotate(
            old.pk,
            by=f"{old.owner.get_username()} (command line)",
            reason=options["reason"],
            overlap=None if overlap is None else timedelta(hours=overlap),
            expires_at=None if days is None else timezone.now() + timedelta(days=days),
        )
        old.refresh_from_db()
        self.stderr.write(
            f"Token {new.name} is rotated. {expiry_of(new)} Of the old one, {old.prefix}…:"
            f" {expiry_of(old)} Keep the new one now: only its digest is stored."
        )
        self.stdout.write(text)


def find_token(name: str) -> ServiceToken:
    """By id or visible beginning. Raises CommandError."""
    by = {"pk": int(name)} if name.isdecimal() and len(name) < 19 else {"prefix": name}
    found = list(ServiceToken.objects.select_related("owner").filter(**by)[:2])
    if not found:
        raise CommandError(f"There is no service token {name!r}.")
    if len(found) > 1:
        raise CommandError(f"Several tokens begin with {name}: name one by its id.")
    return found[0]
