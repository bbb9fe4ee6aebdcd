"""The alert rules: what each says now; how they are made, from an incident too, and changed."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from budgets.alerts import rules
from budgets.exceptions import Refused
from budgets.models import Alert, AlertRule, Budget
from opslog.admin.base import PageAdmin, ReasonForm, badge
from opslog.models import Incident

NAMES = ("enabled", "severity", "over", "minutes", "at_least", "group")
PERCENT = (AlertRule.Check.ERROR_RATE, AlertRule.Check.LIMIT_USE)
LEAST = (AlertRule.Check.ERROR_RATE, AlertRule.Check.SPREAD)
TIMES = 2  # of what is normal an hour: where a rule about an incident's spend begins


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
        help_text="A number, dollars, or per cent, as the check says. Exactly this is not over it.",
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
    group = forms.ModelChoiceField(
        label="Who is notified",
        queryset=Group.objects.order_by("name"),
        required=False,
        empty_label="operations",
        widget=UnfoldAdminSelectWidget(),
        help_text="The channels of the settings are notified too.",
    )
    field_order: tuple[str, ...] = (*NAMES, "reason")


class NewAlertRuleForm(AlertRuleForm):
    name = forms.CharField(max_length=100, widget=UnfoldAdminTextInputWidget())
    check_name = forms.ChoiceField(
        label="Check", choices=AlertRule.Check.choices, widget=UnfoldAdminSelectWidget()
    )
    budget = forms.ModelChoiceField(
        label="Limit",
        queryset=Budget.objects.order_by("scope", "subject", "window"),
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text="Only for a rule about the use of a limit.",
    )
    feature = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Only for a rule about spend; empty: of all features.",
    )
    field_order = ("name", "check_name", "budget", "feature", *NAMES, "reason")


def over_in_words(rule: AlertRule) -> str:
    """A count, dollars, or per cent."""
    if rule.check_name == AlertRule.Check.SPEND:
        return f"${rule.over:,.2f}"
    return f"{rules.figure(rule.over)}{' %' if rule.check_name in PERCENT else ''}"


def for_incident(pk: str) -> tuple[Incident | None, dict[str, Any]]:
    """What a rule for an incident begins with: twice what is normal an hour, of its feature."""
    incident = Incident.objects.filter(pk=pk).first() if pk.isascii() and pk.isdigit() else None
    if incident is None:
        return None, {"enabled": True, "minutes": 60, "at_least": 1, "severity": "medium"}
    over = max(incident.baseline_usd_per_hour * TIMES, Decimal(1))
    return incident, {
        "name": f"{incident}: {incident.feature or 'all features'}"[:100],
        "check_name": AlertRule.Check.SPEND,
        "feature": incident.feature,
        "over": over.quantize(Decimal("0.01")),
        "minutes": 60,
        "at_least": 1,
        "severity": "high",
        "enabled": True,
    }


@admin.register(AlertRule)
class AlertRuleAdmin(PageAdmin):
    list_display = ("check_shown", "severity_shown", "over_shown", "minutes", "state")
    list_before_template = "budgets/alert_rules_note.html"
    page_template = "budgets/alert_rule.html"
    acts = {"change-rule": "change_rule"}
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("budgets.add_alertrule")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        """Also from an incident (`?incident=3`), with its figures."""
        incident, initial = for_incident(request.GET.get("incident", "")[:18])

        def perform(said: dict[str, Any]) -> tuple[AlertRule, str]:
            reason = said.pop("reason")
            wanted = {**said, "incident": incident.pk if incident else None}
            made = rules.add(wanted, reason=reason, by=request.user.get_username())
            return made, "The rule is judged every minute from now on."

        return self.make(
            request,
            NewAlertRuleForm(request.POST or None, initial=initial),
            perform=perform,
            refusals=(Refused,),
            title=f"Add an alert rule for {incident}" if incident else "Add an alert rule",
            verb="Add it",
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        caps = Budget.objects.filter(scope=Budget.Scope.WORK_ORDER).exclude(alert_percents=[])
        return super().changelist_view(request, {**(extra_context or {}), "caps": caps})  # type: ignore[no-any-return]

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        _, found = rules.measured(obj)
        return {
            "rule": obj,
            "over": over_in_words(obj),
            "has_least": obj.check_name in LEAST,
            "title": obj.name or str(obj).capitalize(),
            "about": Incident.objects.filter(pk=obj.incident).first() if obj.incident else None,
            "finding": rules.judge(obj.check_name, obj.over, obj.minutes, obj.at_least, found),
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
            rules.change(
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
