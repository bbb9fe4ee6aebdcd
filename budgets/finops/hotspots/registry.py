"""Adding, changing and confirming an entry: each with its event, and what was before."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from budgets.exceptions import Refused
from budgets.finops.hotspots import levers
from budgets.models import Hotspot
from budgets.writing import save, stated
from opslog import events

TYPED = ("typed_month_low", "typed_month_high", "typed_request_low", "typed_request_high")
FIELDS = (
    "name",
    "feature",
    "dimension",
    "scaling",
    "scaling_note",
    "levers",
    "owner",
    *TYPED,
    "confirm_days",
)


def add(values: Mapping[str, Any], *, by: str) -> Hotspot:
    """Raises Refused for values that cannot be kept."""
    with transaction.atomic():
        return _save(Hotspot(), values, kind="HOTSPOT_ADDED", verb="added", by=by)


def change(hotspot_id: int, values: Mapping[str, Any], *, by: str) -> Hotspot:
    """What is typed is dated anew where it differs. Raises Refused as `add` does."""
    with transaction.atomic():
        hotspot = Hotspot.objects.select_for_update(no_key=True).get(pk=hotspot_id)
        return _save(hotspot, values, kind="HOTSPOT_CHANGED", verb="changed", by=by)


def confirm(hotspot_id: int, *, note: str, by: str) -> None:
    """Somebody looked at it, and it is right: fresh for another while."""
    note = stated(note, "Say what you looked at.")
    with transaction.atomic():
        hotspot = Hotspot.objects.select_for_update(no_key=True).get(pk=hotspot_id)
        Hotspot.objects.filter(pk=hotspot.pk).update(
            confirmed_at=timezone.now(), confirmed_by=by, confirmation=note
        )
        events.record(
            "HOTSPOT_CONFIRMED",
            message=f"Hotspot {hotspot.name} confirmed",
            owner=("hotspot", str(hotspot.pk)),
            label=hotspot.name,
            actor=by,
            meta={"note": note},
        )


def _save(hotspot: Hotspot, values: Mapping[str, Any], *, kind: str, verb: str, by: str) -> Hotspot:
    before = events.as_text(hotspot, FIELDS) if hotspot.pk else {}
    for name, value in values.items():
        setattr(hotspot, name, value)
    typed = events.as_text(hotspot, TYPED)
    if typed != {name: before.get(name, "None") for name in TYPED}:
        hotspot.typed_at = timezone.now().date()
    try:
        levers.read(hotspot.levers)
    except ValueError as error:
        raise Refused(str(error)) from None
    save(hotspot)
    changes = events.changed(before, events.as_text(hotspot, FIELDS))
    if changes:
        events.record(
            kind,
            message=f"Hotspot {hotspot.name} {verb}",
            owner=("hotspot", str(hotspot.pk)),
            label=hotspot.name,
            actor=by,
            meta={"changes": changes},
        )
    return hotspot
