"""`manage.py createsuperuser`: Django's, with the names of this product, and an event."""

from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.db import transaction

from budgets import accounts
from budgets.accounts import notices
from budgets.accounts.passwords import command_line
from opslog.management.base import Documented
from opslog.models import Severity


class Command(Documented, createsuperuser.Command):
    examples = ("manage.py createsuperuser",)
    exits = {1: "nobody was made"}

    def handle(self, *args: Any, **options: Any) -> None:
        if options["interactive"] and not (self.stdin and self.stdin.isatty()):
            # Django says so too, with exit code 0.
            raise CommandError(
                "Nobody was made: there is no terminal to ask at. Use --noinput --username NAME "
                "--email ADDRESS, then manage.py account_link NAME."
            )
        last = User.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        with transaction.atomic():
            super().handle(*args, **options)
            for person in User.objects.filter(pk__gt=last, is_superuser=True):
                notices.record_and_notify(
                    "USER_CREATED",
                    f"Superuser {person.get_username()} created by a command",
                    person,
                    by=command_line(),
                    change="no account → a superuser",
                    severity=Severity.CRITICAL,
                    meta={
                        "email": person.email,
                        "changes": {"is_superuser": {"old": None, "new": True}},
                    },
                )

    def _validate_username(
        self, username: str, verbose_field_name: str, database: str
    ) -> str | None:
        found: str | None = super()._validate_username(  # type: ignore[misc]  # not in the stubs
            username, verbose_field_name, database
        )
        return found or accounts.name_problem(username) or None
