"""Limits and approval rules: everybody reads them; raising one goes through an approval."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest

from budgets.models import ApprovalRule, Limit, Measure
from opslog.admin.base import PageAdmin


@admin.register(Limit)
class LimitAdmin(PageAdmin):
    list_display = ("what", "amount_shown", "scope_shown", "window_shown")
    list_before_template = "budgets/limits_note.html"
    page_template = "budgets/limit.html"
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"limit": obj, "shown": self.amount_shown(obj), "title": sentence(obj)}

    @display(description="limit")
    def what(self, limit: Limit) -> str:
        return sentence(limit)

    @display(description="amount")
    def amount_shown(self, limit: Limit) -> str:
        if limit.amount is None:
            return "off"
        return f"${limit.amount:,.2f}" if limit.measure == "usd" else f"{limit.amount:,.0f}"

    @display(description="for")
    def scope_shown(self, limit: Limit) -> str:
        return Limit.Scope(limit.scope).label

    @display(description="in")
    def window_shown(self, limit: Limit) -> str:
        return Limit.Window(limit.window).label


def sentence(limit: Limit) -> str:
    return {
        ("global", "open", "runs"): "Concurrent runs in all",
        ("global", "day", "usd"): "Spend a day in all",
        ("address", "minute", "runs"): "Calls a minute from one address",
    }.get((limit.scope, limit.window, limit.measure), str(limit))


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(PageAdmin):
    list_display = ("what", "resulting", "signed_by")
    list_before_template = "budgets/rules_note.html"
    page_template = "budgets/rule.html"
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("slots__group")

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "rule": obj,
            "title": f"{obj.get_measure_display()} {interval(obj)}",
            "interval": interval(obj),
            "signed_by": self.signed_by(obj),
        }

    @display(description="raising")
    def what(self, rule: ApprovalRule) -> str:
        return str(Measure(rule.measure).label)

    @display(description="to a resulting cap of")
    def resulting(self, rule: ApprovalRule) -> str:
        return interval(rule)

    @display(description="must be approved by")
    def signed_by(self, rule: ApprovalRule) -> str:
        return " and ".join(
            slot.group.name if slot.count == 1 else f"{slot.count} of {slot.group.name}"
            for slot in sorted(rule.slots.all(), key=lambda slot: slot.group.name)
        )


def interval(rule: ApprovalRule) -> str:
    def told(value: Any) -> str:
        return f"${value:,.2f}" if rule.measure == Measure.USD_PER_DAY else f"{value:,.0f}"

    if rule.maximum is None:
        return f"{told(rule.minimum)} and more"
    return f"{told(rule.minimum)} to {told(rule.maximum)}"
