"""Alerts, the checks of a batch before it starts, and direct spend."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.template.loader import render_to_string
from unfold.widgets import (
    UnfoldAdminTextInputWidget,
)

from budgets.admission import preflight
from budgets.exceptions import Refused
from budgets.models import (
    Alert,
    DirectSpend,
    PreflightRule,
)
from opslog.admin.base import LargeTableMixin, PageAdmin, ReasonForm, badge


@admin.register(Alert)
class AlertAdmin(PageAdmin):
    list_display = ("when", "severity_shown", "kind", "message", "told")
    list_display_links = ("when", "message")
    list_filter = ("kind",)
    search_fields = ("message",)
    page_template = "budgets/alert.html"
    sortable_by = ()
    list_per_page = 50

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        about = f"the {obj.owner_type.replace('_', ' ')}"
        of_cost = obj.kind in (Alert.Kind.COST_SURPRISE, Alert.Kind.COST_REFUSED)
        return {
            "alert": obj,
            "title": obj.message,
            "about": about,
            "may_correct": obj.kind == Alert.Kind.COST_SURPRISE
            and request.user.has_perm("budgets.correct_cost"),
            "may_revoke": of_cost
            and obj.meta.get("tokenId")
            and request.user.has_perm("workorders.revoke_servicetoken"),
        }

    @display(description="when (UTC)")
    def when(self, alert: Alert) -> str:
        return f"{alert.created_at:%Y-%m-%d %H:%M:%S}"

    @display(description="severity")
    def severity_shown(self, alert: Alert) -> str:
        return render_to_string("budgets/severity.html", {"severity": alert.severity})

    @display(description="people")
    def told(self, alert: Alert) -> str:
        return badge("live", "notified") if alert.told_at else badge("pending", "not yet notified")


class RuleForm(ReasonForm):
    warning_over = forms.DecimalField(
        required=False, min_value=0, decimal_places=2, max_digits=18,
        widget=UnfoldAdminTextInputWidget(), help_text="Empty: never.",
    )  # fmt: skip
    error_over = forms.DecimalField(
        required=False, min_value=0, decimal_places=2, max_digits=18,
        widget=UnfoldAdminTextInputWidget(), help_text="Empty: never.",
    )  # fmt: skip
    alert = forms.BooleanField(required=False, help_text="Tell people when it does not pass.")
    field_order = ("warning_over", "error_over", "alert", "reason")


@admin.register(PreflightRule)
class PreflightRuleAdmin(PageAdmin):
    list_display = ("check_shown", "warning_over", "error_over", "alert")
    page_template = "budgets/preflight_rule.html"
    acts = {"change-rule": "change_rule"}
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        may = request.user.has_perm("budgets.change_preflightrule")
        return {"rule": obj, "may": may, "title": str(obj)}

    def change_rule(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_preflightrule"):
            raise PermissionDenied
        rule = self.thing(request, object_id)
        names = ("warning_over", "error_over", "alert")

        def form(data: Any = None) -> RuleForm:
            return RuleForm(data, initial={name: getattr(rule, name) for name in names})

        def perform(said: dict[str, Any]) -> str:
            preflight.set_rule(
                rule.pk,
                **{name: said[name] for name in names},
                reason=said["reason"],
                by=request.user.get_username(),
            )
            return "Saved."

        return self.act(
            request,
            rule,
            form=form,
            perform=perform,
            refusals=(Refused,),
            title=f"Pre-flight: {rule}",
            verb="Save",
        )

    @display(description="check")
    def check_shown(self, rule: PreflightRule) -> str:
        return str(rule)


@admin.register(DirectSpend)
class DirectSpendAdmin(LargeTableMixin, PageAdmin):
    list_display = ("when", "cost_usd", "model", "tokens", "user_id", "feature", "surface")
    page_template = "budgets/direct_spend.html"
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"spend": obj, "title": str(obj)}

    @display(description="when (UTC)")
    def when(self, spend: DirectSpend) -> str:
        return f"{spend.at:%Y-%m-%d %H:%M:%S}"
