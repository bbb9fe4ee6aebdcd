"""Alerts, the checks of a batch before it starts, and direct spend."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest
from django.template.loader import render_to_string

from budgets.admission import preflight
from budgets.models import (
    Alert,
    DirectSpend,
    PreflightRule,
)
from opslog.admin.acts import Act, ReasonForm
from opslog.admin.base import LargeTableMixin, PageAdmin, badge, column, moments


@admin.register(Alert)
class AlertAdmin(PageAdmin):
    list_display = ("when", "severity_shown", "kind", "message", "told")
    list_display_links = ("when", "message")
    list_filter = ("kind",)
    search_fields = ("message",)
    page_template = "budgets/alert.html"
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

    when = moments("created_at", "when", seconds=True)

    @display(description="severity")
    def severity_shown(self, alert: Alert) -> str:
        return render_to_string("budgets/severity.html", {"severity": alert.severity})

    @display(description="people")
    def told(self, alert: Alert) -> str:
        return badge("live", "notified") if alert.told_at else badge("pending", "not yet notified")


class RuleForm(ReasonForm):
    warning_over = forms.DecimalField(
        required=False, min_value=0, decimal_places=2, max_digits=18,
        help_text="Empty: never.",
    )  # fmt: skip
    error_over = forms.DecimalField(
        required=False, min_value=0, decimal_places=2, max_digits=18,
        help_text="Empty: never.",
    )  # fmt: skip
    alert = forms.BooleanField(required=False, help_text="Tell people when it does not pass.")
    field_order = ("warning_over", "error_over", "alert", "reason")


@admin.register(PreflightRule)
class PreflightRuleAdmin(PageAdmin):
    list_display = ("check_shown", "warning_over", "error_over", "alert")
    page_template = "budgets/preflight_rule.html"
    acts = {
        "change-rule": Act(
            title="Pre-flight: {}",
            permission="budgets.change_preflightrule",
            form=RuleForm,
            initial=("warning_over", "error_over", "alert"),
            verb="Save",
            perform=lambda request, rule, values: preflight.set_rule(
                rule.pk, **values, by=request.user.username
            ),
            done="Saved.",
        )
    }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"rule": obj}

    check_shown = column("check", str)


@admin.register(DirectSpend)
class DirectSpendAdmin(LargeTableMixin, PageAdmin):
    list_display = ("when", "cost_usd", "model", "tokens", "user_id", "feature", "surface")
    page_template = "budgets/direct_spend.html"

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"spend": obj}

    when = moments("at", "when", seconds=True)
