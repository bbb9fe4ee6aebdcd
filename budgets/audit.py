"""Who changes a limit, and why: passed to the triggers that record it.

Triggers write the event of a change of a limit, a switch or a feature control, so that none is
changed without one, whatever the way. For the length of a transaction the application tells them
who acts and for which reason. That is information and no proof; the database's own user is stamped
on every event besides.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from opslog.request_context import current_request_id

SAY = (
    "SELECT set_config('tollgate.actor', %s, true), set_config('tollgate.reason', %s, true), "
    "set_config('tollgate.request_id', %s, true)"
)


@contextmanager
def acting(*, by: str, reason: str) -> Iterator[None]:
    """Inside of a transaction: changes until its end, or the end of the block, are by `by`."""
    if not connection.in_atomic_block:
        raise RuntimeError("The actor is set within a transaction.")
    with connection.cursor() as cursor:
        cursor.execute(SAY, [by, reason, current_request_id()])
        yield
        cursor.execute(SAY, ["", "", ""])
