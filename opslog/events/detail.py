"""One event with what is around it: before and after, and its neighbours."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from opslog.database.query import rows
from opslog.models import OperationsEvent

NEAR = timedelta(minutes=1)
NEAR_ROWS = 5_000
SAME_ACT = """
SELECT id FROM (
    (SELECT id, xact FROM operations_events WHERE created_at BETWEEN %s AND %s
        ORDER BY created_at, id LIMIT %s)
    UNION ALL
    (SELECT id, xact FROM operations_events WHERE created_at >= %s AND created_at < %s
        ORDER BY created_at DESC, id DESC LIMIT %s)
) near WHERE xact = %s AND id <> %s LIMIT 20
"""


def same_act(event: OperationsEvent) -> list[OperationsEvent]:
    """Written by the same transaction, in the order of writing. A transaction has no index: it is
    looked for among the 5,000 events before and after, within a minute."""
    if not event.xact:
        return []
    at = event.created_at
    places = [at, at + NEAR, NEAR_ROWS, at - NEAR, at, NEAR_ROWS]
    ids = [pk for (pk,) in rows(SAME_ACT, [*places, event.xact, event.pk])]
    return list(
        OperationsEvent.objects.filter(
            pk__in=ids, created_at__range=(at - NEAR, at + NEAR)
        ).order_by("created_at", "id")
    )


def same_request(event: OperationsEvent) -> list[OperationsEvent]:
    """Those of the same request, but not of the same transaction."""
    if not event.request_id:
        return []
    events = OperationsEvent.objects.filter(request_id=event.request_id).exclude(request_id="")
    return [
        each
        for each in events.order_by("created_at", "id")[:40]
        if each.pk != event.pk and (each.xact != event.xact or not event.xact)
    ][:20]


def beside(event: OperationsEvent) -> tuple[OperationsEvent | None, OperationsEvent | None]:
    """The event before and the one after it of the same owner."""
    if not event.owner_id:
        return None, None
    return _beside(event, "<", "DESC"), _beside(event, ">", "ASC")


def _beside(event: OperationsEvent, sign: str, order: str) -> OperationsEvent | None:
    neighbors = OperationsEvent.objects.raw(
        f"SELECT * FROM operations_events WHERE owner_type = %s AND owner_id = %s"  # noqa: S608
        f" AND (created_at, id) {sign} (%s, %s) AND created_at {sign}= %s"
        f" ORDER BY created_at {order}, id {order} LIMIT 1",
        [event.owner_type, event.owner_id, event.created_at, event.pk, event.created_at],
    )
    return next(iter(neighbors), None)


@dataclass(frozen=True, slots=True)
class Change:
    field: str
    old: Any
    new: Any


def changes(event: OperationsEvent) -> list[Change]:
    """Before and after, in whichever form the event has it."""
    meta: Any = event.meta if isinstance(event.meta, dict) else {}
    recorded = meta.get("changes")
    if isinstance(recorded, dict):
        return [
            Change(str(field), each.get("old"), each.get("new"))
            for field, each in sorted(recorded.items())
            if isinstance(each, dict)
        ]
    before, after = meta.get("before"), meta.get("after")
    if isinstance(before, dict) or isinstance(after, dict):
        before, after = before or {}, after or {}
        return [
            Change(field, before.get(field), after.get(field))
            for field in sorted({*before, *after})
            if before.get(field) != after.get(field)
        ]
    if "old" in meta and "new" in meta:
        return [Change("status", meta["old"], meta["new"])]
    return []
