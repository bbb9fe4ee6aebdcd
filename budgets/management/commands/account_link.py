"""`manage.py account_link`: a one-time link for somebody, where there is no mail."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from budgets.accounts import links
from budgets.accounts.passwords import command_line
from budgets.exceptions import Refused
from opslog.management.base import Documented


class Command(Documented):
    refusals = (Refused,)
    examples = ("manage.py account_link jane",)
    help = (
        "Prints a link with which one person sets a password, once, within 24 hours. The log says "
        "that it was printed here, and administrators are notified. Give it to that person only."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        try:
            with transaction.atomic():
                person = User.objects.select_for_update(no_key=True).get(username=username)
                link = links.issue(person, by=command_line(), mailed=False)
        except User.DoesNotExist:
            raise CommandError(f"There is no user {username!r}.") from None
        self.stderr.write(
            f"For {username} alone; it works once, until {link.expires_at:%H:%M} UTC tomorrow."
        )
        self.stdout.write(f"{settings.TOLLGATE_BASE_URL}{links.path_of(link)}")
