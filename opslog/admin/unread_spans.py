"""Spans that look like model calls and are not understood: what the sums above them lack."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from opslog.admin.base import ReadAdmin, column, moments
from opslog.models import UnreadSpan


@admin.register(UnreadSpan)
class UnreadSpanAdmin(ReadAdmin):
    list_display = ("instrumentation", "span_name", "attributes", "spans", "lost", "when")
    list_before_template = "tollgate/unread_spans_note.html"
    exclude = ("digest",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who sees the sums sees what is not in them."""
        return bool(request.user.has_perm("opslog.view_inferencehour"))

    instrumentation = column("instrumentation", lambda row: row.scope or "unknown")
    attributes = column("attributes that are not read", lambda row: ", ".join(row.names))
    when = moments("last_seen", "last seen")
