"""The seals of the log, read-only: when, how many events, signed with which key."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest
from django.urls import reverse

from opslog.admin.base import LargeTableMixin, PageAdmin, by_day, column, moments
from opslog.models import OperationsEvent, Seal, SealMembers
from opslog.sealing.selectors import last_verification

EVENTS_SHOWN = 50


def log_between(first: datetime | None, last: datetime | None) -> str:
    """The event history from the first to the last event of a seal, the last one included."""
    if first is None or last is None:
        return reverse("ops-logs")
    until = last + timedelta(microseconds=1)
    query = {"since": first.isoformat(), "until": until.isoformat()}
    return f"{reverse('ops-logs')}?{urlencode(query)}"


@admin.register(Seal)
class SealAdmin(LargeTableMixin, PageAdmin):
    list_display = ("no", "when", "event_count", "of", "key_id")
    list_display_links = ("no", "when")
    list_filter = (by_day("sealed_at"),)
    list_before_template = "tollgate/seals_note.html"
    page_template = "tollgate/seal.html"
    ordering = ("-number",)

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        return {"verified": last_verification()}

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        members = SealMembers.objects.filter(pk=obj.pk).values_list("event_ids", flat=True).first()
        events: Any = ()
        if members:
            events = OperationsEvent.objects.filter(
                pk__in=members[:EVENTS_SHOWN], created_at__range=(obj.events_from, obj.events_to)
            ).order_by("id")
        return {
            "seal": obj,
            "statement": obj.statement().values,
            "signature": bytes(obj.signature).hex(),
            "own_hash": bytes(obj.hash).hex(),
            "events": events,
            "shown": EVENTS_SHOWN,
            "all_of_its_time": log_between(obj.events_from, obj.events_to),
            "verified": last_verification(),
        }

    no = column("no.", lambda seal: str(seal.number))
    when = moments("sealed_at", "sealed", seconds=True)

    @display(description="events of")
    def of(self, seal: Seal) -> str:
        if seal.events_from is None or seal.events_to is None:
            return "none: a sign of life"
        same_day = seal.events_from.date() == seal.events_to.date()
        end = f"{seal.events_to:%H:%M:%S}" if same_day else f"{seal.events_to:%Y-%m-%d %H:%M:%S}"
        return f"{seal.events_from:%Y-%m-%d %H:%M:%S} to {end}"
