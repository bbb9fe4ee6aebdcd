"""`manage.py create_token`: a service token from the command line."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.utils import timezone

from opslog.management.base import Documented
from workorders import tokens
from workorders.models import Scope, ServiceToken, WorkOrder

MAX_DAYS = 36_500


class Command(Documented):
    examples = ("manage.py create_token nightly --scope start --owner ops --network 10.0.0.0/8",)
    help = "Make a service token and print it, alone, on stdout. It cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="What uses it, such as nightly-digest.")
        parser.add_argument(
            "--scope", action="append", required=True, choices=Scope.values, help="Repeatable."
        )
        parser.add_argument(
            "--owner", help="The person it acts for. Default: the first active superuser."
        )
        expiry = parser.add_mutually_exclusive_group()
        expiry.add_argument(
            "--expires-in-days", type=int, help="Default: the days of the token policy."
        )
        expiry.add_argument("--never-expires", action="store_true", help="Only on purpose.")
        parser.add_argument(
            "--network", action="append", default=[], help="CIDR, repeatable. Default: any."
        )
        parser.add_argument(
            "--work-order", action="append", default=[], help="Id, repeatable. Default: all."
        )
        parser.add_argument("--surface", default="", help="Wins over what a request says.")
        parser.add_argument("--feature", default="", help="Wins over what a request says.")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"].strip()
        if not name or not name.isprintable() or len(name) > 200:
            raise CommandError("The name must be 1 to 200 printable characters.")
        owner = find_owner(options["owner"])
        known = set(
            WorkOrder.objects.filter(pk__in=options["work_order"]).values_list("pk", flat=True)
        )
        if unknown := [wo_id for wo_id in options["work_order"] if wo_id not in known]:
            raise CommandError(f"There is no work order {unknown[0]!r}.")
        days = options["expires_in_days"]
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--expires-in-days must be from 1 to {MAX_DAYS}.")
        try:
            token, text = tokens.create(
                name=name,
                scopes=options["scope"],
                owner=owner,
                by=f"{owner.get_username()} (command line)",
                expires_at=None if days is None else timezone.now() + timedelta(days=days),
                never_expires=options["never_expires"],
                networks=options["network"],
                work_orders=options["work_order"],
                surface=options["surface"],
                feature=options["feature"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stderr.write(
            f"Token {name} ({', '.join(token.scopes)}) acts for {owner.get_username()}."
            f" {expiry_of(token)} Keep it now: only its digest is stored."
        )
        self.stdout.write(text)


def expiry_of(token: ServiceToken) -> str:
    if token.expires_at is None:
        return "It never expires."
    return f"It expires on {token.expires_at:%Y-%m-%d} at {token.expires_at:%H:%M} UTC."


def find_owner(name: str | None) -> User:
    """The active person of that name, or the first active superuser. Raises CommandError."""
    people = User.objects.filter(is_active=True).order_by("pk")
    if name is None:
        owner = people.filter(is_superuser=True).first()
        if owner is None:
            raise CommandError("There is no superuser to own the token: name one with --owner.")
        return owner
    owner = people.filter(username=name).first()
    if owner is None:
        raise CommandError(f"There is no active user {name!r} to own the token.")
    return owner
