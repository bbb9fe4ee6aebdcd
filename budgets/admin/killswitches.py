"""The kill switch: one big switch for each scope, with who, when and why."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone

from budgets.controls import kill_switch
from budgets.exceptions import Refused
from budgets.models import (
    KillSwitch,
)
from opslog.admin.acts import Act, ReasonForm, StaffRequest, asked, moved_on
from opslog.admin.base import PageAdmin, badge, column, moments
from workorders.models import Run


class SwitchForm(ReasonForm):
    scope = forms.ChoiceField(choices=KillSwitch.Scope.choices)
    target = forms.CharField(
        required=False,
        max_length=200,
        help_text="The surface; or user:…, agent:…, token:… (its prefix). Empty for everything.",
    )
    field_order = ("scope", "target", "reason")


def stop(request: StaffRequest, _: None, values: dict[str, Any]) -> tuple[KillSwitch, str]:
    if not kill_switch.may_switch(values["scope"], person=request.user):
        raise ValidationError({"scope": "A director switches everything, and surfaces."})
    made, stops = kill_switch.switch(
        **values, enabled=True, by=request.user.username, person=request.user
    )
    return made, f"{made} is stopped: {stops.running} runs were under way."


def turn(request: StaffRequest, switch: KillSwitch, values: dict[str, Any]) -> str:
    if moved_on(request, on=switch.enabled):
        raise Refused(f"It is {'stopped' if switch.enabled else 'lifted'} already.")
    kill_switch.switch(
        switch.scope,
        switch.target,
        enabled=not switch.enabled,
        reason=values["reason"],
        by=request.user.username,
        person=request.user,
    )
    return "Lifted: starts are admitted again." if switch.enabled else "It is stopped."


def stopping(request: StaffRequest, _: None) -> tuple[str, ...]:
    scope, target = (request.GET.get(name, "") for name in ("scope", "target"))
    stops = kill_switch.effect(scope or "Global", target)
    return (
        "From the next start on everything that it names is refused.",
        "Running work is stopped when it extends or renews its lease; it can still finish.",
        f"In the last 24 hours: {stops.runs} runs, {stops.running} of them under way now"
        + ("." if scope else ", if everything is stopped."),
    )


def turning(request: StaffRequest, switch: KillSwitch) -> tuple[str, ...]:
    stops = kill_switch.effect(switch.scope, switch.target)
    return (f"It matches {stops.runs} runs of the last 24 hours; {stops.running} run now.",)


@admin.register(KillSwitch)
class KillSwitchAdmin(PageAdmin):
    list_display = ("what", "state", "changed_by", "when", "why")
    list_before_template = "budgets/killswitch_board.html"
    page_template = "budgets/killswitch.html"
    add = Act(
        title="Switch on a kill switch",
        form=SwitchForm,
        form_kwargs=lambda request, _: asked(request, "scope", "target"),
        effects=stopping,
        danger=True,
        verb="Stop it",
        perform=stop,
    )
    acts = {
        "switch": Act(
            title=lambda _, switch: f"{'Lift' if switch.enabled else 'Switch on'}: {switch}",
            allows=lambda request, switch: kill_switch.may_switch(
                switch.scope, person=request.user
            ),
            effects=turning,
            danger=lambda _, switch: not switch.enabled,
            verb=lambda _, switch: "Lift it" if switch.enabled else "Stop it",
            perform=turn,
        )
    }

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("budgets.stop_identity") or request.user.has_perm(
            "budgets.stop_everything"
        )

    def list_context(self, request: StaffRequest) -> dict[str, Any]:
        day_ago = timezone.now() - timedelta(hours=24)
        surfaces = (
            Run.objects.filter(started_at__gte=day_ago).exclude(surface="")
            .values_list("surface", flat=True).distinct().order_by("surface")[:8]
        )  # fmt: skip
        return {
            "everything": KillSwitch.objects.filter(scope="Global").first(),
            "stops": kill_switch.effect("Global", ""),
            "on": [each for each in kill_switch.in_force() if each.scope != "Global"],
            "surfaces": list(surfaces),
            "may_all": request.user.has_perm("budgets.stop_everything"),
            "may_one": request.user.has_perm("budgets.stop_identity"),
        }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"switch": obj, "stops": kill_switch.effect(obj.scope, obj.target)}

    what = column("stops", str)

    @display(description="state")
    def state(self, switch: KillSwitch) -> str:
        return badge("error", "stopped") if switch.enabled else badge("live", "lifted")

    when = moments("changed_at", "changed")
    why = column("reason", lambda switch: switch.reason[:120])
