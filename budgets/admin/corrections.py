"""Corrections of costs: made on the page of a run or a call, confirmed here by a second person."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextareaWidget

from budgets.admin import second_factor
from budgets.approvals import corrections
from budgets.exceptions import Refused
from budgets.models import CostCorrection, CostRule
from opslog.admin.base import LargeTableMixin, PageAdmin, ReasonForm, badge
from opslog.confirmed import second_factor_at
from opslog.pages import subjects
from opslog.pricing.money import MAX_USD, usd_text

Of, Status = CostCorrection.Of, CostCorrection.Status
BADGES = {Status.PENDING: "pending", Status.APPLIED: "live"}


class CorrectForm(ReasonForm):
    seen = forms.DecimalField(widget=forms.HiddenInput, max_digits=18, decimal_places=9)
    cost = forms.DecimalField(
        label="True cost, $",
        min_value=Decimal(0),
        max_value=MAX_USD,
        max_digits=18,
        decimal_places=9,
        widget=UnfoldAdminDecimalFieldWidget(),
    )
    field_order = ("seen", "cost", "reason")


class CommentForm(forms.Form):
    note = forms.CharField(
        label="Comment", max_length=500, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )


RULE = ("alert_times", "alert_over_usd", "second_person_over_usd", "floor_usd", "floor_runs")


class CostRuleForm(ReasonForm):
    alert_times = forms.IntegerField(
        label="Alert above this many times the reservation",
        min_value=1,
        max_value=1_000_000,
        widget=UnfoldAdminDecimalFieldWidget(),
    )
    alert_over_usd = forms.DecimalField(
        label="and above, $",
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Direct spend reserves nothing: it is alerted above this amount alone.",
    )
    second_person_over_usd = forms.DecimalField(
        label="A second person confirms corrections over, $",
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget(),
    )
    floor_usd = forms.DecimalField(
        label="A run without an estimate reserves at least, $",
        required=False,
        min_value=Decimal("0.01"),
        max_digits=12,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Empty: the work order's dollars a day ÷ runs a day.",
    )
    floor_runs = forms.IntegerField(
        label="until so many of its runs have succeeded",
        min_value=1,
        max_value=100,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Out of the last 100; from then on it reserves what they cost.",
    )
    field_order = (*RULE, "reason")


@admin.register(CostCorrection)
class CostCorrectionAdmin(LargeTableMixin, PageAdmin):
    list_display = ("what", "about", "state", "asked_by", "asked", "decided_by")
    list_filter = ("status", "of")
    list_select_related = ("asked_by", "decided_by")
    page_template = "budgets/cost_correction.html"
    acts = {"confirm": "confirm", "refuse": "refuse"}
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Made on the page of what it corrects; the list has no button for it."""
        return bool(request.user.has_perm(corrections.PERMISSION)) and bool(
            request.GET.keys() & set(Of.values)
        )

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        may = obj.status == Status.PENDING and request.user.has_perm(corrections.PERMISSION)
        user: Any = request.user
        own = obj.asked_by_id == user.pk
        theirs = own or user.pk in corrections.interested(obj)
        solo = corrections.own_confirmation(obj, user) if may else None
        return {
            "correction": obj,
            "title": str(obj),
            "href": subjects.url_of(obj.of, str(obj.subject_id)),
            "may_confirm": may and (bool(solo) or not theirs),
            "solo_from": solo.from_when(obj.asked_at) if solo else None,
            "may_refuse": may,
            "own": own,
        }

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        if not request.user.has_perm(corrections.PERMISSION):
            raise PermissionDenied
        if not request.GET.keys() & set(Of.values):
            return HttpResponseRedirect("../")  # it is made on the page of what it corrects
        of, subject_id = _subject_of(request)
        try:
            cost = corrections.cost_of(of, subject_id)
        except Refused as error:
            raise Http404(str(error)) from None
        rule = CostRule.objects.get()
        user: Any = request.user

        def perform(said: dict[str, Any]) -> tuple[CostCorrection, str]:
            made = corrections.ask(
                of, subject_id, said["cost"], seen=said["seen"], reason=said["reason"], by=user
            )
            if made.status == Status.PENDING:
                return made, "Waiting for a second person to confirm it."
            return made, "The cost is corrected, and all counters with it."

        return self.make(
            request,
            CorrectForm(request.POST or None, initial={"seen": cost}),
            perform=perform,
            refusals=(Refused,),
            title="Correct cost",
            verb="Correct cost",
            effects=(
                f"Recorded cost: ${usd_text(cost)}.",
                "Every budget it was charged to changes with it, immediately.",
                "A breaker or feature that stopped on the wrong amount alone works again.",
                f"A change of more than ${rule.second_person_over_usd:,.2f} needs a second person.",
            ),
        )

    def confirm(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return self._decide(request, object_id, approve=True)

    def refuse(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return self._decide(request, object_id, approve=False)

    def _decide(self, request: HttpRequest, object_id: str, *, approve: bool) -> HttpResponseBase:
        if not request.user.has_perm(corrections.PERMISSION):
            raise PermissionDenied
        found = self.thing(request, object_id)
        user: Any = request.user
        solo = corrections.own_confirmation(found, user) if approve else None
        if to_show := second_factor.first(request, solo, found.asked_at, self.address(found)):
            return to_show

        def perform(said: dict[str, Any]) -> str:
            done = corrections.decide(
                found.pk,
                approve=approve,
                by=user,
                note=said["note"],
                second_factor_at=second_factor_at(request),
            )
            return f"This correction is {done.get_status_display()}."

        return self.act(
            request,
            found,
            form=CommentForm,
            perform=perform,
            refusals=(Refused,),
            title=f"{'Confirm' if approve else 'Refuse'} correction {found}",
            verb="Confirm correction" if approve else "Refuse correction",
            danger=not approve,
            effects=(
                f"{found.asked_by} asks for it: {self.about(found)}, {found}.",
                f"Reason: {found.reason}",
                "Every budget it was charged to changes with it, immediately."
                if approve
                else "The recorded cost stays as it is.",
            ),
        )

    @display(description="correction")
    def what(self, correction: CostCorrection) -> str:
        return str(correction)

    @display(description="of")
    def about(self, correction: CostCorrection) -> str:
        return f"{correction.get_of_display()} {correction.subject_id}"

    @display(description="state")
    def state(self, correction: CostCorrection) -> str:
        return badge(
            BADGES.get(Status(correction.status), "cancelled"), correction.get_status_display()
        )

    @display(description="asked (UTC)")
    def asked(self, correction: CostCorrection) -> str:
        return f"{correction.asked_at:%Y-%m-%d %H:%M}"


def _subject_of(request: HttpRequest) -> tuple[str, UUID]:
    for of in Of.values:
        if of in request.GET:
            try:
                return of, UUID(request.GET[of])
            except ValueError:
                break
    raise Http404("Say which run, or which call.")


@admin.register(CostRule)
class CostRuleAdmin(PageAdmin):
    list_display = ("__str__", "second_person_over_usd")
    page_template = "budgets/cost_rule.html"
    acts = {"change-rule": "change_rule"}
    sortable_by = ()

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "rule": obj,
            "title": "Costs that cannot be true",
            "may": request.user.has_perm("budgets.change_costrule"),
        }

    def change_rule(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("budgets.change_costrule"):
            raise PermissionDenied
        rule = self.thing(request, object_id)

        def form(data: Any = None) -> CostRuleForm:
            return CostRuleForm(data, initial={name: getattr(rule, name) for name in RULE})

        def perform(said: dict[str, Any]) -> str:
            corrections.set_rule(
                by=request.user.get_username(),
                reason=said["reason"],
                **{name: said[name] for name in RULE},
            )
            return "Saved."

        return self.act(
            request,
            rule,
            form=form,
            perform=perform,
            refusals=(Refused,),
            title="Costs that cannot be true",
            verb="Save",
        )
