"""The page of a work order stands here, on the floor that sees both the work and its limits."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from unfold.widgets import (
    UnfoldBooleanSwitchWidget,
)

from budgets import approvals, clock
from budgets.admin.grants import LONGEST_MINUTES, BreakGlassForm
from budgets.approvals.break_glass import LONGEST
from budgets.models import CapChange, Grant, Measure
from budgets.usage import overview, today
from opslog.admin.acts import Act, StaffRequest, Themed
from opslog.admin.base import PageAdmin, badge, choice_filter, column
from opslog.models import OperationsEvent
from opslog.pages.charts import Meter, chart, runs_meter
from opslog.telemetry import change_markers
from workorders import directory
from workorders.models import WORK_ORDER_ID, Run, WorkOrder

DAYS_SHOWN = 30
RECENT_EVENTS = 300
DAILY_BREAD = ("WORK_ORDER_START", "RUN_FINISHED", "RUN_EXTENDED")


class NewWorkOrderForm(Themed, forms.Form):
    title = forms.CharField(max_length=200)
    id = forms.RegexField(
        WORK_ORDER_ID,
        required=False,
        max_length=100,
        help_text="What programs send. Letters, digits and . _ : - only. Empty: made of the title.",
    )
    max_concurrent_runs = forms.IntegerField(
        min_value=1,
        max_value=directory.DEFAULT_CONCURRENT_RUNS,
        initial=directory.DEFAULT_CONCURRENT_RUNS,
        help_text=f"At the same time; {directory.DEFAULT_CONCURRENT_RUNS} at most to begin with.",
    )


class SettingsForm(Themed, forms.Form):
    title = forms.CharField(max_length=200)
    refuse_unknown_agents = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Off: runs of agents that are not registered are admitted, and flagged.",
    )


def used_to(share: Decimal | None) -> Any:
    return lambda _, rows: rows.filter(pk__in=overview.used_to(clock.midnight(), share))


ROOM = choice_filter(
    "room today",
    "room",
    {
        "used": ("used today", used_to(None)),
        "near": ("80 % of a cap or more", used_to(Decimal("0.8"))),
        "full": ("a cap reached", used_to(Decimal(1))),
    },
)


def suspending(request: StaffRequest, work_order: Any) -> tuple[str, ...]:
    usage = today.usage_today(work_order)
    return (
        "Every further start and extension is refused with 409, from the next one on.",
        f"Open runs: {usage.open_runs}. They may finish, and settle what they cost.",
        (
            f"Used today: {usage.runs:,} of {work_order.runs_cap:,.0f} runs, "
            f"${usage.used_usd:,.2f} of ${work_order.usd_cap:,.2f}."
        ),
    )


def resuming(request: StaffRequest, work_order: Any) -> tuple[str, ...]:
    usage = today.usage_today(work_order)
    left = max(work_order.usd_cap - usage.used_usd, 0)
    return (
        "Starts are admitted again, from the next one on.",
        f"Left today: {max(work_order.runs_cap - usage.runs, 0):,.0f} runs, ${left:,.2f}.",
        f"At the same time: {work_order.open_cap:.0f} runs.",
    )


def change_settings(request: StaffRequest, work_order: Any, values: dict[str, Any]) -> str:
    changed = directory.change_settings(work_order.pk, by=request.user.username, **values)
    return "Saved." if changed else "Nothing was changed."


def breaking_glass(request: StaffRequest, work_order: Any) -> tuple[str, ...]:
    usage = today.usage_today(work_order)
    highest = approvals.limit_of(Measure.USD_PER_DAY)
    of_all = approvals.limit_of(Measure.USD_PER_DAY, of_all=True)
    in_force = approvals.in_force(Measure.USD_PER_DAY)
    left = max(highest - usage.used_usd, Decimal(0))
    return (
        (
            f"In force from this moment, for {LONGEST_MINUTES} minutes at most: until "
            f"{timezone.now() + LONGEST:%H:%M} UTC at the latest. "
            "Then the caps of before hold again."
        ),
        (
            f"Now: ${work_order.usd_cap:,.2f} and {work_order.runs_cap:,.0f} runs a day, "
            f"{work_order.open_cap:,.0f} at the same time. Used today: ${usage.used_usd:,.2f} and "
            f"{usage.runs:,} runs."
        ),
        (
            f"Raised to the most that is possible, ${highest:,.2f} a day, up to ${left:,.2f} more "
            f"could be spent today. All break-glass in force together goes up to ${of_all:,.2f} a "
            f"day; ${in_force:,.2f} are in use."
        ),
        (
            "Everybody who decides on cap changes, every administrator and the channels are "
            "notified at once, with your name and reason."
        ),
        (
            "Somebody else must review it within 24 hours. Until then you cannot break the glass "
            "again, nor can anybody on this work order; while a review is overdue, nobody can."
        ),
    )


def break_glass(request: StaffRequest, work_order: Any, values: dict[str, Any]) -> str:
    (first, *_) = approvals.raise_at_once(
        work_order.pk,
        new={measure: values[measure] for measure in approvals.CAPS},
        minutes=values["minutes"],
        reason=values["reason"],
        by=request.user,
    )
    return f"Raised until {first.ends_at:%H:%M} UTC. Somebody else must review it."


@admin.register(WorkOrder)
class WorkOrderAdmin(PageAdmin):
    list_display = ("title", "state", "runs_bar", "usd_bar", "running", "id")
    list_filter = ("status", ROOM)
    search_fields = ("id", "title")
    search_help_text = "a title or an id"
    list_per_page = 50
    ordering = ("title",)
    sortable_by = None
    page_template = "budgets/work_order.html"
    add_permission = "workorders.add_workorder"
    add = Act(
        title="New work order",
        form=NewWorkOrderForm,
        effects=(
            "It begins with the default caps: 100 runs and $2.00 a day.",
            "More is a cap change request, which others approve.",
        ),
        verb="Register",
        perform=lambda request, _, values: directory.register(
            wo_id=values.pop("id"), **values, by=request.user.username
        ),
        done="{0.title} is registered with the default caps.",
    )
    acts = {
        "suspend": Act(
            title="Suspend {0.title}",
            permission="workorders.suspend_workorder",
            effects=suspending,
            danger=True,
            verb="Suspend it now",
            perform=lambda request, work_order, values: directory.suspend(
                work_order.pk, **values, by=request.user.username
            ),
            done="{0.title} is suspended: every further start is refused.",
        ),
        "resume": Act(
            title="Resume {0.title}",
            permission="workorders.suspend_workorder",
            effects=resuming,
            verb="Resume it now",
            perform=lambda request, work_order, values: directory.resume(
                work_order.pk, **values, by=request.user.username
            ),
            done="{0.title} works again.",
        ),
        "settings": Act(
            title="Settings of {0.title}",
            permission="workorders.change_workorder",
            form=SettingsForm,
            initial=("title", "refuse_unknown_agents"),
            verb="Save",
            perform=change_settings,
        ),
        "break-glass": Act(
            title="Break-glass: raise the caps of {0.title} now",
            permission="budgets.break_glass",
            form=BreakGlassForm,
            effects=breaking_glass,
            danger=True,
            verb="Raise now, in front of everybody",
            perform=break_glass,
        ),
    }

    def get_queryset(self, request: HttpRequest) -> Any:
        return overview.with_use(super().get_queryset(request), clock.midnight())

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
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
            "may_break_glass": approvals.holds(request.user, "break_glass"),
            "may_ask": request.user.has_perm("budgets.ask_changerequest"),
        }

    def notable(self, work_order: WorkOrder) -> "QuerySet[OperationsEvent]":
        """Of its last 300 events those that are not the daily bread: a bounded read, however many
        runs there are."""
        events = OperationsEvent.objects.filter(owner_type="work_order", owner_id=work_order.pk)
        last = events.values("pk")[:RECENT_EVENTS]
        return OperationsEvent.objects.filter(pk__in=last).exclude(kind__in=DAILY_BREAD)

    state = column("status", lambda work_order: badge(work_order.status), ordering="status")

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
