"""Corrections of costs: made on the page of a run or a call, confirmed here by a second person."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse

from budgets.admin import second_factor
from budgets.approvals import corrections
from budgets.exceptions import Refused
from budgets.models import CostCorrection, CostRule
from opslog.admin.acts import Act, ReasonForm, StaffRequest, Themed
from opslog.admin.base import LargeTableMixin, PageAdmin, badge, column, moments
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
    )
    field_order = ("seen", "cost", "reason")


class CommentForm(Themed, forms.Form):
    note = forms.CharField(
        label="Comment", max_length=500, widget=forms.Textarea(attrs={"rows": 3})
    )


RULE = ("alert_times", "alert_over_usd", "second_person_over_usd", "floor_usd", "floor_runs")


class CostRuleForm(ReasonForm):
    alert_times = forms.IntegerField(
        label="Alert above this many times the reservation",
        min_value=1,
        max_value=1_000_000,
    )
    alert_over_usd = forms.DecimalField(
        label="and above, $",
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=2,
        help_text="Direct spend reserves nothing: it is alerted above this amount alone.",
    )
    second_person_over_usd = forms.DecimalField(
        label="A second person confirms corrections over, $",
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=2,
    )
    floor_usd = forms.DecimalField(
        label="A run without an estimate reserves at least, $",
        required=False,
        min_value=Decimal("0.01"),
        max_digits=12,
        decimal_places=2,
        help_text="Empty: the work order's dollars a day ÷ runs a day.",
    )
    floor_runs = forms.IntegerField(
        label="until so many of its runs have succeeded",
        min_value=1,
        max_value=100,
        help_text="Out of the last 100; from then on it reserves what they cost.",
    )
    field_order = (*RULE, "reason")


def asked_cost(request: StaffRequest) -> Decimal:
    """What is recorded of the run or call that the address names."""
    try:
        return corrections.cost_of(*_subject_of(request))
    except Refused as error:
        raise Http404(str(error)) from None


def correct(request: StaffRequest, _: None, values: dict[str, Any]) -> tuple[CostCorrection, str]:
    of, subject_id = _subject_of(request)
    made = corrections.ask(of, subject_id, values.pop("cost"), **values, by=request.user)
    if made.status == Status.PENDING:
        return made, "Waiting for a second person to confirm it."
    return made, "The cost is corrected, and all counters with it."


def decision(*, approve: bool) -> Act:
    def first(request: StaffRequest, found: CostCorrection) -> HttpResponseBase | None:
        solo = corrections.own_confirmation(found, request.user) if approve else None
        back = reverse("admin:budgets_costcorrection_change", args=[found.pk])
        return second_factor.first(request, solo, found.asked_at, back)

    def perform(request: StaffRequest, found: CostCorrection, values: dict[str, Any]) -> str:
        done = corrections.decide(
            found.pk,
            approve=approve,
            by=request.user,
            note=values["note"],
            second_factor_at=second_factor_at(request),
        )
        return f"This correction is {done.get_status_display()}."

    verb = "Confirm" if approve else "Refuse"
    return Act(
        title=f"{verb} correction {{}}",
        permission=corrections.PERMISSION,
        first=first,
        form=CommentForm,
        effects=lambda _, found: (
            f"{found.asked_by} asks for it: {subject_in_words(found)}, {found}.",
            f"Reason: {found.reason}",
            "Every budget it was charged to changes with it, immediately."
            if approve
            else "The recorded cost stays as it is.",
        ),
        danger=not approve,
        verb=f"{verb} correction",
        perform=perform,
    )


def subject_in_words(correction: CostCorrection) -> str:
    return f"{correction.get_of_display()} {correction.subject_id}"


@admin.register(CostCorrection)
class CostCorrectionAdmin(LargeTableMixin, PageAdmin):
    list_display = ("what", "about", "state", "asked_by", "asked", "decided_by")
    list_filter = ("status", "of")
    list_select_related = ("asked_by", "decided_by")
    page_template = "budgets/cost_correction.html"
    add = Act(
        title="Correct cost",
        form=CorrectForm,
        form_kwargs=lambda request, _: {"initial": {"seen": asked_cost(request)}},
        effects=lambda request, _: (
            f"Recorded cost: ${usd_text(asked_cost(request))}.",
            "Every budget it was charged to changes with it, immediately.",
            "A breaker or feature that stopped on the wrong amount alone works again.",
            (
                f"A change of more than ${CostRule.objects.get().second_person_over_usd:,.2f} "
                "needs a second person."
            ),
        ),
        verb="Correct cost",
        perform=correct,
    )
    acts = {"confirm": decision(approve=True), "refuse": decision(approve=False)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Made on the page of what it corrects; the list has no button for it."""
        return request.user.has_perm(corrections.PERMISSION) and bool(
            request.GET.keys() & set(Of.values)
        )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        if request.user.has_perm(corrections.PERMISSION) and not self.has_add_permission(request):
            return HttpResponseRedirect("../")
        return super().add_view(request, form_url, extra_context)

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
        may = obj.status == Status.PENDING and request.user.has_perm(corrections.PERMISSION)
        own = obj.asked_by_id == request.user.pk
        theirs = own or request.user.pk in corrections.interested(obj)
        solo = corrections.own_confirmation(obj, request.user) if may else None
        return {
            "correction": obj,
            "href": subjects.url_of(obj.of, str(obj.subject_id)),
            "may_confirm": may and (bool(solo) or not theirs),
            "solo_from": solo.from_when(obj.asked_at) if solo else None,
            "may_refuse": may,
            "own": own,
        }

    what = column("correction", str)
    about = column("of", subject_in_words)

    @display(description="state")
    def state(self, correction: CostCorrection) -> str:
        return badge(
            BADGES.get(Status(correction.status), "cancelled"), correction.get_status_display()
        )

    asked = moments("asked_at", "asked")


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
    acts = {
        "change-rule": Act(
            title="Costs that cannot be true",
            permission="budgets.change_costrule",
            form=CostRuleForm,
            initial=RULE,
            verb="Save",
            perform=lambda request, _, values: corrections.set_rule(
                **values, by=request.user.username
            ),
            done="Saved.",
        )
    }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {"rule": obj, "title": "Costs that cannot be true"}
