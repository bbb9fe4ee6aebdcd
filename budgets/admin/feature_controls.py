"""Feature controls: on or off, the throttle, the cost cap, the levers."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from budgets.controls import features
from budgets.exceptions import Refused
from budgets.models import (
    FeatureControl,
)
from opslog.admin.base import PageAdmin, ReasonForm, badge, moved_on

LEVERS = (
    "max_rounds",
    "max_context_messages",
    "max_tool_retries",
    "auto_save_interval_ms",
    "undo_rate_limit",
    "undo_rate_period",
    "round_timeout_ms",
    "total_timeout_ms",
    "max_tool_result_bytes",
    "tool_breaker_failures",
    "tool_breaker_seconds",
    "substitute_model",
    "mock_provider",
    "clarification",
)
LIMITS = ("requests_per_period", "period", "cost_cap_usd")


class FeatureForm(forms.ModelForm):  # type: ignore[type-arg]
    reason = ReasonForm.base_fields["reason"]

    class Meta:
        model = FeatureControl
        fields = (*LIMITS, *LEVERS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if isinstance(field.widget, forms.Select):
                field.widget = UnfoldAdminSelectWidget(choices=field.choices)  # type: ignore[attr-defined]
            elif name not in ("reason", "mock_provider", "clarification"):
                field.widget = UnfoldAdminTextInputWidget()


class NewFeatureForm(FeatureForm):
    class Meta(FeatureForm.Meta):
        fields = ("feature", *LIMITS, *LEVERS)  # type: ignore[assignment]


@admin.register(FeatureControl)
class FeatureControlAdmin(PageAdmin):
    list_display = ("feature", "state", "throttle", "cap", "changed_by")
    list_before_template = "budgets/features_note.html"
    page_template = "budgets/feature.html"
    acts = {"switch": "switch", "levers": "levers"}
    search_fields = ("feature",)
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("budgets.add_featurecontrol"))

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "control": obj,
            "recent": features.recent(obj.feature),
            "levers": features.levers(obj),
            "may": request.user.has_perm("budgets.change_featurecontrol"),
            "may_ask": (obj.requests_per_period or obj.cost_cap_usd)
            and request.user.has_perm("budgets.ask_changerequest"),
        }

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        asked = {"feature": request.GET.get("feature", "")}

        def perform(said: dict[str, Any]) -> tuple[FeatureControl, str]:
            name, reason = said.pop("feature"), said.pop("reason")
            made = features.change(name, said, reason=reason, by=request.user.get_username())
            return made, f"{name} is registered."

        return self.make(
            request,
            NewFeatureForm(request.POST or None, initial=asked),
            perform=perform,
            refusals=(Refused,),
            title="Register a feature",
            verb="Register it",
            effects=("A throttle and a cost cap hold from the next start on.",),
        )

    def switch(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_featurecontrol"):
            raise PermissionDenied
        found = self.thing(request, object_id)
        recent = features.recent(found.feature)

        def perform(said: dict[str, Any]) -> str:
            if moved_on(request, on=found.enabled):
                raise Refused(f"It is {'on' if found.enabled else 'off'} already.")
            features.change(
                found.feature,
                {"enabled": not found.enabled},
                reason=said["reason"],
                by=request.user.get_username(),
            )
            return "It is off." if found.enabled else "It is on."

        return self.act(
            request,
            found,
            form=ReasonForm,
            perform=perform,
            refusals=(Refused,),
            title=f"Switch {found.feature} {'off' if found.enabled else 'on'}",
            verb="Switch it off" if found.enabled else "Switch it on",
            danger=found.enabled,
            effects=(
                f"In the last 24 hours: {recent}.",
                "From the next start on. What runs may finish and renew, and gets no more money.",
            ),
        )

    def levers(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_featurecontrol"):
            raise PermissionDenied
        found = self.thing(request, object_id)

        def form(data: Any = None) -> FeatureForm:
            fresh = FeatureControl.objects.get(pk=found.pk)
            return FeatureForm(data, instance=fresh)

        def perform(said: dict[str, Any]) -> str:
            values = dict(said)
            reason = values.pop("reason")
            now = FeatureControl.objects.get(pk=found.pk)
            moved = {name: new for name, new in values.items() if getattr(now, name) != new}
            # Saved as it is, it is meant to stay as it is: all of it.
            values = moved or values
            features.change(found.feature, values, reason=reason, by=request.user.get_username())
            return "Saved: the service reads the levers, starts obey the limits."

        return self.act(
            request,
            found,
            form=form,
            perform=perform,
            refusals=(Refused,),
            title=f"Throttle, cap and levers of {found.feature}",
            verb="Save",
        )

    @display(description="state")
    def state(self, found: FeatureControl) -> str:
        return badge("live", "on") if found.enabled else badge("error", "off")

    @display(description="throttle for each user")
    def throttle(self, found: FeatureControl) -> str:
        if found.requests_per_period is None:
            return "–"
        return f"{found.requests_per_period:,} {found.get_period_display()}"

    @display(description="cost cap")
    def cap(self, found: FeatureControl) -> str:
        return "–" if found.cost_cap_usd is None else f"${found.cost_cap_usd:,.2f} in 60 minutes"
