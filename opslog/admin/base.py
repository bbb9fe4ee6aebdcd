"""What the pages of all three floors have in common.

A ledger or a decided record has no add, no change and no delete, whoever looks: not even for a
superuser. What may be done to a row is an `Act`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin import SimpleListFilter, display, site
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from opslog.admin.acts import Act, StaffRequest, submitted, way_back
from opslog.models import OperationsEvent

RECENT = timedelta(days=31)  # how far a search for words looks back in a large table
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2999, 12, 31)
DAYS_OFFERED = 14
LATELY = {"1h": "hour", "24h": "24 hours", "7d": "7 days", "31d": "31 days"}


def column(label: str, show: Callable[[Any], object], ordering: Any = None) -> Any:
    """A column of a list: what it shows of a row."""

    @display(description=label, ordering=ordering)
    def shown(page: Any, row: Any) -> object:
        return show(row)

    return shown


def moments(name: str, label: str, *, seconds: bool = False, ordering: Any = None) -> Any:
    """The same of a moment in UTC, to the minute."""
    shape = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"

    def show(row: Any) -> str:
        moment = getattr(row, name)
        return moment.strftime(shape) if moment else "–"

    return column(f"{label} (UTC)", show, ordering)


def events_of(owner_type: str, owner_id: object, *, most: int) -> "QuerySet[OperationsEvent]":
    """The newest first."""
    found = OperationsEvent.objects.filter(owner_type=owner_type, owner_id=str(owner_id))
    return found.order_by("-id")[:most]


class KeptAdmin(ModelAdmin):
    """Rows that nobody deletes: what happened refers to them."""

    actions: Sequence[str] | None = None
    show_facets = None

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def list_context(self, request: Any) -> dict[str, Any]:
        """What the template above the list needs."""
        return {}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        extra = {**(extra_context or {}), **self.list_context(request)}
        return super().changelist_view(request, extra)  # type: ignore[no-any-return]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """What happened is the events, not a second log."""
        query = urlencode({"owner_id": unquote(object_id)})
        return HttpResponseRedirect(f"{reverse('ops-logs')}?{query}")


class ReadAdmin(KeptAdmin):
    """Rows that nobody writes here."""

    sortable_by: ClassVar[Sequence[str] | None] = ()  # None: all columns

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PageAdmin(ReadAdmin):
    """One row on one page of its own, read-only; what may be done to it are `acts`, by the last
    part of their address. `views` are methods with an address each; `list_views` are those of the
    list. `add` makes a row."""

    page_template: str
    acts: Mapping[str, Act] = {}
    views: Sequence[str] = ()
    list_views: Sequence[str] = ()
    add: Act | None = None
    add_permission = ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(self.add_permission) and request.user.has_perm(self.add_permission)

    def page(self, request: Any, obj: Any) -> dict[str, Any]:
        """What the page's template needs, besides the row (`original`) and which acts are offered
        (`may`, by their names)."""
        return {}

    def get_urls(self) -> list[URLPattern]:
        row = "<path:object_id>/"
        views: dict[str, Any] = {
            **{row + last: partial(self.act_view, act=act) for last, act in self.acts.items()},
            **{row + last: getattr(self, _name(last)) for last in self.views},
            **{last: getattr(self, _name(last)) for last in self.list_views},
        }
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(f"{route}/", self.admin_site.admin_view(view), name=f"{prefix}_{_name(route)}")
            for route, view in views.items()
        ]
        return own + list(super().get_urls())

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponseBase:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.row(request, object_id)
        return self.render(request, self.page_template, row, **self.page_context(request, row))

    def page_context(self, request: Any, row: Any) -> dict[str, Any]:
        offered = {_name(last): act.is_offered(request, row) for last, act in self.acts.items()}
        return {"may": offered, **self.page(request, row)}

    def add_view(
        self, request: Any, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        if self.add is None:
            answer: HttpResponseBase = super().add_view(request, form_url, extra_context)
            return answer
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self._ask_once(request, self.add, None)

    def act_view(self, request: Any, object_id: str, *, act: Act) -> HttpResponseBase:
        if act.form is None and request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if act.permission and not request.user.has_perm(act.permission):
            raise PermissionDenied
        row = self.row(request, object_id)
        if not act.allows(request, row):
            raise PermissionDenied
        return act.first(request, row) or self._ask_once(request, act, row)

    def _ask_once(self, request: StaffRequest, act: Act, row: Any) -> HttpResponseBase:
        """GET shows the form and never acts."""

        def perform(values: dict[str, Any]) -> tuple[Any, object]:
            result = act.perform(request, row, values)
            if row is None and not act.done:
                return result  # type: ignore[no-any-return]  # what it made, and the message
            about = result if row is None else row
            return about, act.done.format(about) if act.done else result

        form = act.bound(request, row)
        if about := submitted(request, form, perform):
            return HttpResponseRedirect(way_back(request) or self.address(about))
        if act.form is None:
            messages.error(request, " ".join(map(str, form.non_field_errors())))
            return HttpResponseRedirect(self.address(row))
        back = self.address(row) if row else "../"
        context = act.context(request, row)
        return self.render(request, "tollgate/act.html", row, form=form, back=back, **context)

    def row(self, request: HttpRequest, object_id: str) -> Any:
        found = self.get_object(request, unquote(object_id))
        if found is None:
            raise Http404(f"There is no such {self.opts.verbose_name}.")
        return found

    def render(
        self, request: HttpRequest, template: str, obj: Any, **context: Any
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": str(obj) if obj else self.opts.verbose_name,
            "opts": self.opts,
            "original": obj,
            **context,
        }
        return TemplateResponse(request, template, context)

    def address(self, obj: Any) -> str:
        return reverse(
            f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_change",
            args=[quote(obj.pk)],
        )


def _name(route: str) -> str:
    return route.rpartition("/")[2].replace("-", "_")


class LargeTableMixin:
    """For tables of ten million rows: nothing here ever counts them."""

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50


def page_of(request: HttpRequest, template: str, **context: Any) -> TemplateResponse:
    """A page of the admin that is none of a row."""
    return TemplateResponse(request, template, {**site.each_context(request), **context})


def choice_filter(
    title: str,
    parameter: str,
    options: Mapping[str, tuple[str, Callable[[Any, Any], Any]]],
) -> type[SimpleListFilter]:
    """Each choice has a label and a function of the request and the rows: which of them stay."""

    class ChoiceFilter(SimpleListFilter):
        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, label) for value, (label, _) in options.items()]

        def queryset(self, request: HttpRequest, queryset: Any) -> Any:
            if chosen := options.get(self.value() or ""):
                return chosen[1](request, queryset)
            return queryset

    ChoiceFilter.title, ChoiceFilter.parameter_name = title, parameter
    return ChoiceFilter


class DayFilter(SimpleListFilter):
    """One UTC day of a large table, found by an index range; never a list of all days there are.

    A day further back is reached through the address (`?day=2026-01-31`) and the arrows above the
    list.
    """

    title = "day (UTC)"
    parameter_name = "day"
    column: str

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        today = timezone.now().date()
        days = [today - timedelta(days=ago) for ago in range(DAYS_OFFERED)]
        if (chosen := parse_day(request.GET.get("day"))) and chosen not in days:
            days.append(chosen)
        return [(day.isoformat(), f"{day:%Y-%m-%d, %a}") for day in days]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        day = parse_day(self.value())
        if day is None:
            return queryset
        begins = day_begins(day)
        return queryset.filter(
            **{f"{self.column}__gte": begins, f"{self.column}__lt": begins + timedelta(days=1)}
        )


def by_day(name: str) -> type[DayFilter]:
    return type("DayFilter", (DayFilter,), {"column": name})


def parse_day(text: str | None) -> date | None:
    """A day that something can have happened on, and that has days before and after it."""
    try:
        day = date.fromisoformat(text) if text else None
    except ValueError:
        return None
    return day if day and FIRST_DAY <= day <= LAST_DAY else None


def day_begins(day: date) -> datetime:
    return datetime.combine(day, time(), timezone.get_default_timezone())


def neighbours(request: HttpRequest) -> dict[str, str]:
    """The addresses of the day before and after the one that is shown, for above a list."""
    day = parse_day(request.GET.get("day"))
    today = timezone.now().date()
    if day is None:
        lately = f"The last {last}" if (last := LATELY.get(request.GET.get("last", ""))) else ""
        return {"shown": "", "lately": lately, "before": _with_day(request, today), "after": ""}
    return {
        "shown": f"{day:%A, %Y-%m-%d}",
        "before": _with_day(request, day - timedelta(days=1)),
        "after": _with_day(request, day + timedelta(days=1)) if day < today else "",
        "all": _with_day(request, None),
    }


def _with_day(request: HttpRequest, day: date | None) -> str:
    query = request.GET.copy()
    query.pop("day", None)
    query.pop("p", None)
    if day:
        query.pop("last", None)
        query["day"] = day.isoformat()
    return f"?{query.urlencode()}"


class DayByDayMixin:
    """Arrows above the list, a day at a time."""

    list_before_template = "tollgate/days.html"

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        return {"days": neighbours(request)}


def badge(state: str, word: str = "") -> str:
    return render_to_string("tollgate/badge.html", {"state": state, "word": word})
