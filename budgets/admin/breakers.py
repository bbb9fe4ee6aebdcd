"""The circuit breakers: what trips them, and how a person does."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest

from budgets.controls import breaker
from budgets.models import (
    CircuitBreaker,
)
from opslog.admin.acts import Act, ReasonForm
from opslog.admin.base import PageAdmin, badge, column
from opslog.pages.charts import Meter


class BreakerForm(ReasonForm):
    open_seconds = forms.IntegerField(
        min_value=1, max_value=86_400,
        help_text="How long it stays open before one run may probe.",
    )  # fmt: skip
    probe_seconds = forms.IntegerField(
        min_value=1, max_value=86_400,
        help_text="How long that run has to report before the next one may probe.",
    )  # fmt: skip
    recent_runs = forms.IntegerField(
        required=False, min_value=2, max_value=100,
        help_text="Work orders: how many ended runs are looked at. Empty: never trips.",
    )  # fmt: skip
    error_percent = forms.IntegerField(
        required=False, min_value=1, max_value=100,
        help_text="Work orders: it trips when so many of them ended in an error.",
    )  # fmt: skip
    field_order = ("open_seconds", "probe_seconds", "recent_runs", "error_percent", "reason")


def name_of(found: CircuitBreaker) -> str:
    if found.scope == CircuitBreaker.Scope.GLOBAL:
        return "Circuit breaker of everything"
    return "When work orders trip" if found.subject == "*" else f"Work order {found.subject}"


@admin.register(CircuitBreaker)
class CircuitBreakerAdmin(PageAdmin):
    list_display = ("what", "shown", "until", "why")
    list_before_template = "budgets/breaker_board.html"
    page_template = "budgets/breaker.html"
    acts = {
        "trip": Act(
            title=lambda _, found: f"Trip: {name_of(found)}",
            permission="budgets.switch_circuitbreaker",
            when=lambda _, found: found.subject != "*" and found.state == "closed",
            effects=("Nothing starts for {0.open_seconds} s; then one run probes.",),
            danger=True,
            verb="Open it",
            perform=lambda request, found, values: breaker.trip(
                found.scope, found.subject, reason=values["reason"], by=request.user.username
            ),
            done="It is open: nothing starts.",
        ),
        "reset": Act(
            title=lambda _, found: f"Reset: {name_of(found)}",
            permission="budgets.switch_circuitbreaker",
            when=lambda _, found: found.state != "closed",
            effects=("Runs start again at once; it trips anew when it has to.",),
            verb="Close it",
            perform=lambda request, found, values: breaker.reset(
                found.scope, found.subject, reason=values["reason"], by=request.user.username
            ),
            done="It is closed: runs start again.",
        ),
        "settings": Act(
            title=lambda _, found: f"Settings: {name_of(found)}",
            permission="budgets.change_circuitbreaker",
            form=BreakerForm,
            initial=("open_seconds", "probe_seconds", "recent_runs", "error_percent"),
            verb="Save",
            perform=lambda request, found, values: breaker.set_rules(
                found.pk, **values, by=request.user.username
            ),
            done="Saved.",
        ),
    }

    def get_queryset(self, request: HttpRequest) -> Any:
        return breaker.with_due(super().get_queryset(request))

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        return _pace()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"breaker": obj, "title": name_of(obj), **_pace()}

    what = column("breaker", name_of)

    @display(description="state")
    def shown(self, found: Any) -> str:
        if found.subject == "*":
            return "–"
        if found.due:
            return badge("pending", "next start probes")
        state = {"closed": "live", "open": "error", "half_open": "pending"}[found.state]
        return badge(state, found.state.replace("_", "-"))

    @display(description="probes from (UTC)")
    def until(self, found: Any) -> str:
        waits = found.state == "open" and not found.due
        return f"{found.half_open_at:%H:%M:%S}" if waits else "–"

    why = column("reason", lambda found: found.reason[:120] or "–")


def _pace() -> dict[str, Any]:
    now = breaker.committed()
    return {"pace": now, "pace_meter": Meter(now.settled_usd, now.held_usd, now.trips_at)}
