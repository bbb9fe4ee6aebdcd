"""The circuit breakers: what trips them, and how a person does."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
)

from budgets.controls import breaker
from budgets.exceptions import Refused
from budgets.models import (
    CircuitBreaker,
)
from opslog.admin.base import PageAdmin, ReasonForm, badge
from opslog.pages.meters import Meter


class BreakerForm(ReasonForm):
    open_seconds = forms.IntegerField(
        min_value=1, max_value=86_400, widget=UnfoldAdminIntegerFieldWidget(),
        help_text="How long it stays open before one run may probe.",
    )  # fmt: skip
    probe_seconds = forms.IntegerField(
        min_value=1, max_value=86_400, widget=UnfoldAdminIntegerFieldWidget(),
        help_text="How long that run has to report before the next one may probe.",
    )  # fmt: skip
    recent_runs = forms.IntegerField(
        required=False, min_value=2, max_value=100, widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Work orders: how many ended runs are looked at. Empty: never trips.",
    )  # fmt: skip
    error_percent = forms.IntegerField(
        required=False, min_value=1, max_value=100, widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Work orders: it trips when so many of them ended in an error.",
    )  # fmt: skip
    field_order = ("open_seconds", "probe_seconds", "recent_runs", "error_percent", "reason")


@admin.register(CircuitBreaker)
class CircuitBreakerAdmin(PageAdmin):
    list_display = ("what", "shown", "until", "why")
    list_before_template = "budgets/breaker_board.html"
    page_template = "budgets/breaker.html"
    acts = {"trip": "trip", "reset": "reset", "settings": "change_settings"}
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> Any:
        return breaker.with_due(super().get_queryset(request))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        extra = {**(extra_context or {}), **_pace()}
        return super().changelist_view(request, extra)  # type: ignore[no-any-return]

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        may = request.user.has_perm("budgets.switch_circuitbreaker")
        return {
            "breaker": obj,
            "title": name_of(obj),
            **_pace(),
            "may_trip": may and obj.subject != "*" and obj.state == "closed",
            "may_reset": may and obj.state != "closed",
            "may_set": request.user.has_perm("budgets.change_circuitbreaker"),
        }

    def trip(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return self._switch(request, object_id, opens=True)

    def reset(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return self._switch(request, object_id, opens=False)

    def _switch(self, request: HttpRequest, object_id: str, *, opens: bool) -> HttpResponseBase:
        if not request.user.has_perm("budgets.switch_circuitbreaker"):
            raise PermissionDenied
        found = self.thing(request, object_id)

        def perform(said: dict[str, Any]) -> str:
            act = breaker.trip if opens else breaker.reset
            act(
                found.scope,
                found.subject,
                reason=said["reason"],
                by=request.user.get_username(),
            )
            return "It is open: nothing starts." if opens else "It is closed: runs start again."

        return self.act(
            request,
            found,
            form=ReasonForm,
            perform=perform,
            refusals=(Refused,),
            title=f"{'Trip' if opens else 'Reset'}: {name_of(found)}",
            verb="Open it" if opens else "Close it",
            danger=opens,
            effects=(
                f"Nothing starts for {found.open_seconds} s; then one run probes."
                if opens
                else "Runs start again at once; it trips anew when it has to.",
            ),
        )

    def change_settings(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_circuitbreaker"):
            raise PermissionDenied
        found = self.thing(request, object_id)
        names = ("open_seconds", "probe_seconds", "recent_runs", "error_percent")

        def form(data: Any = None) -> BreakerForm:
            return BreakerForm(data, initial={name: getattr(found, name) for name in names})

        def perform(said: dict[str, Any]) -> str:
            breaker.set_rules(
                found.pk,
                **{name: said[name] for name in names},
                reason=said["reason"],
                by=request.user.get_username(),
            )
            return "Saved."

        return self.act(
            request,
            found,
            form=form,
            perform=perform,
            refusals=(Refused,),
            title=f"Settings: {name_of(found)}",
            verb="Save",
        )

    @display(description="breaker")
    def what(self, found: CircuitBreaker) -> str:
        return name_of(found)

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

    @display(description="reason")
    def why(self, found: CircuitBreaker) -> str:
        return found.reason[:120] or "–"


def name_of(found: CircuitBreaker) -> str:
    if found.scope == CircuitBreaker.Scope.GLOBAL:
        return "Circuit breaker of everything"
    return "When work orders trip" if found.subject == "*" else f"Work order {found.subject}"


def _pace() -> dict[str, Any]:
    now = breaker.committed()
    return {"pace": now, "pace_meter": Meter(now.settled_usd, now.held_usd, now.trips_at)}
