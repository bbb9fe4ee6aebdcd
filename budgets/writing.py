"""What all changes by hand share: a stated reason, the locks, and how the database refuses."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction

from budgets.exceptions import Conflict, Refused

OURS = "23001"  # restrict_violation: raised by a trigger of ours, in words for people
# The lock of changes of limits, and the one where a limit may be made. Taken before that of the
# row, as the triggers take them (docs/locking.md).
HOLD_COUNTERS = "SELECT tollgate.hold_counters()"
HOLD_LIMITS = "SELECT tollgate.hold_limits()"


def stated(text: str, otherwise: str) -> str:
    """The text without blanks around it. Raises Refused, saying `otherwise`, for an empty one."""
    if not (text := text.strip()):
        raise Refused(otherwise)
    return text


@contextmanager
def refusing(conflict: str = "") -> Iterator[None]:
    """A savepoint for a write that the database may refuse. Raises Refused in the words of a
    trigger of ours; and Conflict, saying `conflict` if there is one, for any other violation."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        cause = error.__cause__
        if isinstance(cause, psycopg.Error) and cause.sqlstate == OURS:
            raise Refused(cause.diag.message_primary or "") from error
        if conflict:
            raise Conflict(conflict) from error
        raise


def save(row: models.Model, *, problem: str = "") -> None:
    """Raises Refused, beginning with `problem`, for values that cannot be kept."""
    try:
        row.full_clean()
    except ValidationError as error:
        texts = (text for found in error.message_dict.values() for text in found)
        raise Refused(problem + " ".join(texts)) from None
    row.save()
