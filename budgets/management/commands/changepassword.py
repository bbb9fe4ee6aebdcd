"""`manage.py changepassword`: Django's; the password and its event in one transaction."""

from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.core.management.base import CommandError
from django.db import transaction

from opslog.management.base import Documented


class Command(Documented, changepassword.Command):
    examples = ("manage.py changepassword jane",)
    exits = {1: "nothing was changed"}

    def handle(self, *args: Any, **options: Any) -> str | None:
        try:
            with transaction.atomic():
                output: str | None = super().handle(*args, **options)
        except EOFError:
            raise CommandError("Nothing was changed: there is no terminal to ask at.") from None
        return output
