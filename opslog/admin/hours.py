"""The sums of each hour, which the forecast and the triage read: the rows behind their figures."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter, display
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html

from opslog.admin.base import DayByDayMixin, KeptAdmin, LargeTableMixin, by_day
from opslog.models import InferenceHour, UnreadSpan
from opslog.pages.figures import figure
from opslog.templatetags.tollgate import usd


class ChosenFilter(SimpleListFilter):
    """One value, by the links of other pages; shown only where it is chosen. An empty value is one
    as well: calls whose feature or model was not reported."""

    parameter_name: str

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = request.GET.get(self.parameter_name)
        return [] if chosen is None else [(chosen, chosen[:60] or "not reported")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        chosen = self.value()
        return queryset if chosen is None else queryset.filter(**{self.parameter_name: chosen})


class FeatureChosen(ChosenFilter):
    title = parameter_name = "feature"


class ModelChosen(ChosenFilter):
    title = parameter_name = "model"


class TriggerChosen(ChosenFilter):
    title = "trigger"
    parameter_name = "trigger_type"


@admin.register(InferenceHour)
class InferenceHourAdmin(DayByDayMixin, LargeTableMixin, KeptAdmin):
    list_display = (
        *("when", "feature", "model", "trigger_type", "requests", "failed", "cost"),
        *("without_a_price", "apart"),
    )
    list_display_links = ("when",)
    list_filter = (FeatureChosen, ModelChosen, TriggerChosen, by_day("hour"))
    ordering = ("-hour", "-cost_usd")
    list_before_template = "tollgate/hours_note.html"
    sortable_by = ()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        week = timezone.now() - timedelta(days=7)
        unread = UnreadSpan.objects.filter(lost__gt=0, last_seen__gte=week)
        extra = {**(extra_context or {}), "unread": unread.count()}
        return super().changelist_view(request, extra)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="hour (UTC)")
    def when(self, row: InferenceHour) -> str:
        return f"{row.hour:%Y-%m-%d %H:00}"

    @display(description="cost")
    def cost(self, row: InferenceHour) -> str:
        of = f"{row.hour:%Y-%m-%d %H}:{row.feature}:{row.model}:{row.trigger_type}"
        cost = figure("hours.cost_usd", row.cost_usd, usd(row.cost_usd))
        return format_html('<span data-of="{}">{}</span>', of, cost)

    @display(description="not in the cost")
    def without_a_price(self, row: InferenceHour) -> str:
        """Calls without a cost and without a price: unknown is not free."""
        return f"{row.unpriced} of unknown cost" if row.unpriced else ""

    @display(description="two costs")
    def apart(self, row: InferenceHour) -> str:
        return f"{row.differing} differ" if row.differing else ""
