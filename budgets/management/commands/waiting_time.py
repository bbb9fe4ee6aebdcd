"""`manage.py waiting_time`: from a new membership to its first vote."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from budgets.accounts import membership, notices
from budgets.accounts.passwords import command_line
from budgets.models import AccountRule
from opslog import events
from opslog.management.base import Documented


class Command(Documented):
    examples = (
        "manage.py waiting_time",
        'manage.py waiting_time 48 --reason "policy of 2026"',
    )
    help = "Shows how many hours a new member of a group waits before they count, or changes it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("hours", type=int, nargs="?", help="0 to 720, for memberships to come")
        parser.add_argument("--reason", default="", help="why; goes into the log")

    def handle(self, *args: Any, hours: int | None, reason: str, **options: Any) -> None:
        before = int(membership.waiting_time().total_seconds() // 3600)
        if hours is None:
            self.stdout.write(f"{before} hours.")
            return
        if not 0 <= hours <= 720 or not reason.strip():
            raise CommandError("0 to 720 hours, and a --reason.")
        by = command_line()
        with transaction.atomic():
            AccountRule.objects.create(waiting_hours=hours, reason=reason.strip(), by=by)
            message = f"New members count after {hours} hours, no longer {before}"
            event = events.record(
                "WAITING_TIME_CHANGED",
                message=message,
                actor=by,
                meta={
                    "changes": {"hours": {"old": before, "new": hours}},
                    "reason": reason.strip(),
                },
            )
            notices.notify(
                None,
                message,
                change=f"{before} hours → {hours} hours",
                by=by,
                key=str(event),
                details=reason.strip(),
            )
        self.stdout.write(f"{hours} hours, for memberships from now on.")
