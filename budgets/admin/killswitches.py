"""The kill switch: one big switch for each scope, with who, when and why."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from budgets.controls import kill_switch
from budgets.exceptions import Refused
from budgets.models import (
    KillSwitch,
)
from opslog.admin.base import PageAdmin, ReasonForm, badge, moved_on, way_back
from workorders.models import Run


def may_stop(request: HttpRequest) -> bool:
    return bool(
        request.user.has_perm("budgets.stop_identity")
        or request.user.has_perm("budgets.stop_everything")
    )


class SwitchForm(ReasonForm):
    scope = forms.ChoiceField(choices=KillSwitch.Scope.choices, widget=UnfoldAdminSelectWidget())
    target = forms.CharField(
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget(),
        help_text="The surface; or user:…, agent:…, token:… (its prefix). Empty for everything.",
    )
    field_order = ("scope", "target", "reason")


@admin.register(KillSwitch)
class KillSwitchAdmin(PageAdmin):
    list_display = ("what", "state", "changed_by", "when", "why")
    list_before_template = "budgets/killswitch_board.html"
    page_template = "budgets/killswitch.html"
    acts = {"switch": "switch"}
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_stop(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        day_ago = timezone.now() - timedelta(hours=24)
        surfaces = (
            Run.objects.filter(started_at__gte=day_ago).exclude(surface="")
            .values_list("surface", flat=True).distinct().order_by("surface")[:8]
        )  # fmt: skip
        everything = KillSwitch.objects.filter(scope="Global").first()
        extra = {
            **(extra_context or {}),
            "everything": everything,
            "stops": kill_switch.effect("Global", ""),
            "on": [each for each in kill_switch.in_force() if each.scope != "Global"],
            "surfaces": list(surfaces),
            "may_all": request.user.has_perm("budgets.stop_everything"),
            "may_one": request.user.has_perm("budgets.stop_identity"),
        }
        return super().changelist_view(request, extra)  # type: ignore[no-any-return]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        if not may_stop(request):
            raise PermissionDenied
        asked = {name: request.GET.get(name, "") for name in ("scope", "target")}
        form = SwitchForm(request.POST or None, initial=asked)
        if request.method == "POST" and form.is_valid():
            said = form.cleaned_data
            if not kill_switch.may_switch(said["scope"], person=request.user):
                form.add_error("scope", "A director switches everything, and surfaces.")
            else:
                try:
                    made, stops = kill_switch.switch(
                        said["scope"],
                        said["target"],
                        enabled=True,
                        reason=said["reason"],
                        by=request.user.get_username(),
                        person=request.user,  # type: ignore[arg-type]  # logged in
                    )
                except Refused as error:
                    form.add_error(None, str(error))
                else:
                    messages.success(
                        request, f"{made} is stopped: {stops.running} runs were under way."
                    )
                    return HttpResponseRedirect(way_back(request) or self.address(made))
        stops = kill_switch.effect(asked["scope"] or "Global", asked["target"])
        return self.render(
            request,
            "tollgate/act.html",
            None,
            title="Switch on a kill switch",
            form=form,
            verb="Stop it",
            danger=True,
            effects=(
                "From the next start on everything that it names is refused.",
                "What runs is stopped when it extends or renews its lease; finishing is possible.",
                f"In the last 24 hours: {stops.runs} runs, {stops.running} of them under way now"
                + ("." if asked["scope"] else ", if everything is stopped."),
            ),
            back="../",
        )

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "switch": obj,
            "stops": kill_switch.effect(obj.scope, obj.target),
            "may": kill_switch.may_switch(obj.scope, person=request.user),
        }

    def switch(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not may_stop(request):
            raise PermissionDenied
        found = self.thing(request, object_id)
        if not kill_switch.may_switch(found.scope, person=request.user):
            raise PermissionDenied
        stops = kill_switch.effect(found.scope, found.target)

        def perform(said: dict[str, Any]) -> str:
            if moved_on(request, on=found.enabled):
                raise Refused(f"It is {'stopped' if found.enabled else 'lifted'} already.")
            kill_switch.switch(
                found.scope,
                found.target,
                enabled=not found.enabled,
                reason=said["reason"],
                by=request.user.get_username(),
                person=request.user,  # type: ignore[arg-type]  # logged in
            )
            return "Lifted: starts are admitted again." if found.enabled else "It is stopped."

        return self.act(
            request,
            found,
            form=ReasonForm,
            perform=perform,
            refusals=(Refused,),
            title=f"{'Lift' if found.enabled else 'Switch on'}: {found}",
            verb="Lift it" if found.enabled else "Stop it",
            danger=not found.enabled,
            effects=(
                f"It matches {stops.runs} runs of the last 24 hours; {stops.running} run now.",
            ),
        )

    @display(description="stops")
    def what(self, switch: KillSwitch) -> str:
        return str(switch)

    @display(description="state")
    def state(self, switch: KillSwitch) -> str:
        return badge("error", "stopped") if switch.enabled else badge("live", "lifted")

    @display(description="changed (UTC)")
    def when(self, switch: KillSwitch) -> str:
        return f"{switch.changed_at:%Y-%m-%d %H:%M}"

    @display(description="reason")
    def why(self, switch: KillSwitch) -> str:
        return switch.reason[:120]
