"""The event log has one page, /ops-logs. What the admin would show of it leads there."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from opslog.admin.base import PageAdmin
from opslog.models import OperationsEvent


@admin.register(OperationsEvent)
class OperationsEventAdmin(PageAdmin):
    """Registered for its permissions, and so that old addresses go on working."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        query = request.GET.urlencode()
        return HttpResponseRedirect(reverse("ops-logs") + (f"?{query}" if query else ""))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        number = unquote(object_id)
        if not (number.isascii() and number.isdigit()):
            raise Http404("There is no such event.")
        return HttpResponseRedirect(reverse("ops-logs-event", args=[number]))
