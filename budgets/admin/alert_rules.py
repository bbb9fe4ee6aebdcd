"""The alert rules: what each says now; how they are made, from an incident too, and changed."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.template.loader import render_to_string

from budgets.alerts import rules
from budgets.models import Alert, AlertRule, Budget
from opslog.admin.acts import Act, ReasonForm, StaffRequest
from opslog.admin.base import PageAdmin, badge, column
from opslog.models import Incident

NAMES = ("enabled", "severity", "over", "minutes", "at_least", "group")
PERCENT = (AlertRule.Check.ERROR_RATE, AlertRule.Check.LIMIT_USE)
LEAST = (AlertRule.Check.ERROR_RATE, AlertRule.Check.SPREAD)
TIMES = 2  # of what is normal an hour: where a rule about an incident's spend begins


class AlertRuleForm(ReasonForm):
    enabled = forms.BooleanField(required=False)
    severity = forms.ChoiceField(choices=AlertRule.Severity.choices)
    over = forms.DecimalField(
        min_value=Decimal(0),
        decimal_places=2,
        max_digits=10,
        help_text="A number, dollars, or per cent, as the check says. Exactly this is not over it.",
    )
    minutes = forms.IntegerField(min_value=1, max_value=1440)
    at_least = forms.IntegerField(
        min_value=1,
        max_value=1_000_000,
        help_text="Ended runs, or different work orders, below which the rule says nothing.",
    )
    group = forms.ModelChoiceField(
        label="Who is notified",
        queryset=Group.objects.order_by("name"),
        required=False,
        empty_label="operations",
        help_text="The channels of the settings are notified too.",
    )
    field_order: tuple[str, ...] = (*NAMES, "reason")


class NewAlertRuleForm(AlertRuleForm):
    name = forms.CharField(max_length=100)
    check_name = forms.ChoiceField(label="Check", choices=AlertRule.Check.choices)
    budget = forms.ModelChoiceField(
        label="Limit",
        queryset=Budget.objects.order_by("scope", "subject", "window"),
        required=False,
        help_text="Only for a rule about the use of a limit.",
    )
    feature = forms.CharField(
        max_length=200,
        required=False,
        help_text="Only for a rule about spend; empty: of all features.",
    )
    field_order = ("name", "check_name", "budget", "feature", *NAMES, "reason")


def over_in_words(rule: AlertRule) -> str:
    """A count, dollars, or per cent."""
    if rule.check_name == AlertRule.Check.SPEND:
        return f"${rule.over:,.2f}"
    return f"{rules.figure(rule.over)}{' %' if rule.check_name in PERCENT else ''}"


def incident_of(request: HttpRequest) -> Incident | None:
    """A rule is made from an incident too (`?incident=3`), with its figures."""
    pk = request.GET.get("incident", "")[:18]
    return Incident.objects.filter(pk=pk).first() if pk.isascii() and pk.isdigit() else None


def for_incident(incident: Incident | None) -> dict[str, Any]:
    """What a rule begins with: for an incident twice what is normal an hour, of its feature."""
    if incident is None:
        return {"enabled": True, "minutes": 60, "at_least": 1, "severity": "medium"}
    over = max(incident.baseline_usd_per_hour * TIMES, Decimal(1))
    return {
        "name": f"{incident}: {incident.feature or 'all features'}"[:100],
        "check_name": AlertRule.Check.SPEND,
        "feature": incident.feature,
        "over": over.quantize(Decimal("0.01")),
        "minutes": 60,
        "at_least": 1,
        "severity": "high",
        "enabled": True,
    }


def add_title(request: HttpRequest, _: None) -> str:
    incident = incident_of(request)
    return f"Add an alert rule for {incident}" if incident else "Add an alert rule"


def add_rule(request: StaffRequest, _: None, values: dict[str, Any]) -> AlertRule:
    incident, reason = incident_of(request), values.pop("reason")
    wanted = {**values, "incident": incident.pk if incident else None}
    return rules.add(wanted, reason=reason, by=request.user.username)


@admin.register(AlertRule)
class AlertRuleAdmin(PageAdmin):
    list_display = ("check_shown", "severity_shown", "over_shown", "minutes", "state")
    list_before_template = "budgets/alert_rules_note.html"
    page_template = "budgets/alert_rule.html"
    add_permission = "budgets.add_alertrule"
    add = Act(
        title=add_title,
        form=NewAlertRuleForm,
        form_kwargs=lambda request, _: {"initial": for_incident(incident_of(request))},
        verb="Add it",
        perform=add_rule,
        done="The rule is judged every minute from now on.",
    )
    acts = {
        "change-rule": Act(
            title="Alert rule: {}",
            permission="budgets.change_alertrule",
            form=AlertRuleForm,
            initial=NAMES,
            verb="Save",
            perform=lambda request, rule, values: rules.change(
                rule.pk, values, reason=values.pop("reason"), by=request.user.username
            ),
            done="Saved.",
        )
    }

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        caps = Budget.objects.filter(scope=Budget.Scope.WORK_ORDER).exclude(alert_percents=[])
        return {"caps": caps}

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
        }

    check_shown = column("check", str)

    @display(description="severity")
    def severity_shown(self, rule: AlertRule) -> str:
        return render_to_string("budgets/severity.html", {"severity": rule.severity})

    over_shown = column("over", over_in_words)

    @display(description="state")
    def state(self, rule: AlertRule) -> str:
        if rule.firing_since:
            return badge("error", "fires")
        return badge("live", "quiet") if rule.enabled else badge("archived", "off")
