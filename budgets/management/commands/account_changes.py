"""`manage.py account_changes`: what waits for a second administrator; and its confirmation on the
machine where there is none."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from budgets import accounts
from budgets.accounts.passwords import command_line
from budgets.exceptions import Refused
from budgets.models import AccountChange
from opslog.management.base import Documented


class Command(Documented):
    examples = (
        "manage.py account_changes",
        "manage.py account_changes --confirm 7",
    )
    help = (
        "Lists the changes of accounts that wait for a second administrator. --confirm puts one "
        "into force where there is no second administrator, and the log says so."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--confirm", type=int, nargs="+", default=[], metavar="ID", help="as listed"
        )

    def handle(self, *args: Any, confirm: list[int], **options: Any) -> None:
        for pk in confirm:
            try:
                change = accounts.confirm_by_command(pk, by=command_line())
            except AccountChange.DoesNotExist:
                raise CommandError(f"There is no account change {pk}.") from None
            except Refused as error:
                raise CommandError(f"Account change {pk}: {error}") from None
            text = f"{change.status}: {change.closing_note}" if change.status != "confirmed" else ""
            self.stdout.write(text or f"Confirmed: {accounts.headline(change)}.")
        if confirm:
            return
        pending = AccountChange.objects.filter(
            status=AccountChange.Status.PENDING, expires_at__gt=timezone.now()
        ).select_related("person", "proposed_by")
        for change in pending.order_by("pk"):
            self.stdout.write(
                f"{change.pk}  {accounts.headline(change)} "
                f"(proposed by {change.proposer}; until {change.expires_at:%Y-%m-%d %H:%M} UTC)"
            )
        if not pending:
            self.stdout.write("No account change waits.")
