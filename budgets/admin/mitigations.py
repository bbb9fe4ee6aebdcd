"""Automatic mitigation: which levers the job may pull, for how long, and what it has done."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldBooleanSwitchWidget

from budgets.controls import automatic_mitigation
from budgets.exceptions import Refused
from budgets.models import AutomaticMitigation, TimedMitigation
from opslog.admin.base import PageAdmin, ReasonForm, badge


class LeverForm(ReasonForm):
    enabled = forms.BooleanField(
        label="Applied by the job", required=False, widget=UnfoldBooleanSwitchWidget(),
        help_text="As soon as an incident with a likely cause proposes it.",
    )  # fmt: skip
    minutes = forms.IntegerField(
        min_value=5, max_value=1440, widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Then the control is put back as it was.",
    )  # fmt: skip
    field_order = ("enabled", "minutes", "reason")


@admin.register(AutomaticMitigation)
class AutomaticMitigationAdmin(PageAdmin):
    list_display = ("lever_told", "state", "minutes", "changed_by", "why")
    list_before_template = "budgets/automatic_note.html"
    page_template = "budgets/automatic.html"
    acts = {"settings": "change_settings"}
    sortable_by = ()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        live = TimedMitigation.objects.filter(ended_at=None).select_related("mitigation")
        extra = {
            **(extra_context or {}),
            "live": list(live),
            "may_end": request.user.has_perm("budgets.end_timedmitigation"),
        }
        return super().changelist_view(request, extra)  # type: ignore[no-any-return]

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "row": obj,
            "may": request.user.has_perm("budgets.change_automaticmitigation"),
            "used": TimedMitigation.objects.filter(lever=obj.lever).select_related("mitigation")[
                :20
            ],
        }

    def change_settings(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_automaticmitigation"):
            raise PermissionDenied
        row = self.thing(request, object_id)

        def perform(said: dict[str, Any]) -> str:
            automatic_mitigation.set_lever(
                row.lever,
                enabled=said["enabled"],
                minutes=said["minutes"],
                reason=said["reason"],
                by=request.user.get_username(),
                now=timezone.now(),
            )
            return f"{row}: {'on' if said['enabled'] else 'off'}."

        return self.act(
            request,
            row,
            form=lambda data=None: LeverForm(
                data, initial={"enabled": row.enabled, "minutes": row.minutes}
            ),
            perform=perform,
            refusals=(Refused,),
            title=f"Automatic: {row}",
            verb="Save",
            effects=(
                "The job changes the control without a person, and tells operations.",
                "It puts the control back when the time is over.",
            ),
        )

    @display(description="lever")
    def lever_told(self, row: AutomaticMitigation) -> str:
        return str(row)

    @display(description="state")
    def state(self, row: AutomaticMitigation) -> str:
        return badge("pending", "automatic") if row.enabled else badge("archived", "by hand")

    @display(description="reason")
    def why(self, row: AutomaticMitigation) -> str:
        return row.reason[:120] or "–"


@admin.register(TimedMitigation)
class TimedMitigationAdmin(PageAdmin):
    list_display = ("what", "state", "until", "outcome")
    page_template = "budgets/timed.html"
    acts = {"end": "end"}
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        may = request.user.has_perm("budgets.end_timedmitigation")
        return {"timed": obj, "may_end": may and obj.ended_at is None}

    def end(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.end_timedmitigation"):
            raise PermissionDenied
        timed = self.thing(request, object_id)

        def perform(said: dict[str, Any]) -> str:
            return automatic_mitigation.end(
                timed.pk, reason=said["reason"], by=request.user.get_username(), now=timezone.now()
            )

        return self.act(
            request,
            timed,
            form=ReasonForm,
            perform=perform,
            refusals=(Refused,),
            title=f"End: {timed}",
            verb="Put the control back",
            effects=(f"It would end by itself at {timed.until:%Y-%m-%d %H:%M} UTC.",),
        )

    @display(description="what")
    def what(self, timed: TimedMitigation) -> str:
        return str(timed)

    @display(description="state")
    def state(self, timed: TimedMitigation) -> str:
        return badge("archived", "ended") if timed.ended_at else badge("pending", "in force")
