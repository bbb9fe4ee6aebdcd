"""/ops-logs: the event history for auditors and everybody else who may read events."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    QueryDict,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from opslog.admin.log_filters import FilterForm, place_in, query_of
from opslog.events import detail, saved_views, search
from opslog.events.export import FORMATS, Busy, Export
from opslog.events.filters import Filters, Key
from opslog.exceptions import NotAllowedNow
from opslog.models import OperationsEvent
from opslog.sealing.selectors import seal_of

TAIL_SECONDS = 4
# An event is seen when its transaction commits, which may be after a later one's: so the tail asks
# again for those of the last minute, and the page leaves out what it shows already.
OVERLAP = timedelta(minutes=1)


def may_read(request: HttpRequest) -> User:
    if not request.user.has_perm("opslog.view_operationsevent"):
        raise PermissionDenied
    return cast("User", request.user)  # anonymous people have no permission


@dataclass(frozen=True)
class Asked:
    """What an address asks for. `form` has the errors, and then `filters` is None."""

    form: FilterForm
    filters: Filters | None
    before: Key | None = None
    after: Key | None = None

    @property
    def query(self) -> str:
        return query_of(self.filters) if self.filters else ""


def asked(query: QueryDict) -> Asked:
    form = FilterForm(query)
    try:
        before, after = place_in(query, "before"), place_in(query, "after")
    except ValidationError as error:
        form.add_error(None, error)
        before = after = None
    if not form.is_valid():
        return Asked(form, None)
    return Asked(form, form.filters(), before, after)


def shown(found: search.Found | None, query: str) -> dict[str, Any]:
    """What the rows' template needs."""
    if found is None:
        return {"found": None, "events": ()}
    more = f"{query}&{urlencode({'before': found.more})}".lstrip("&") if found.more else ""
    return {"found": found, "events": found.events, "more_query": more, "query": query}


@require_safe
@never_cache
def ops_logs(request: HttpRequest) -> HttpResponse:
    person = may_read(request)
    ask = asked(request.GET)
    found = search.search(ask.filters, after=ask.before) if ask.filters else None
    newest = found.events[0] if found and found.events else None
    own = str(person.pk)
    context = {
        **admin.site.each_context(request),
        "title": "Event history",
        "form": ask.form,
        "valid": ask.filters is not None,
        "is_filtered": bool(ask.query) or ask.filters is None,
        "may_tail": ask.filters is not None and not ask.before and not ask.filters.until,
        "tail_seconds": TAIL_SECONDS,
        "newest": Key.of(newest) if newest else "",
        "first_page": not ask.before,
        "views": [(view, view.person == own) for view in saved_views.views_for(person)],
        "may_keep": person.has_perm(saved_views.PERMISSION),
        "formats": tuple(FORMATS),
        **shown(found, ask.query),
    }
    return TemplateResponse(request, "tollgate/ops_logs.html", context)


@require_safe
@never_cache
def rows(request: HttpRequest) -> HttpResponse:
    """The rows alone, for the page's script: those after a place (the tail), or before one."""
    may_read(request)
    ask = asked(request.GET)
    if ask.filters is None:
        return HttpResponse("bad filters", status=400, content_type="text/plain")
    filters = ask.filters
    if ask.after:
        since = ask.after.at - OVERLAP
        begins, until = filters.range(timezone.now())
        filters = Filters(
            **{
                **{name: getattr(filters, name) for name in Filters.__dataclass_fields__},
                "last": "",
                "since": max(since, begins) if begins else since,
                "until": until,
            }
        )
    found = search.search(filters, after=ask.before)
    return TemplateResponse(request, "tollgate/ops_logs_rows.html", shown(found, ask.query))


@require_safe
@never_cache
def event_page(request: HttpRequest, event_id: int) -> HttpResponse:
    may_read(request)
    event = OperationsEvent.objects.filter(pk=event_id).first() if event_id < 1 << 63 else None
    if event is None:
        raise Http404("There is no such event.")
    before, after = detail.beside(event)
    ask = asked(request.GET)
    context = {
        **admin.site.each_context(request),
        "title": event.kind,
        "event": event,
        "seal": seal_of(event.pk),
        "changes": detail.changes(event),
        "same_act": detail.same_act(event),
        "same_request": detail.same_request(event),
        "before": before,
        "after": after,
        "query": ask.query,
    }
    return TemplateResponse(request, "tollgate/event.html", context)


@require_POST
def export(request: HttpRequest) -> HttpResponseBase:
    """Everything that matches, as a file. By POST, because it leaves an event."""
    person = may_read(request)
    ask = asked(request.GET)
    form = request.POST.get("format", "")
    if ask.filters is None or form not in FORMATS:
        return HttpResponse("bad filters or format", status=400, content_type="text/plain")
    now = timezone.now()
    try:
        file = Export(ask.filters, form, query=ask.query, by=person.get_username(), now=now)
    except Busy:
        messages.error(request, "Another export is under way. Try again when it is done.")
        return HttpResponseRedirect(f"{reverse('ops-logs')}?{ask.query}")
    answer = StreamingHttpResponse(file, content_type=file.content_type)
    answer.headers["Content-Disposition"] = (
        f'attachment; filename="events-{now:%Y%m%dT%H%M%SZ}.{form}"'
    )
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


class KeepForm(forms.Form):
    name = forms.CharField(max_length=80, strip=True)
    shared = forms.BooleanField(required=False)

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if not name.isprintable():
            raise ValidationError("A name has no control characters.")
        return name


@require_POST
def keep_view(request: HttpRequest) -> HttpResponse:
    person = may_read(request)
    if not person.has_perm(saved_views.PERMISSION):
        raise PermissionDenied
    ask = asked(request.GET)
    form = KeepForm(request.POST)
    if ask.filters is None or not form.is_valid():
        messages.error(request, "A view needs a name of at most 80 characters, and right filters.")
    else:
        data = form.cleaned_data
        try:
            saved_views.keep(data["name"], ask.query, shared=data["shared"], by=person)
        except NotAllowedNow as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"The view is kept as “{data['name']}”.")
    return HttpResponseRedirect(f"{reverse('ops-logs')}?{ask.query}")


@require_POST
def remove_view(request: HttpRequest, view_id: int) -> HttpResponse:
    person = may_read(request)
    if not person.has_perm(saved_views.PERMISSION):
        raise PermissionDenied
    if view_id >= 1 << 63 or not saved_views.remove(view_id, by=person):
        raise Http404("There is no such view of yours.")
    messages.success(request, "The view is removed.")
    return HttpResponseRedirect(reverse("ops-logs"))


def _page(view: Any) -> Any:
    return admin.site.admin_view(view)


urlpatterns = [
    path("ops-logs", _page(ops_logs), name="ops-logs"),
    path("ops-logs/rows", _page(rows), name="ops-logs-rows"),
    path("ops-logs/export", _page(export), name="ops-logs-export"),
    path("ops-logs/views", _page(keep_view), name="ops-logs-keep-view"),
    path("ops-logs/views/<int:view_id>/remove", _page(remove_view), name="ops-logs-remove-view"),
    path("ops-logs/<int:event_id>", _page(event_page), name="ops-logs-event"),
]
