"""The monthly reviews: one page each, printable, worked through by small forms."""

from datetime import date
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from budgets import clock, may
from budgets.admin import second_factor
from budgets.exceptions import Refused
from budgets.finops.reviews import figures, months, working
from budgets.models import MonthlyReview
from opslog.admin.base import PageAdmin, SureForm, badge
from opslog.confirmed import second_factor_at
from opslog.models import OperationsEvent
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


class DecisionForm(forms.Form):
    text = forms.CharField(
        label="What was decided",
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It cannot be changed later: another decision corrects it.",
    )
    who = forms.CharField(
        label="Who does it", required=False, max_length=200, widget=UnfoldAdminTextInputWidget()
    )
    due = forms.DateField(
        label="Until (UTC)",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
    )


class SignForm(forms.Form):
    comment = forms.CharField(
        label="What you looked at",
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It stands beside your name.",
    )
    seen = forms.CharField(max_length=64, widget=forms.HiddenInput)


@admin.register(MonthlyReview)
class MonthlyReviewAdmin(PageAdmin):
    list_display = ("name", "total", "state", "signed", "opened")
    list_before_template = "budgets/monthly_reviews_note.html"
    page_template = "budgets/monthly_review.html"
    sortable_by = ()
    acts = {
        "decide": "decide",
        "figures": "take_figures",
        "sign": "sign",
        "tick": "tick",
    }

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.open_month)
        return [path("open/", view, name="budgets_monthlyreview_open"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may = request.user.has_perm(WORK)
        extra = {
            **(extra_context or {}),
            "openable": months.openable(clock.today())[::-1] if may else [],
            "is_empty": not MonthlyReview.objects.exists(),
        }
        return super().changelist_view(request, extra)  # type: ignore[no-any-return]

    def open_month(self, request: HttpRequest) -> HttpResponseBase:
        """The review of the month that is posted, before the job opens it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(WORK):
            raise PermissionDenied
        try:
            month = date.fromisoformat(f"{request.POST.get('month', '')}-01")
            review = working.open_by_hand(
                month, today=clock.today(), by=request.user.get_username()
            )
        except ValueError:
            messages.error(request, "Say which month.")
        except Refused as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"{review} is open.")
            return HttpResponseRedirect(self.address(review))
        return HttpResponseRedirect(reverse("admin:budgets_monthlyreview_changelist"))

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        state = obj.closed_state or working.state_of(obj)
        signatures = list(obj.signatures.select_related("person"))
        is_open = obj.status == MonthlyReview.Status.OPEN
        valid = [each for each in signatures if each.state == state]
        user: Any = request.user
        own = any(each.person_id == user.pk for each in valid)
        solo = working.own_signature(obj, user) if own and is_open else None
        checks = list(obj.checks.all())
        return {
            "review": obj,
            "title": str(obj),
            "figures": figures.shown(obj.figures),
            "checks": [(each, ABOUT.get(each.text, ())) for each in checks],
            "groups_that_may": may.groups_that_may(),
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
            "events": OperationsEvent.objects.filter(
                owner_type="monthly_review", owner_id=str(obj.pk)
            ).order_by("-id")[:8],
        }

    def decide(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        review = self._to_act_on(request, object_id, WORK)

        def perform(said: dict[str, Any]) -> str:
            working.decide(review.pk, **said, by=request.user.get_username())
            return "Written down."

        return self.act(
            request,
            review,
            form=DecisionForm,
            perform=perform,
            refusals=(Refused,),
            title=f"A decision of the {str(review)[:1].lower()}{str(review)[1:]}",
            verb="Write it down",
            effects=("Signatures that were given before it must be given again.",),
        )

    def take_figures(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        review = self._to_act_on(request, object_id, WORK)

        def perform(said: dict[str, Any]) -> str:
            working.take_again(review.pk, by=request.user.get_username())
            return "These are the figures of now."

        return self.act(
            request,
            review,
            form=SureForm,
            perform=perform,
            refusals=(Refused,),
            title=f"Take the figures anew: {review}",
            verb="Take them anew",
            effects=(
                "Late bills, services mapped since and late telemetry are in them then.",
                "Signatures that were given before must be given again.",
            ),
        )

    def sign(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        review = self._to_act_on(request, object_id, SIGN)
        person: Any = request.user
        state = working.state_of(review)
        others = [each.person.get_username() for each in working.signed_by(review, state)]
        own = working.own_signature(review, person)
        if own and (
            to_show := second_factor.first(request, own[0], own[1].at, self.address(review))
        ):
            return to_show

        def form(data: Any = None) -> SignForm:
            return SignForm(data, initial={"seen": state})

        def perform(said: dict[str, Any]) -> str:
            closed = working.sign(
                review.pk,
                seen=said["seen"],
                comment=said["comment"],
                by=person,
                second_factor_at=second_factor_at(request),
            )
            return "Signed, and closed." if closed else "Signed. Somebody else must sign as well."

        return self.act(
            request,
            review,
            form=form,
            perform=perform,
            refusals=(Refused,),
            title=f"Sign the {str(review)[:1].lower()}{str(review)[1:]}",
            verb="I sign it",
            effects=(
                f"Signed so far: {', '.join(others) or 'nobody'}. "
                + (
                    "You sign again, as the solo operator." if own else "Two different people sign."
                ),
                "The second signature closes the review for good.",
            ),
        )

    def tick(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """A point of the checklist; a POST only, from the page itself."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        review = self._to_act_on(request, object_id, WORK)
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
                by=request.user.get_username(),
            )
        except Refused as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(f"{self.address(review)}#checklist")

    def _to_act_on(self, request: HttpRequest, object_id: str, permission: str) -> Any:
        if not request.user.has_perm(permission):
            raise PermissionDenied
        return self.thing(request, object_id)

    @display(description="month")
    def name(self, review: MonthlyReview) -> str:
        return f"{review.month:%B %Y}"

    @display(description="in all")
    def total(self, review: MonthlyReview) -> str:
        usd = figures.shown(review.figures)["total"]
        total = figure("monthly_reviews.total", usd, f"${usd:,.2f}")
        return format_html('<span data-of="{}">{}</span>', review.pk, total)

    @display(description="state")
    def state(self, review: MonthlyReview) -> str:
        is_open = review.status == MonthlyReview.Status.OPEN
        return badge("pending", "open") if is_open else badge("live", "closed")

    @display(description="closed (UTC)")
    def signed(self, review: MonthlyReview) -> str:
        return f"{review.closed_at:%Y-%m-%d %H:%M}" if review.closed_at else "–"

    @display(description="opened (UTC)")
    def opened(self, review: MonthlyReview) -> str:
        return f"{review.opened_at:%Y-%m-%d %H:%M}"
