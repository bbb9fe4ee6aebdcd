"""Spans that look like model calls and are not understood: what the sums above them lack."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest

from opslog.admin.base import KeptAdmin
from opslog.models import UnreadSpan


@admin.register(UnreadSpan)
class UnreadSpanAdmin(KeptAdmin):
    list_display = ("instrumentation", "span_name", "attributes", "spans", "lost", "when")
    list_before_template = "tollgate/unread_spans_note.html"
    sortable_by = ()
    exclude = ("digest",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who sees the sums sees what is not in them."""
        return bool(request.user.has_perm("opslog.view_inferencehour"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="instrumentation")
    def instrumentation(self, row: UnreadSpan) -> str:
        return row.scope or "unknown"

    @display(description="attributes that are not read")
    def attributes(self, row: UnreadSpan) -> str:
        return ", ".join(row.names)

    @display(description="last seen (UTC)")
    def when(self, row: UnreadSpan) -> str:
        return f"{row.last_seen:%Y-%m-%d %H:%M}"
