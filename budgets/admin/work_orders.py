"""The page of a work order stands here, on the floor that sees both the work and its limits."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from budgets import approvals, clock
from budgets.admin.grants import LONGEST_MINUTES, BreakGlassForm
from budgets.approvals.break_glass import LONGEST
from budgets.exceptions import Refused
from budgets.models import CapChange, Grant, Measure
from budgets.usage import overview, today
from opslog.admin.base import PageAdmin, ReasonForm, badge
from opslog.exceptions import NotAllowedNow
from opslog.models import OperationsEvent
from opslog.pages.charts import chart
from opslog.pages.meters import Meter, runs_meter
from opslog.telemetry import change_markers
from workorders import directory
from workorders.exceptions import AlreadyExists
from workorders.models import WORK_ORDER_ID, Run, WorkOrder

DAYS_SHOWN = 30
RECENT_EVENTS = 300
DAILY_BREAD = ("WORK_ORDER_START", "RUN_FINISHED", "RUN_EXTENDED")


class NewWorkOrderForm(forms.Form):
    title = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget())
    id = forms.RegexField(
        WORK_ORDER_ID,
        required=False,
        max_length=100,
        widget=UnfoldAdminTextInputWidget(),
        help_text="What programs send. Letters, digits and . _ : - only. Empty: made of the title.",
    )
    max_concurrent_runs = forms.IntegerField(
        min_value=1,
        max_value=directory.DEFAULT_CONCURRENT_RUNS,
        initial=directory.DEFAULT_CONCURRENT_RUNS,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=f"At the same time; {directory.DEFAULT_CONCURRENT_RUNS} at most to begin with.",
    )


class SettingsForm(forms.Form):
    title = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget())
    refuse_unknown_agents = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Off: runs of agents that are not registered are admitted, and flagged.",
    )


class RoomFilter(admin.SimpleListFilter):
    title = "room today"
    parameter_name = "room"

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, str], ...]:
        return (
            ("used", "used today"),
            ("near", "80 % of a cap or more"),
            ("full", "a cap reached"),
        )

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "used":
            return queryset.filter(pk__in=overview.used_to(clock.midnight()))
        if self.value() == "near":
            return queryset.filter(pk__in=overview.used_to(clock.midnight(), Decimal("0.8")))
        if self.value() == "full":
            return queryset.filter(pk__in=overview.used_to(clock.midnight(), Decimal(1)))
        return queryset


@admin.register(WorkOrder)
class WorkOrderAdmin(PageAdmin):
    list_display = ("title", "state", "runs_bar", "usd_bar", "running", "id")
    list_filter = ("status", RoomFilter)
    search_fields = ("id", "title")
    search_help_text = "a title or an id"
    list_per_page = 50
    ordering = ("title",)
    page_template = "budgets/work_order.html"
    acts = {
        "suspend": "suspend",
        "resume": "resume",
        "settings": "settings",
        "break-glass": "break_glass",
    }

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("workorders.add_workorder")

    def get_queryset(self, request: HttpRequest) -> Any:
        return overview.with_use(super().get_queryset(request), clock.midnight())

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewWorkOrderForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            told = form.cleaned_data
            try:
                made = directory.register(
                    title=told["title"],
                    wo_id=told["id"],
                    max_concurrent_runs=told["max_concurrent_runs"],
                    by=request.user.get_username(),
                )
            except (AlreadyExists, NotAllowedNow) as error:
                form.add_error(None, str(error))
            else:
                self.message_user(request, f"{made.title} is registered with the default caps.")
                return HttpResponseRedirect(self.address(made))
        return self.render(
            request,
            "tollgate/act.html",
            None,
            title="New work order",
            form=form,
            verb="Register",
            back="../",
            effects=(
                "It begins with the default caps: 100 runs and $2.00 a day.",
                "More is a cap change request, which others approve.",
            ),
        )

    def suspend(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        work_order = self._to_act_on(request, object_id, "workorders.suspend_workorder")
        usage = today.usage_today(work_order)
        by = request.user.get_username()

        def perform(told: dict[str, Any]) -> str:
            directory.suspend(work_order.pk, by=by, reason=told["reason"])
            return f"{work_order.title} is suspended: every further start is refused."

        return self.act(
            request,
            work_order,
            form=ReasonForm,
            perform=perform,
            refusals=(NotAllowedNow,),
            title=f"Suspend {work_order.title}",
            verb="Suspend it now",
            danger=True,
            effects=(
                "Every further start and extension is refused with 409, from the next one on.",
                f"Open runs: {usage.open_runs}. They may finish, and settle what they cost.",
                (
                    f"Used today: {usage.runs:,} of {work_order.runs_cap:,.0f} runs, "
                    f"${usage.used_usd:,.2f} of ${work_order.usd_cap:,.2f}."
                ),
            ),
        )

    def resume(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        work_order = self._to_act_on(request, object_id, "workorders.suspend_workorder")
        usage = today.usage_today(work_order)
        left = max(work_order.usd_cap - usage.used_usd, 0)
        by = request.user.get_username()

        def perform(told: dict[str, Any]) -> str:
            directory.resume(work_order.pk, by=by, reason=told["reason"])
            return f"{work_order.title} works again."

        return self.act(
            request,
            work_order,
            form=ReasonForm,
            perform=perform,
            refusals=(NotAllowedNow,),
            title=f"Resume {work_order.title}",
            verb="Resume it now",
            effects=(
                "Starts are admitted again, from the next one on.",
                f"Left today: {max(work_order.runs_cap - usage.runs, 0):,.0f} runs, ${left:,.2f}.",
                f"At the same time: {work_order.open_cap:.0f} runs.",
            ),
        )

    def settings(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        work_order = self._to_act_on(request, object_id, "workorders.change_workorder")
        by = request.user.get_username()

        def perform(told: dict[str, Any]) -> str:
            changed = directory.change_settings(work_order.pk, by=by, **told)
            return "Saved." if changed else "Nothing was changed."

        def form(data: Any = None) -> SettingsForm:
            return SettingsForm(
                data,
                initial={
                    "title": work_order.title,
                    "refuse_unknown_agents": work_order.refuse_unknown_agents,
                },
            )

        return self.act(
            request,
            work_order,
            form=form,
            perform=perform,
            refusals=(NotAllowedNow,),
            title=f"Settings of {work_order.title}",
            verb="Save",
        )

    def break_glass(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        work_order = self._to_act_on(request, object_id, "budgets.break_glass")
        usage = today.usage_today(work_order)
        highest = approvals.limit_of(Measure.USD_PER_DAY)
        of_all = approvals.limit_of(Measure.USD_PER_DAY, of_all=True)
        in_force = approvals.in_force(Measure.USD_PER_DAY)
        left = max(highest - usage.used_usd, Decimal(0))
        latest = timezone.now() + LONGEST

        def perform(told: dict[str, Any]) -> str:
            (first, *_) = approvals.raise_at_once(
                work_order.pk,
                new={measure: told[measure] for measure in approvals.CAPS},
                minutes=told["minutes"],
                reason=told["reason"],
                by=request.user,  # type: ignore[arg-type]  # logged in
            )
            return f"Raised until {first.ends_at:%H:%M} UTC. Somebody else must review it."

        return self.act(
            request,
            work_order,
            form=BreakGlassForm,
            perform=perform,
            refusals=(Refused,),
            title=f"Break-glass: raise the caps of {work_order.title} now",
            verb="Raise now, in front of everybody",
            danger=True,
            effects=(
                (
                    f"In force from this moment, for {LONGEST_MINUTES} minutes at most: until "
                    f"{latest:%H:%M} UTC at the latest. Then the caps of before hold again."
                ),
                (
                    f"Now: ${work_order.usd_cap:,.2f} and {work_order.runs_cap:,.0f} runs a day, "
                    f"{work_order.open_cap:,.0f} at the same time. Used today: "
                    f"${usage.used_usd:,.2f} and {usage.runs:,} runs."
                ),
                (
                    f"Raised to the most that is possible, ${highest:,.2f} a day, up to "
                    f"${left:,.2f} more could be spent today. All break-glass in force together "
                    f"goes up to ${of_all:,.2f} a day; ${in_force:,.2f} are in use."
                ),
                (
                    "Everybody who decides on cap changes, every administrator and the channels "
                    "are told at once, with your name and reason."
                ),
                (
                    "Somebody else must review it within 24 hours. Until then you cannot break "
                    "the glass again, nor can anybody on this work order; while a review is "
                    "overdue, nobody can."
                ),
            ),
        )

    def _to_act_on(self, request: HttpRequest, object_id: str, permission: str) -> Any:
        if not request.user.has_perm(permission):
            raise PermissionDenied
        return self.thing(request, object_id)

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        usage = today.usage_today(obj)
        begins = usage.reset_at - timedelta(days=1)
        days = overview.use_by_day("work_order", obj.pk, begins, days=DAYS_SHOWN)
        pending = approvals.waiting().filter(subject_type="work_order", subject_id=obj.pk).first()
        return {
            "work_order": obj,
            "title": obj.title,
            "usage": usage,
            "usd_meter": Meter(usage.settled_usd, usage.reserved_usd, obj.usd_cap),
            "runs_meter": runs_meter(usage.runs, usage.open_today, int(obj.runs_cap)),
            "refusals": overview.refusals_since(begins, wo_id=obj.pk),
            "calibration": today.calibration(obj.pk),
            "usd_chart": chart(
                [(day.day, day.usd) for day in days],
                [("cap", obj.usd_cap, "now")],
                unit="usd",
                markers=change_markers.for_days([day.day for day in days]),
            ),
            "runs": Run.objects.filter(wo=obj).order_by("-started_at")[:10],
            "events": self.notable(obj)[:8],
            "cap_changes": CapChange.objects.filter(wo=obj)[:5],
            "grants": Grant.objects.in_force().filter(wo=obj),
            "pending": pending,
            "slots": overview.signatures(pending) if pending else (),
            "may_suspend": request.user.has_perm("workorders.suspend_workorder"),
            "may_break_glass": approvals.holds(request.user, "break_glass"),
            "may_ask": request.user.has_perm("budgets.ask_changerequest"),
            "may_change": request.user.has_perm("workorders.change_workorder"),
        }

    def notable(self, work_order: WorkOrder) -> "QuerySet[OperationsEvent]":
        """Of its last 300 events those that are not the daily bread: a bounded read, however many
        runs there are."""
        told = OperationsEvent.objects.filter(owner_type="work_order", owner_id=work_order.pk)
        last = told.values("pk")[:RECENT_EVENTS]
        return OperationsEvent.objects.filter(pk__in=last).exclude(kind__in=DAILY_BREAD)

    @display(description="status", ordering="status")
    def state(self, work_order: WorkOrder) -> str:
        return badge(work_order.status)

    @display(description="runs today", ordering=F("runs_today") / F("runs_cap"))
    def runs_bar(self, work_order: WorkOrder) -> str:
        about = {"meter": overview.runs_meter_of(work_order), "of": f"{work_order.pk} runs"}
        return render_to_string("tollgate/meter.html", {**about, "small": True})

    @display(description="USD today", ordering=F("used_usd_today") / F("usd_cap"))
    def usd_bar(self, work_order: WorkOrder) -> str:
        about = {"meter": overview.usd_meter_of(work_order), "of": f"{work_order.pk} usd"}
        return render_to_string("tollgate/meter.html", {**about, "small": True})

    @display(description="open runs", ordering="open_now")
    def running(self, work_order: Any) -> str:
        return f"{work_order.open_now:.0f} of {work_order.open_cap:.0f}"
