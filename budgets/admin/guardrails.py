"""Kill switches, circuit breakers, feature controls, alerts, pre-flight: what stops a runaway."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from budgets import breaker, features, killswitch, preflight
from budgets.exceptions import Refused
from budgets.models import (
    Alert,
    CircuitBreaker,
    DirectSpend,
    FeatureControl,
    KillSwitch,
    PreflightRule,
)
from opslog.admin.base import LargeTableMixin, PageAdmin, ReasonForm, badge
from opslog.meters import Meter
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
            "stops": killswitch.effect("Global", ""),
            "on": [each for each in killswitch.in_force() if each.scope != "Global"],
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
            if not killswitch.may_switch(said["scope"], person=request.user):
                form.add_error("scope", "A director switches everything, and surfaces.")
            else:
                try:
                    made, stops = killswitch.switch(
                        said["scope"],
                        said["target"],
                        enabled=True,
                        reason=said["reason"],
                        by=request.user.get_username(),
                    )
                except Refused as error:
                    form.add_error(None, str(error))
                else:
                    messages.success(
                        request, f"{made} is stopped: {stops.running} runs were under way."
                    )
                    return HttpResponseRedirect(self.address(made))
        stops = killswitch.effect(asked["scope"] or "Global", asked["target"])
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
            "stops": killswitch.effect(obj.scope, obj.target),
            "may": killswitch.may_switch(obj.scope, person=request.user),
        }

    def switch(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not may_stop(request):
            raise PermissionDenied
        found = self.thing(request, object_id)
        if not killswitch.may_switch(found.scope, person=request.user):
            raise PermissionDenied
        stops = killswitch.effect(found.scope, found.target)

        def perform(said: dict[str, Any]) -> str:
            killswitch.switch(
                found.scope,
                found.target,
                enabled=not found.enabled,
                reason=said["reason"],
                by=request.user.get_username(),
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


class BreakerForm(ReasonForm):
    open_seconds = forms.IntegerField(
        min_value=1, max_value=86_400, widget=UnfoldAdminIntegerFieldWidget(),
        help_text="How long it stays open before one run may probe.",
    )  # fmt: skip
    recent_runs = forms.IntegerField(
        required=False, min_value=2, max_value=100, widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Work orders: how many ended runs are looked at. Empty: never trips.",
    )  # fmt: skip
    error_percent = forms.IntegerField(
        required=False, min_value=1, max_value=100, widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Work orders: it trips when so many of them ended in an error.",
    )  # fmt: skip
    field_order = ("open_seconds", "recent_runs", "error_percent", "reason")


@admin.register(CircuitBreaker)
class CircuitBreakerAdmin(PageAdmin):
    list_display = ("what", "shown", "until", "why")
    list_before_template = "budgets/breaker_board.html"
    page_template = "budgets/breaker.html"
    acts = {"trip": "trip", "reset": "reset", "settings": "change_settings"}
    sortable_by = ()

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
        names = ("open_seconds", "recent_runs", "error_percent")

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
    def shown(self, found: CircuitBreaker) -> str:
        if found.subject == "*":
            return "–"
        state = {"closed": "live", "open": "error", "half_open": "pending"}[found.state]
        return badge(state, found.state.replace("_", "-"))

    @display(description="probes from (UTC)")
    def until(self, found: CircuitBreaker) -> str:
        return f"{found.half_open_at:%H:%M:%S}" if found.state == "open" else "–"

    @display(description="reason")
    def why(self, found: CircuitBreaker) -> str:
        return found.reason[:120] or "–"


def name_of(found: CircuitBreaker) -> str:
    if found.scope == CircuitBreaker.Scope.GLOBAL:
        return "Circuit breaker of everything"
    return "When work orders trip" if found.subject == "*" else f"Work order {found.subject}"


def _pace() -> dict[str, Any]:
    now = breaker.committed()
    return {"pace": now, "pace_meter": Meter(now.usd, now.usd * 0, now.trips_at)}


LEVERS = (
    "max_rounds",
    "max_context_messages",
    "max_tool_retries",
    "auto_save_interval_ms",
    "undo_rate_limit",
    "undo_rate_period",
    "tool_timeout_ms",
    "round_timeout_ms",
    "max_tool_result_bytes",
    "tool_breaker_failures",
    "tool_breaker_seconds",
    "substitute_model",
    "mock_provider",
    "clarification",
)
LIMITS = ("requests_per_period", "period", "cost_cap_usd")


class FeatureForm(forms.ModelForm):  # type: ignore[type-arg]
    reason = ReasonForm.base_fields["reason"]

    class Meta:
        model = FeatureControl
        fields = (*LIMITS, *LEVERS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if isinstance(field.widget, forms.Select):
                field.widget = UnfoldAdminSelectWidget(choices=field.choices)  # type: ignore[attr-defined]
            elif name not in ("reason", "mock_provider", "clarification"):
                field.widget = UnfoldAdminTextInputWidget()


class NewFeatureForm(FeatureForm):
    class Meta(FeatureForm.Meta):
        fields = ("feature", *LIMITS, *LEVERS)  # type: ignore[assignment]


@admin.register(FeatureControl)
class FeatureControlAdmin(PageAdmin):
    list_display = ("feature", "state", "throttle", "cap", "changed_by")
    list_before_template = "budgets/features_note.html"
    page_template = "budgets/feature.html"
    acts = {"switch": "switch", "levers": "levers"}
    search_fields = ("feature",)
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("budgets.add_featurecontrol"))

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "control": obj,
            "recent": features.recent(obj.feature),
            "levers": features.levers(obj),
            "may": request.user.has_perm("budgets.change_featurecontrol"),
            "may_ask": (obj.requests_per_period or obj.cost_cap_usd)
            and request.user.has_perm("budgets.ask_changerequest"),
        }

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        if not self.has_add_permission(request):
            raise PermissionDenied
        asked = {"feature": request.GET.get("feature", "")}
        form = NewFeatureForm(request.POST or None, initial=asked)
        if request.method == "POST" and form.is_valid():
            said = dict(form.cleaned_data)
            name, reason = said.pop("feature"), said.pop("reason")
            try:
                made = features.change(name, said, reason=reason, by=request.user.get_username())
            except Refused as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"{name} is registered.")
                return HttpResponseRedirect(self.address(made))
        return self.render(
            request,
            "tollgate/act.html",
            None,
            title="Register a feature",
            form=form,
            verb="Register it",
            effects=("A throttle and a cost cap hold from the next start on.",),
            back="../",
        )

    def switch(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_featurecontrol"):
            raise PermissionDenied
        found = self.thing(request, object_id)
        recent = features.recent(found.feature)

        def perform(said: dict[str, Any]) -> str:
            features.change(
                found.feature,
                {"enabled": not found.enabled},
                reason=said["reason"],
                by=request.user.get_username(),
            )
            return "It is off." if found.enabled else "It is on."

        return self.act(
            request,
            found,
            form=ReasonForm,
            perform=perform,
            refusals=(Refused,),
            title=f"Switch {found.feature} {'off' if found.enabled else 'on'}",
            verb="Switch it off" if found.enabled else "Switch it on",
            danger=found.enabled,
            effects=(
                f"It had {recent.runs} runs and ${recent.usd:,.2f} in the last 24 hours.",
                "From the next start on. What runs may finish and renew, and gets no more money.",
            ),
        )

    def levers(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_featurecontrol"):
            raise PermissionDenied
        found = self.thing(request, object_id)

        def form(data: Any = None) -> FeatureForm:
            fresh = FeatureControl.objects.get(pk=found.pk)
            return FeatureForm(data, instance=fresh)

        def perform(said: dict[str, Any]) -> str:
            values = dict(said)
            reason = values.pop("reason")
            features.change(found.feature, values, reason=reason, by=request.user.get_username())
            return "Saved: the service reads the levers, starts obey the limits."

        return self.act(
            request,
            found,
            form=form,
            perform=perform,
            refusals=(Refused,),
            title=f"Throttle, cap and levers of {found.feature}",
            verb="Save",
        )

    @display(description="state")
    def state(self, found: FeatureControl) -> str:
        return badge("live", "on") if found.enabled else badge("error", "off")

    @display(description="throttle for each user")
    def throttle(self, found: FeatureControl) -> str:
        if found.requests_per_period is None:
            return "–"
        return f"{found.requests_per_period:,} {found.get_period_display()}"

    @display(description="cost cap")
    def cap(self, found: FeatureControl) -> str:
        return "–" if found.cost_cap_usd is None else f"${found.cost_cap_usd:,.2f} in 60 minutes"


@admin.register(Alert)
class AlertAdmin(PageAdmin):
    list_display = ("when", "kind", "message", "told")
    list_filter = ("kind",)
    search_fields = ("message",)
    page_template = "budgets/alert.html"
    sortable_by = ()
    list_per_page = 50

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"alert": obj, "title": obj.message}

    @display(description="when (UTC)")
    def when(self, alert: Alert) -> str:
        return f"{alert.created_at:%Y-%m-%d %H:%M:%S}"

    @display(description="people")
    def told(self, alert: Alert) -> str:
        return badge("live", "told") if alert.told_at else badge("pending", "to be told")


class RuleForm(ReasonForm):
    warning_over = forms.DecimalField(
        required=False, min_value=0, decimal_places=2, max_digits=18,
        widget=UnfoldAdminTextInputWidget(), help_text="Empty: never.",
    )  # fmt: skip
    error_over = forms.DecimalField(
        required=False, min_value=0, decimal_places=2, max_digits=18,
        widget=UnfoldAdminTextInputWidget(), help_text="Empty: never.",
    )  # fmt: skip
    alert = forms.BooleanField(required=False, help_text="Tell people when it does not pass.")
    field_order = ("warning_over", "error_over", "alert", "reason")


@admin.register(PreflightRule)
class PreflightRuleAdmin(PageAdmin):
    list_display = ("check_shown", "warning_over", "error_over", "alert")
    page_template = "budgets/preflight_rule.html"
    acts = {"change-rule": "change_rule"}
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        may = request.user.has_perm("budgets.change_preflightrule")
        return {"rule": obj, "may": may, "title": str(obj)}

    def change_rule(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_preflightrule"):
            raise PermissionDenied
        rule = self.thing(request, object_id)
        names = ("warning_over", "error_over", "alert")

        def form(data: Any = None) -> RuleForm:
            return RuleForm(data, initial={name: getattr(rule, name) for name in names})

        def perform(said: dict[str, Any]) -> str:
            preflight.set_rule(
                rule.pk,
                **{name: said[name] for name in names},
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
            title=f"Pre-flight: {rule}",
            verb="Save",
        )

    @display(description="check")
    def check_shown(self, rule: PreflightRule) -> str:
        return str(rule)


@admin.register(DirectSpend)
class DirectSpendAdmin(LargeTableMixin, PageAdmin):
    list_display = ("when", "cost_usd", "model", "tokens", "user_id", "feature", "surface")
    page_template = "budgets/direct_spend.html"
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"spend": obj, "title": str(obj)}

    @display(description="when (UTC)")
    def when(self, spend: DirectSpend) -> str:
        return f"{spend.at:%Y-%m-%d %H:%M:%S}"
