"""Model calls as they were reported, and which of their two costs counts."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import SimpleListFilter, display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.widgets import UnfoldAdminRadioSelectWidget

from opslog.admin.base import DayByDayMixin, LargeTableMixin, PageAdmin, ReasonForm, by_day
from opslog.admin.hours import FeatureChosen, ModelChosen
from opslog.models import CostPreference, InferenceEvent
from opslog.pages.figures import figure
from opslog.telemetry import costs
from opslog.telemetry.spend_hours import hour_of
from opslog.templatetags.tollgate import usd

PREFER = "opslog.change_costpreference"
WEEK = timedelta(days=7)


class CostFilter(SimpleListFilter):
    title = "cost"
    parameter_name = "cost"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unknown", "unknown"), ("differs", "sender and price book differ")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "unknown":
                return queryset.filter(cost_usd=None)
            case "differs":
                return queryset.filter(costs.DIFFER)
        return queryset


@admin.register(InferenceEvent)
class InferenceEventAdmin(DayByDayMixin, LargeTableMixin, PageAdmin):
    list_display = (
        *("when", "feature", "model", "source", "input_tokens", "output_tokens"),
        *("counts", "of_sender", "computed"),
    )
    list_display_links = ("when",)
    list_filter = (CostFilter, "source", FeatureChosen, ModelChosen, by_day("created_at"))
    list_before_template = "tollgate/calls_note.html"
    page_template = "tollgate/call.html"
    ordering = ("-created_at", "-id")
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> Any:
        """A filter without a day would look through all there are."""
        rows = super().get_queryset(request)
        if "cost" in request.GET and not request.GET.get("day"):
            return rows.filter(created_at__gte=timezone.now() - WEEK)
        return rows

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "call": obj,
            "title": f"Call of {obj.model or 'an unknown model'}",
            "apart": share_apart(obj),
        }

    @display(description="made (UTC)")
    def when(self, call: InferenceEvent) -> str:
        return f"{call.created_at:%Y-%m-%d %H:%M:%S}"

    @display(description="cost")
    def counts(self, call: InferenceEvent) -> str:
        return "unknown" if call.cost_usd is None else cost(call, "cost_usd")

    @display(description="sender's")
    def of_sender(self, call: InferenceEvent) -> str:
        return cost(call, "sender_cost_usd")

    @display(description="price book's")
    def computed(self, call: InferenceEvent) -> str:
        return cost(call, "computed_cost_usd")


class PreferForm(ReasonForm):
    wins = forms.ChoiceField(
        label="Cost that counts",
        choices=CostPreference.Wins.choices,
        widget=UnfoldAdminRadioSelectWidget,
    )
    field_order = ("wins", "reason")


@admin.register(CostPreference)
class CostPreferenceAdmin(PageAdmin):
    list_display = ("__str__",)
    page_template = "tollgate/cost_preference.html"
    acts = {"prefer": "prefer"}
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        found = costs.differing(hour_of(timezone.now()) - WEEK)
        rows = reverse("admin:opslog_inferenceevent_changelist")
        return {
            "preference": obj,
            "title": "Cost of reported calls",
            "may": request.user.has_perm(PREFER),
            "differing": [
                (each, f"{rows}?{urlencode({'cost': 'differs', 'model': each.model})}")
                for each in found
            ],
            "every": sum(each.differing for each in found),
            "rows_url": f"{rows}?cost=differs",
        }

    def prefer(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm(PREFER):
            raise PermissionDenied
        preference = self.thing(request, object_id)

        def form(data: Any = None) -> PreferForm:
            return PreferForm(data, initial={"wins": preference.wins})

        def perform(said: dict[str, Any]) -> str:
            changed = costs.prefer(
                said["wins"], by=request.user.get_username(), reason=said["reason"]
            )
            return f"{changed}. It holds for calls reported from now on."

        return self.act(
            request,
            preference,
            form=form,
            perform=perform,
            refusals=(ValueError,),
            title="Change which cost counts",
            verb="Save",
            effects=(
                "Calls reported from now on count at this cost, where both are known.",
                "Calls that were reported before keep theirs.",
                "Budgets do not change: telemetry never counts against a limit.",
            ),
        )


def cost(call: InferenceEvent, column: str) -> str:
    value = getattr(call, column)
    return format_html(
        '<span data-of="{}">{}</span>', call.pk, figure(f"calls.{column}", value, usd(value))
    )


def share_apart(call: InferenceEvent) -> Decimal | None:
    """How far the two costs are apart, as a share of the larger one."""
    sender, computed = call.sender_cost_usd, call.computed_cost_usd
    if sender is None or computed is None or not (larger := max(sender, computed)):
        return None
    return Decimal(abs(sender - computed)) / larger
