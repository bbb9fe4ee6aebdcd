"""Approval rules: everybody reads them; administrators replace those of one measure as a whole."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.forms import BaseFormSet, formset_factory
from django.http import HttpRequest, HttpResponseBase
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
)

from budgets import approvals
from budgets.approvals import rule_changes, rules
from budgets.approvals.needs import current_rules
from budgets.exceptions import Refused
from budgets.models import ApprovalRule, Measure
from opslog.admin.acts import ReasonForm, Themed
from opslog.admin.base import PageAdmin, column

SPARE_ROWS = 2


class RuleForm(Themed, forms.Form):
    """One interval, both ends included, and how many of each group must sign."""

    minimum = forms.DecimalField(
        label="From",
        decimal_places=2,
        max_digits=12,
    )
    maximum = forms.DecimalField(
        label="To (or empty)",
        required=False,
        decimal_places=2,
        max_digits=12,
    )

    def __init__(self, *args: Any, groups: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups = groups
        for name in groups:
            self.fields[f"slot_{name}"] = forms.IntegerField(
                label=name,
                required=False,
                min_value=0,
                max_value=9,
                widget=UnfoldAdminIntegerFieldWidget(),
            )

    def rule(self, measure: str) -> rules.Rule:
        data = self.cleaned_data
        slots = {name: data[f"slot_{name}"] for name in self.groups if data[f"slot_{name}"]}
        return rules.Rule(measure, data["minimum"], data["maximum"], slots)


RuleFormSet = formset_factory(RuleForm, extra=SPARE_ROWS, can_delete=True, max_num=20)


class WhyForm(ReasonForm):
    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Recorded in the event with the rules before and after, and sent to everybody "
        "who votes.",
    )


def interval(rule: ApprovalRule | rules.Rule) -> str:
    def formatted(value: Decimal) -> str:
        return f"${value:,.2f}" if rule.measure == Measure.USD_PER_DAY else f"{value:,.0f}"

    if rule.maximum is None:
        return f"{formatted(rule.minimum)} and more"
    return f"{formatted(rule.minimum)} to {formatted(rule.maximum)}"


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(PageAdmin):
    list_display = ("what", "resulting", "signed_by")
    list_before_template = "budgets/rules_note.html"
    page_template = "budgets/rule.html"
    views = ("replace",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("slots__group")

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        return {
            "may_replace": may_replace(request),
            "first_rules": ApprovalRule.objects.order_by("measure", "minimum").distinct("measure"),
            "impossible": approvals.impossible_requests(),
        }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "rule": obj,
            "title": f"{obj.get_measure_display()} {interval(obj)}",
            "interval": interval(obj),
            "signed_by": self.signed_by(obj),
            "may_replace": may_replace(request),
        }

    def replace(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """All rules of the measure at once: one by one there would be gaps in between."""
        if not may_replace(request):
            raise PermissionDenied
        rule = self.row(request, object_id)
        measure = rule.measure
        groups = list(
            Group.objects.filter(permissions__codename="decide_changerequest")
            .order_by("name")
            .values_list("name", flat=True)
        )
        before = [each for each in current_rules() if each.measure == measure]
        posted = request.POST if request.method == "POST" else None
        rows = RuleFormSet(
            posted,
            prefix="rules",
            initial=[_initial(each) for each in before],
            form_kwargs={"groups": groups},
        )
        why = WhyForm(posted)
        problems: list[str] = []
        done = False
        wanted: list[rules.Rule] = []
        if posted is not None and rows.is_valid() & why.is_valid():
            wanted = _wanted(rows, measure)
            try:
                rule_changes.replace(
                    measure,
                    wanted,
                    by=request.user,  # type: ignore[arg-type]  # logged in
                    reason=why.cleaned_data["reason"],
                )
                done = True
            except Refused as error:
                problems = [f"{each.rstrip('.')}." for each in str(error).split(". ")]
        return self.render(
            request,
            "budgets/rules_form.html",
            rule,
            title=f"Approval rules for {Measure(measure).label}",
            rows=rows,
            why=why,
            groups=groups,
            problems=problems,
            done=done,
            before=[_told(each) for each in before],
            after=[_told(each) for each in sorted(wanted, key=lambda each: each.minimum)],
        )

    what = column("raising", lambda rule: str(Measure(rule.measure).label))
    resulting = column("to a resulting cap of", interval)

    @display(description="must be approved by")
    def signed_by(self, rule: ApprovalRule) -> str:
        return signers({slot.group.name: slot.count for slot in rule.slots.all()})


def may_replace(request: HttpRequest) -> bool:
    """The group, as the domain asks for it: not who is a superuser."""
    return request.user.groups.filter(name="administrator").exists()


def signers(slots: Mapping[str, int]) -> str:
    return " and ".join(
        name if number == 1 else f"{number} of {name}" for name, number in sorted(slots.items())
    )


def _told(rule: rules.Rule) -> dict[str, str]:
    return {"interval": interval(rule), "signed_by": signers(rule.slots)}


def _initial(rule: rules.Rule) -> dict[str, Any]:
    step = "1" if rule.measure != Measure.USD_PER_DAY else "0.01"
    shown = {
        "minimum": rule.minimum.quantize(Decimal(step)),
        "maximum": None if rule.maximum is None else rule.maximum.quantize(Decimal(step)),
    }
    return {**shown, **{f"slot_{name}": number for name, number in rule.slots.items()}}


def _wanted(rows: "BaseFormSet[RuleForm]", measure: str) -> list[rules.Rule]:
    """The rows that are filled in and not ticked for removal."""
    return [
        row.rule(measure)
        for row in rows.forms
        if row.cleaned_data.get("minimum") is not None and not row.cleaned_data.get("DELETE")
    ]
