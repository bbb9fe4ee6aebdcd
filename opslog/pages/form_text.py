"""One rule for every text that people type into a form: no control characters.

They end up in log lines, in terminals and in mails. Lines may be broken where the box has several.
It holds for `CharField` itself, so for forms of Django and of other packages too: a rule that each
form has to remember is forgotten in the next one.
"""

from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError

from opslog.identities import CONTROL

OF_SEVERAL_LINES: Final = str.maketrans("", "", "\t\r\n")
REFUSED: Final = "Remove control characters, such as escape codes or line breaks."

_django = forms.CharField.validate


def validate(field: forms.Field, value: Any) -> None:
    """Raises ValidationError."""
    _django(field, value)
    if not isinstance(value, str):
        return
    several = isinstance(field.widget, forms.Textarea)
    if CONTROL.search(value.translate(OF_SEVERAL_LINES) if several else value):
        raise ValidationError(REFUSED, code="control_characters")


def hold() -> None:
    """From the start of the process on."""
    setattr(forms.CharField, "validate", validate)  # noqa: B010  (mypy knows no such assignment)
