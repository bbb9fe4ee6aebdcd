"""The event log: read, filtered, searched; never written here."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from unfold.contrib.filters.admin import DropdownFilter

from opslog.admin.base import RECENT, DayByDayMixin, LargeTableMixin, PageAdmin, by_day
from opslog.models import OperationsEvent
from opslog.sealing.selectors import seal_of

KINDS_OFFERED = timedelta(days=7)
KNOWN_KINDS = (
    "AGENT_CHANGED",
    "AGENT_REGISTERED",
    "CAP_CHANGE_APPROVED",
    "CAP_CHANGE_CANCELLED",
    "CAP_CHANGE_EDITED",
    "CAP_CHANGE_EXPIRED",
    "CAP_CHANGE_REFUSED",
    "CAP_CHANGE_REQUESTED",
    "CAP_CHANGE_STALE",
    "EVENTS_EXPIRED",
    "EVENTS_VERIFIED",
    "MESSAGE_FAILED",
    "MESSAGE_RETRIED",
    "PASSWORD_REFUSED",
    "PRICE_BOOK_UPDATE",
    "RATE_LIMIT_429",
    "RUN_EXPIRED",
    "RUN_EXTENDED",
    "RUN_FINISHED",
    "RUN_OVERRUN",
    "SEAL_KEY_ROTATED",
    "START_REFUSED",
    "TOKEN_CREATED",
    "TOKEN_REVOKED",
    "USER_CHANGED",
    "WORK_ORDER_CAP_CHANGE",
    "WORK_ORDER_CHANGED",
    "WORK_ORDER_CREATED",
    "WORK_ORDER_RESUMED",
    "WORK_ORDER_START",
    "WORK_ORDER_SUSPENDED",
)
OWNER_TYPES = (
    ("work_order", "work order"),
    ("service_token", "service token"),
    ("agent", "agent"),
    ("user", "user"),
    ("price_book", "price book"),
    ("model_price", "model price"),
    ("message", "message"),
    ("seal_key", "seal key"),
    ("event_month", "expired month"),
)


class KindFilter(DropdownFilter):
    """A fixed list: asking a log of ten million rows for its kinds would read all of it."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = {*KNOWN_KINDS, request.GET.get("kind", "")} - {"", "refusals"}
        return [("refusals", "all refusals"), *((kind, kind) for kind in sorted(kinds))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "refusals":
            return queryset.filter(kind__in=("RATE_LIMIT_429", "START_REFUSED"))
        return queryset.filter(kind=self.value()) if self.value() else queryset


class OwnerTypeFilter(DropdownFilter):
    title = "about"
    parameter_name = "owner_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, str], ...]:
        return OWNER_TYPES

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(owner_type=self.value()) if self.value() else queryset


class OwnerFilter(admin.SimpleListFilter):
    """One subject, by the links of other pages; shown only where it is chosen."""

    title = "subject"
    parameter_name = "owner_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = request.GET.get("owner_id")
        return [(chosen, chosen[:60])] if chosen else []

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(owner_id=self.value()) if self.value() else queryset


@admin.register(OperationsEvent)
class OperationsEventAdmin(DayByDayMixin, LargeTableMixin, PageAdmin):
    list_display = ("when", "what", "message_short", "subject", "actor")
    list_display_links = ("when", "what")
    list_filter = (KindFilter, OwnerTypeFilter, OwnerFilter, by_day("created_at"))
    search_fields = ("message",)
    search_help_text = "words, an actor or a subject's id"
    page_template = "tollgate/event.html"
    ordering = ("-id",)
    sortable_by = ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Words are looked for in the last 31 days, unless a day is chosen: a log of years has no
        index for them."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if "day" not in request.GET:
            queryset = queryset.filter(created_at__gte=timezone.now() - RECENT)
        return (
            queryset.filter(Q(message__icontains=term) | Q(actor=term) | Q(owner_id=term)),
            False,
        )

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        same_act = OperationsEvent.objects.filter(
            xact=obj.xact,
            created_at__range=(
                obj.created_at - timedelta(minutes=1),
                obj.created_at + timedelta(minutes=1),
            ),
        ).exclude(pk=obj.pk)
        return {
            "event": obj,
            "title": obj.kind,
            "seal": seal_of(obj.pk),
            "same_act": same_act.order_by("id")[:10] if obj.xact else (),
        }

    @display(description="when (UTC)")
    def when(self, event: OperationsEvent) -> str:
        return f"{event.created_at:%Y-%m-%d %H:%M:%S}"

    @display(description="kind")
    def what(self, event: OperationsEvent) -> str:
        return render_to_string("tollgate/kind.html", {"event": event})

    @display(description="what happened")
    def message_short(self, event: OperationsEvent) -> str:
        said = event.message
        return said if len(said) <= 120 else f"{said[:119]}…"

    @display(description="about")
    def subject(self, event: OperationsEvent) -> str:
        return render_to_string("tollgate/subject.html", {"event": event})
