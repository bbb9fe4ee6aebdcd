"""Limits: everybody reads them."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest

from budgets.models import Budget
from opslog.admin.base import PageAdmin


@admin.register(Budget)
class LimitAdmin(PageAdmin):
    list_display = ("what", "amount_shown", "scope_shown", "window_shown")
    list_before_template = "budgets/limits_note.html"
    page_template = "budgets/limit.html"
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"limit": obj, "shown": self.amount_shown(obj), "title": sentence(obj)}

    @display(description="limit")
    def what(self, limit: Budget) -> str:
        return sentence(limit)

    @display(description="amount")
    def amount_shown(self, limit: Budget) -> str:
        if limit.amount is None:
            return "off"
        return f"${limit.amount:,.2f}" if limit.measure == "usd" else f"{limit.amount:,.0f}"

    @display(description="for")
    def scope_shown(self, limit: Budget) -> str:
        return Budget.Scope(limit.scope).label

    @display(description="in")
    def window_shown(self, limit: Budget) -> str:
        return Budget.Window(limit.window).label


def sentence(limit: Budget) -> str:
    return {
        ("global", "open", "runs"): "Concurrent runs in all",
        ("global", "day", "usd"): "Spend a day in all",
        ("address", "minute", "requests"): "Calls a minute from one address",
    }.get((limit.scope, limit.window, limit.measure), str(limit))
