"""`manage.py changepassword`: Django's; the password and its event in one transaction."""

from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.db import transaction


class Command(changepassword.Command):
    def handle(self, *args: Any, **options: Any) -> str | None:
        with transaction.atomic():
            said: str | None = super().handle(*args, **options)
        return said
