"""`manage.py stamp_environment`: say, on purpose, which environment a database belongs to."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from budgets.accounts.passwords import command_line
from budgets.environment import any_environment
from budgets.models import Deployment
from opslog import events
from opslog.management.base import Documented


class Command(Documented):
    examples = ('manage.py stamp_environment staging --reason "a copy of production"',)
    help = "Stamp the database with another environment's name, for example a restored copy."
    requires_system_checks: list[str] = []  # it cures what one finds

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="as in ENVIRONMENT, such as staging")
        parser.add_argument("--reason", required=True, help="why; goes into the log")

    def handle(self, *args: Any, name: str, reason: str, **options: Any) -> None:
        if not reason.strip() or not name.islower() or not name.replace("-", "").isalnum():
            raise CommandError("A short name in small letters, and a reason.")
        with any_environment(), transaction.atomic():
            row = Deployment.objects.select_for_update().get()
            Deployment.objects.update(environment=name)
            events.record(
                "ENVIRONMENT_STAMPED",
                message=f"This database is {name}'s, no longer {row.environment}'s",
                actor=command_line(),
                meta={"old": row.environment, "new": name, "reason": reason.strip()},
            )
        self.stdout.write(f"This database is {name}'s now.")
