"""What pages and commands ask of the seals."""

from datetime import datetime
from typing import NamedTuple

from opslog.database.query import one
from opslog.models import OperationsEvent

# Ranges of ids overlap where somebody committed late: a few candidates, then the lists decide.
SEAL_OF = """
SELECT s.number, s.sealed_at
FROM seals s JOIN seal_members m ON m.seal = s.number
WHERE s.event_count > 0 AND int8range(s.first_id, s.last_id, '[]') @> %s::bigint
    AND %s = ANY (m.event_ids)
ORDER BY s.number LIMIT 1
"""


class SealedIn(NamedTuple):
    number: int
    sealed_at: datetime


def seal_of(event_id: int) -> SealedIn | None:
    """The seal that holds the event, None while it waits for one."""
    row = one(SEAL_OF, [event_id, event_id])
    return SealedIn(*row) if row else None


def last_verification() -> OperationsEvent | None:
    """The result of the last `verify_events`; read from its event, which is sealed as any other."""
    return OperationsEvent.objects.filter(kind="EVENTS_VERIFIED").first()
