"""What the pages of all three floors have in common.

A ledger or a decided record has no add, no change and no delete, whoever looks: not even for a
superuser. What may be done to a thing is a small form of its own (an "act"), which calls the same
function of the domain as the API does.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import models
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
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminTextareaWidget

RECENT = timedelta(days=31)  # how far a search for words looks back in a large table
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2999, 12, 31)
DAYS_OFFERED = 14
LATELY = {"1h": "hour", "24h": "24 hours", "7d": "7 days", "31d": "31 days"}


class KeptAdmin(ModelAdmin):
    """Rows that nobody deletes: what happened refers to them."""

    actions: Sequence[str] | None = None
    show_facets = None

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """What happened is the events, not a second log."""
        told = urlencode({"owner_id": unquote(object_id)})
        return HttpResponseRedirect(f"{reverse('ops-logs')}?{told}")


class PageAdmin(KeptAdmin):
    """One thing on one page of its own, read-only; what may be done to it are acts.

    `acts` maps the last part of an address to the method behind it.
    """

    page_template: str
    acts: Mapping[str, str] = {}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """What the page's template needs."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        ours = [
            path(
                f"<path:object_id>/{last}/",
                self.admin_site.admin_view(getattr(self, method)),
                name=f"{name}_{method}",
            )
            for last, method in self.acts.items()
        ]
        return ours + list(super().get_urls())

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
        obj = self.thing(request, object_id)
        return self.render(request, self.page_template, obj, **self.page(request, obj))

    def thing(self, request: HttpRequest, object_id: str) -> Any:
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404(f"There is no such {self.opts.verbose_name}.")
        return obj

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

    def act(
        self,
        request: HttpRequest,
        obj: Any,
        *,
        form: Callable[..., forms.BaseForm],
        perform: Callable[[dict[str, Any]], str],
        refusals: tuple[type[Exception], ...],
        title: str,
        verb: str,
        effects: Sequence[str] = (),
        danger: bool = False,
    ) -> HttpResponseBase:
        """Ask once, then do it: GET shows the form and never acts.

        `perform` gives the sentence that is shown when it is done. What the domain refuses is
        said on the form, with what was typed still in it.
        """
        return self._asked_once(
            request,
            obj,
            form(request.POST) if request.method == "POST" else form(),
            lambda said: (obj, perform(said)),
            refusals,
            title=title,
            verb=verb,
            effects=effects,
            danger=danger,
            back=self.address(obj),
        )

    def make(
        self,
        request: HttpRequest,
        form: forms.BaseForm,
        *,
        perform: Callable[[dict[str, Any]], tuple[Any, str]],
        refusals: tuple[type[Exception], ...],
        title: str,
        verb: str,
        effects: Sequence[str] = (),
    ) -> HttpResponseBase:
        """As `act`, for what is not there yet: `perform` gives it, and the sentence to be shown."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self._asked_once(
            request,
            None,
            form,
            perform,
            refusals,
            title=title,
            verb=verb,
            effects=effects,
            back="../",
        )

    def _asked_once(
        self,
        request: HttpRequest,
        obj: Any,
        form: forms.BaseForm,
        perform: Callable[[dict[str, Any]], tuple[Any, str]],
        refusals: tuple[type[Exception], ...],
        **context: Any,
    ) -> HttpResponseBase:
        if request.method == "POST" and form.is_valid():
            try:
                about, done = perform(dict(form.cleaned_data))
            except refusals as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, done)
                return HttpResponseRedirect(way_back(request) or self.address(about))
        return self.render(request, "tollgate/act.html", obj, form=form, **context)


def way_back(request: HttpRequest) -> str:
    """Where the form was, if it was on another page of this site; else empty."""
    address = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(address, {request.get_host()}, request.is_secure())
    return address if safe else ""


def moved_on(request: HttpRequest, *, on: bool) -> bool:
    """Whether a switch is no longer as the page showed it (`was`), so that it must not be turned: a
    second click would turn it back."""
    return request.POST.get("was", "") not in ("", "on" if on else "off")


class LargeTableMixin:
    """For tables of ten million rows: nothing here ever counts them."""

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50


class ReasonForm(forms.Form):
    """Why: it goes into the event that is recorded, so others can read it."""

    reason = forms.CharField(
        max_length=500,
        strip=True,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Recorded with your name in the event, where everybody can read it.",
    )


class SureForm(forms.Form):
    """Nothing to be said, and yet no empty form does anything."""

    sure = forms.CharField(widget=forms.HiddenInput, initial="yes")


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

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        extra = {**(extra_context or {}), "days": neighbours(request)}
        return super().changelist_view(request, extra)  # type: ignore[misc, no-any-return]


def badge(state: str, word: str = "") -> str:
    return render_to_string("tollgate/badge.html", {"state": state, "word": word})
