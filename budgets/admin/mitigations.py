"""Automatic mitigation: which levers the job may pull, for how long, and what it has done."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.utils import timezone
from unfold.widgets import UnfoldBooleanSwitchWidget

from budgets.controls import automatic_mitigation
from budgets.models import AutomaticMitigation, TimedMitigation
from opslog.admin.acts import Act, ReasonForm, StaffRequest
from opslog.admin.base import PageAdmin, badge, column


class LeverForm(ReasonForm):
    enabled = forms.BooleanField(
        label="Applied by the job", required=False, widget=UnfoldBooleanSwitchWidget(),
        help_text="As soon as an incident with a likely cause proposes it.",
    )  # fmt: skip
    minutes = forms.IntegerField(
        min_value=5, max_value=1440,
        help_text="Then the control is put back as it was.",
    )  # fmt: skip
    field_order = ("enabled", "minutes", "reason")


def set_lever(request: StaffRequest, row: AutomaticMitigation, values: dict[str, Any]) -> str:
    automatic_mitigation.set_lever(
        row.lever, **values, by=request.user.username, now=timezone.now()
    )
    return f"{row}: {'on' if values['enabled'] else 'off'}."


@admin.register(AutomaticMitigation)
class AutomaticMitigationAdmin(PageAdmin):
    list_display = ("lever_told", "state", "minutes", "changed_by", "why")
    list_before_template = "budgets/automatic_note.html"
    page_template = "budgets/automatic.html"
    acts = {
        "settings": Act(
            title="Automatic: {}",
            permission="budgets.change_automaticmitigation",
            form=LeverForm,
            initial=("enabled", "minutes"),
            effects=(
                "The job changes the control without a person, and tells operations.",
                "It puts the control back when the time is over.",
            ),
            verb="Save",
            perform=set_lever,
        )
    }

    def list_context(self, request: StaffRequest) -> dict[str, Any]:
        live = TimedMitigation.objects.filter(ended_at=None).select_related("mitigation")
        may_end = request.user.has_perm("budgets.end_timedmitigation")
        return {"live": list(live), "may_end": may_end}

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
        used = TimedMitigation.objects.filter(lever=obj.lever).select_related("mitigation")
        return {"row": obj, "used": used[:20]}

    lever_told = column("lever", str)

    @display(description="state")
    def state(self, row: AutomaticMitigation) -> str:
        return badge("pending", "automatic") if row.enabled else badge("archived", "by hand")

    why = column("reason", lambda row: row.reason[:120] or "–")


@admin.register(TimedMitigation)
class TimedMitigationAdmin(PageAdmin):
    list_display = ("what", "state", "until", "outcome")
    page_template = "budgets/timed.html"
    acts = {
        "end": Act(
            title="End: {}",
            permission="budgets.end_timedmitigation",
            when=lambda _, timed: timed.ended_at is None,
            effects=("It would end by itself at {0.until:%Y-%m-%d %H:%M} UTC.",),
            verb="Put the control back",
            perform=lambda request, timed, values: automatic_mitigation.end(
                timed.pk, reason=values["reason"], by=request.user.username, now=timezone.now()
            ),
        )
    }

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
        return {"timed": obj}

    what = column("what", str)

    @display(description="state")
    def state(self, timed: TimedMitigation) -> str:
        return badge("archived", "ended") if timed.ended_at else badge("pending", "in force")
