"""The monthly reviews: one page each, printable, worked through by small forms."""

from datetime import date
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import (
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.urls import reverse
from django.utils.html import format_html

from budgets import clock
from budgets.admin import second_factor
from budgets.exceptions import Refused
from budgets.finops.reviews import figures, months, working
from budgets.models import MonthlyReview
from opslog.admin.acts import Act, StaffRequest, SureForm, Themed
from opslog.admin.base import PageAdmin, badge, column, events_of, moments
from opslog.confirmed import second_factor_at
from opslog.pages.figures import figure

WORK = "budgets.change_monthlyreview"
SIGN = "budgets.sign_monthlyreview"
BUDGETS, INCIDENTS = "admin:budgets_dimensionbudget_changelist", "admin:opslog_incident_changelist"
# Each point of the checklist → the pages that it is about: address, parameters, what they are.
ABOUT = dict(
    zip(
        working.CHECKLIST,
        (
            [("admin:budgets_billimport_changelist", "", "imported bills")],
            [("admin:budgets_servicemapping_changelist", "", "which service belongs where")],
            [("admin:opslog_inferencehour_changelist", "", "spend by hour")],
            [(BUDGETS, "", "monthly budgets")],
            [
                (INCIDENTS, "", "incidents"),
                ("admin:budgets_alert_changelist", "", "alerts"),
            ],
            [("daily-report-page", "?only=idle", "daily report")],
            [
                ("admin:budgets_hotspot_changelist", "?fresh=stale", "stale entries"),
                ("admin:budgets_hotspot_changelist", "?fresh=unconfirmed", "not yet confirmed"),
            ],
            [(BUDGETS, "", "monthly budgets"), ("forecast-page", "", "forecast")],
            [("admin:budgets_monthlyreview_changelist", "", "earlier reviews")],
        ),
        strict=True,
    )
)


class DecisionForm(Themed, forms.Form):
    text = forms.CharField(
        label="What was decided",
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="It cannot be changed later: another decision corrects it.",
    )
    who = forms.CharField(label="Who does it", required=False, max_length=200)
    due = forms.DateField(
        label="Until (UTC)",
        required=False,
        widget=forms.TextInput(attrs={"type": "date"}),
    )


class SignForm(Themed, forms.Form):
    comment = forms.CharField(
        label="What you looked at",
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="It stands beside your name.",
    )
    seen = forms.CharField(max_length=64, widget=forms.HiddenInput)


def in_sentence(review: MonthlyReview) -> str:
    return f"{str(review)[:1].lower()}{str(review)[1:]}"


def first_factor(request: StaffRequest, review: MonthlyReview) -> HttpResponseBase | None:
    if not (own := working.own_signature(review, request.user)):
        return None
    back = reverse("admin:budgets_monthlyreview_change", args=[review.pk])
    return second_factor.first(request, own[0], own[1].at, back)


def signing(request: StaffRequest, review: MonthlyReview) -> tuple[str, ...]:
    signed = working.signed_by(review, working.state_of(review))
    names = ", ".join(each.person.get_username() for each in signed)
    own = working.own_signature(review, request.user)
    return (
        f"Signed so far: {names or 'nobody'}. "
        + ("You sign again, as the solo operator." if own else "Two different people sign."),
        "The second signature closes the review for good.",
    )


def sign(request: StaffRequest, review: MonthlyReview, values: dict[str, Any]) -> str:
    closed = working.sign(
        review.pk, **values, by=request.user, second_factor_at=second_factor_at(request)
    )
    return "Signed, and closed." if closed else "Signed. Somebody else must sign as well."


@admin.register(MonthlyReview)
class MonthlyReviewAdmin(PageAdmin):
    list_display = ("name", "total", "state", "signed", "opened")
    list_before_template = "budgets/monthly_reviews_note.html"
    page_template = "budgets/monthly_review.html"
    views = ("tick",)
    list_views = ("open",)
    acts = {
        "decide": Act(
            title=lambda _, review: f"A decision of the {in_sentence(review)}",
            permission=WORK,
            form=DecisionForm,
            effects=("Signatures that were given before it must be given again.",),
            verb="Write it down",
            perform=lambda request, review, values: working.decide(
                review.pk, **values, by=request.user.username
            ),
            done="Written down.",
        ),
        "figures": Act(
            title="Take the figures anew: {}",
            permission=WORK,
            form=SureForm,
            effects=(
                "Late bills, services mapped since and late telemetry are in them then.",
                "Signatures that were given before must be given again.",
            ),
            verb="Take them anew",
            perform=lambda request, review, _: working.take_again(
                review.pk, by=request.user.username
            ),
            done="These are the figures of now.",
        ),
        "sign": Act(
            title=lambda _, review: f"Sign the {in_sentence(review)}",
            permission=SIGN,
            first=first_factor,
            form=SignForm,
            form_kwargs=lambda _, review: {"initial": {"seen": working.state_of(review)}},
            effects=signing,
            verb="I sign it",
            perform=sign,
        ),
    }

    def list_context(self, request: StaffRequest) -> dict[str, Any]:
        may = request.user.has_perm(WORK)
        return {
            "openable": months.openable(clock.today())[::-1] if may else [],
            "is_empty": not MonthlyReview.objects.exists(),
        }

    def open(self, request: StaffRequest) -> HttpResponseBase:
        """The review of the month that is posted, before the job opens it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(WORK):
            raise PermissionDenied
        try:
            month = date.fromisoformat(f"{request.POST.get('month', '')}-01")
            review = working.open_by_hand(month, today=clock.today(), by=request.user.username)
        except ValueError:
            messages.error(request, "Say which month.")
        except Refused as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"{review} is open.")
            return HttpResponseRedirect(self.address(review))
        return HttpResponseRedirect(reverse("admin:budgets_monthlyreview_changelist"))

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
        state = obj.closed_state or working.state_of(obj)
        signatures = list(obj.signatures.select_related("person"))
        is_open = obj.status == MonthlyReview.Status.OPEN
        valid = [each for each in signatures if each.state == state]
        own = any(each.person_id == request.user.pk for each in valid)
        solo = working.own_signature(obj, request.user) if own and is_open else None
        checks = list(obj.checks.all())
        return {
            "review": obj,
            "figures": figures.shown(obj.figures),
            "checks": [(each, ABOUT.get(each.text, ())) for each in checks],
            "open_checks": sum(each.done_at is None for each in checks),
            "decisions": obj.decisions.all(),
            "valid": valid,
            "left_behind": [each for each in signatures if each.state != state],
            "needed": max(working.SIGNATURES - len(valid), 0) if is_open else 0,
            "before": MonthlyReview.objects.filter(month__lt=obj.month).first(),
            "may_work": is_open and request.user.has_perm(WORK),
            "may_sign": is_open
            and request.user.has_perm(SIGN)
            and (not own or bool(solo and not solo[0].why_not_yet(solo[1].at))),
            "own": own,
            "solo_from": solo[0].from_when(solo[1].at) if solo else None,
            "events": events_of("monthly_review", obj.pk, most=8),
        }

    def tick(self, request: StaffRequest, object_id: str) -> HttpResponseBase:
        """A point of the checklist; a POST only, from the page itself."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(WORK):
            raise PermissionDenied
        review = self.row(request, object_id)
        asked = request.POST.get("check", "")
        found = review.checks.filter(pk=int(asked)).first() if asked.isdecimal() else None
        if found is None:
            messages.error(request, "There is no such point.")
            return HttpResponseRedirect(self.address(review))
        try:
            working.tick(
                found.pk,
                done="done" in request.POST,
                note=request.POST.get("note", ""),
                by=request.user.username,
            )
        except Refused as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(f"{self.address(review)}#checklist")

    name = column("month", lambda review: f"{review.month:%B %Y}")

    @display(description="in all")
    def total(self, review: MonthlyReview) -> str:
        usd = figures.shown(review.figures)["total"]
        total = figure("monthly_reviews.total", usd, f"${usd:,.2f}")
        return format_html('<span data-of="{}">{}</span>', review.pk, total)

    @display(description="state")
    def state(self, review: MonthlyReview) -> str:
        is_open = review.status == MonthlyReview.Status.OPEN
        return badge("pending", "open") if is_open else badge("live", "closed")

    signed = moments("closed_at", "closed")
    opened = moments("opened_at", "opened")
