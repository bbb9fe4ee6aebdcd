"""The log of events as tests read it: rows, not how many there are."""

from typing import Any

from opslog.models import OperationsEvent


def trail(*kinds: str) -> list[tuple[str, str, str]]:
    """Kind, owner as "work_order w1" and actor, oldest first, of every event whose kind is one of
    these, or begins with one that ends in an underscore."""
    return [
        (event.kind, f"{event.owner_type} {event.owner_id}".strip(), event.actor)
        for event in OperationsEvent.objects.order_by("id")
        if any(
            event.kind.startswith(kind) if kind.endswith("_") else event.kind == kind
            for kind in kinds
        )
    ]


def meta_of(kind: str) -> dict[str, Any]:
    """What the last event of this kind has in its `meta`."""
    meta: dict[str, Any] = OperationsEvent.objects.filter(kind=kind).latest().meta
    return meta
