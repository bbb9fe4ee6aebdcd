"""Feature controls: on or off, the throttle, the cost cap, the levers."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display

from budgets.controls import features
from budgets.exceptions import Refused
from budgets.models import (
    FeatureControl,
)
from opslog.admin.acts import Act, ReasonForm, RowForm, StaffRequest, asked, moved_on
from opslog.admin.base import PageAdmin, badge

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


class FeatureForm(RowForm):
    reason = ReasonForm.base_fields["reason"]

    class Meta:
        model = FeatureControl
        fields: tuple[str, ...] = (*LIMITS, *LEVERS)


class NewFeatureForm(FeatureForm):
    class Meta(FeatureForm.Meta):
        fields = ("feature", *LIMITS, *LEVERS)


def register(request: StaffRequest, _: None, values: dict[str, Any]) -> tuple[FeatureControl, str]:
    name, reason = values.pop("feature"), values.pop("reason")
    made = features.change(name, values, reason=reason, by=request.user.username, only_new=True)
    return made, f"{name} is registered."


def switch(request: StaffRequest, control: FeatureControl, values: dict[str, Any]) -> str:
    if moved_on(request, on=control.enabled):
        raise Refused(f"It is {'on' if control.enabled else 'off'} already.")
    features.change(
        control.feature,
        {"enabled": not control.enabled},
        reason=values["reason"],
        by=request.user.username,
    )
    return "It is off." if control.enabled else "It is on."


def set_levers(request: StaffRequest, control: FeatureControl, values: dict[str, Any]) -> None:
    reason = values.pop("reason")
    changed = {name: new for name, new in values.items() if getattr(control, name) != new}
    # Saved as it is, it is meant to stay as it is: all of it.
    features.change(control.feature, changed or values, reason=reason, by=request.user.username)


@admin.register(FeatureControl)
class FeatureControlAdmin(PageAdmin):
    list_display = ("feature", "state", "throttle", "cap", "changed_by")
    list_before_template = "budgets/features_note.html"
    page_template = "budgets/feature.html"
    search_fields = ("feature",)
    add_permission = "budgets.add_featurecontrol"
    add = Act(
        title="Register a feature",
        form=NewFeatureForm,
        form_kwargs=lambda request, _: asked(request, "feature"),
        effects=("A throttle and a cost cap hold from the next start on.",),
        verb="Register it",
        perform=register,
    )
    acts = {
        "switch": Act(
            title=lambda _, control: (
                f"Switch {control.feature} {'off' if control.enabled else 'on'}"
            ),
            permission="budgets.change_featurecontrol",
            effects=lambda _, control: (
                f"In the last 24 hours: {features.recent(control.feature)}.",
                "From the next start on. What runs may finish and renew, and gets no more money.",
            ),
            danger=lambda _, control: control.enabled,
            verb=lambda _, control: "Switch it off" if control.enabled else "Switch it on",
            perform=switch,
        ),
        "levers": Act(
            title="Throttle, cap and levers of {0.feature}",
            permission="budgets.change_featurecontrol",
            form=FeatureForm,
            verb="Save",
            perform=set_levers,
            done="Saved: the service reads the levers, starts obey the limits.",
        ),
    }

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
        return {
            "control": obj,
            "recent": features.recent(obj.feature),
            "levers": features.levers(obj),
            "may_ask": (obj.requests_per_period or obj.cost_cap_usd)
            and request.user.has_perm("budgets.ask_changerequest"),
        }

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
