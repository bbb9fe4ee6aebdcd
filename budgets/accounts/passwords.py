"""Every change of a password is an event, whatever made it: Django tells its validators."""

import getpass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from budgets.accounts import notices
from opslog.request_context import current_request_id


class RecordChanges:
    """One of AUTH_PASSWORD_VALIDATORS, for `password_changed`: it validates nothing.

    In a request it is always the person: nobody else can set a password there. Without one it is a
    command on the machine.
    """

    def validate(self, password: str, user: Any = None) -> None:
        return None

    def get_help_text(self) -> str:
        return "Administrators are notified when your password changes."

    def password_changed(self, password: str, user: Any = None) -> None:
        if not isinstance(user, User) or user.pk is None:
            return
        name = user.get_username()
        by = name if current_request_id() else command_line()
        with transaction.atomic():
            notices.record_and_notify(
                "PASSWORD_CHANGED",
                f"Password of {name} changed",
                user,
                by=by,
                change="the password before → a new password",
            )


def command_line() -> str:
    """Who is at the machine, as the log names them."""
    return f"{getpass.getuser()} (command line)"
