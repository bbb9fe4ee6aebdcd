"""The alert rules: what each says now, and how an administrator changes it."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
)

from budgets import alert_rules
from budgets.exceptions import Refused
from budgets.models import Alert, AlertRule, Budget
from opslog.admin.base import PageAdmin, ReasonForm, badge

NAMES = ("enabled", "severity", "over", "minutes", "at_least")


class AlertRuleForm(ReasonForm):
    enabled = forms.BooleanField(required=False)
    severity = forms.ChoiceField(
        choices=AlertRule.Severity.choices, widget=UnfoldAdminSelectWidget()
    )
    over = forms.DecimalField(
        min_value=Decimal(0),
        decimal_places=2,
        max_digits=10,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Exactly this many is not over it. Of the error rate: per cent.",
    )
    minutes = forms.IntegerField(
        min_value=1, max_value=1440, widget=UnfoldAdminIntegerFieldWidget()
    )
    at_least = forms.IntegerField(
        min_value=1,
        max_value=1_000_000,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Ended runs, or different work orders, below which the rule says nothing.",
    )
    field_order = (*NAMES, "reason")


def over_in_words(rule: AlertRule) -> str:
    """A count, or of the error rate per cent."""
    unit = " %" if rule.check_name == AlertRule.Check.ERROR_RATE else ""
    return f"{alert_rules.figure(rule.over)}{unit}"


@admin.register(AlertRule)
class AlertRuleAdmin(PageAdmin):
    list_display = ("check_shown", "severity_shown", "over_shown", "minutes", "state")
    list_before_template = "budgets/alert_rules_note.html"
    page_template = "budgets/alert_rule.html"
    acts = {"change-rule": "change_rule"}
    sortable_by = ()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        caps = Budget.objects.filter(scope=Budget.Scope.WORK_ORDER).exclude(alert_percents=[])
        return super().changelist_view(request, {**(extra_context or {}), "caps": caps})  # type: ignore[no-any-return]

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        _, found = alert_rules.measured(obj.minutes)
        return {
            "rule": obj,
            "over": over_in_words(obj),
            "has_least": obj.check_name != AlertRule.Check.REFUSALS,
            "title": str(obj).capitalize(),
            "finding": alert_rules.judge(
                obj.check_name, obj.over, obj.minutes, obj.at_least, found
            ),
            "alerts": Alert.objects.filter(owner_type="alert_rule", owner_id=str(obj.pk))[:8],
            "may": request.user.has_perm("budgets.change_alertrule"),
        }

    def change_rule(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_alertrule"):
            raise PermissionDenied
        rule = self.thing(request, object_id)

        def form(data: Any = None) -> AlertRuleForm:
            return AlertRuleForm(data, initial={name: getattr(rule, name) for name in NAMES})

        def perform(said: dict[str, Any]) -> str:
            alert_rules.change(
                rule.pk,
                {name: said[name] for name in NAMES},
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
            title=f"Alert rule: {rule}",
            verb="Save",
        )

    @display(description="check")
    def check_shown(self, rule: AlertRule) -> str:
        return str(rule)

    @display(description="severity")
    def severity_shown(self, rule: AlertRule) -> str:
        return render_to_string("budgets/severity.html", {"severity": rule.severity})

    @display(description="over")
    def over_shown(self, rule: AlertRule) -> str:
        return over_in_words(rule)

    @display(description="state")
    def state(self, rule: AlertRule) -> str:
        if rule.firing_since:
            return badge("error", "fires")
        return badge("live", "quiet") if rule.enabled else badge("archived", "off")
