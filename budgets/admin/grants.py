"""Raises for a time: what is in force, what is over, and which break-glass nobody has reviewed."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.db.models import BooleanField, Case, Q, Value, When
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from budgets import approvals
from budgets.admin import second_factor
from budgets.approvals.break_glass import LONGEST, REVIEW_WITHIN
from budgets.models import Grant, Measure
from opslog.admin.acts import Act, StaffRequest, Themed
from opslog.admin.base import PageAdmin, badge, choice_filter, column
from opslog.confirmed import second_factor_at
from opslog.groups import is_operator

LONGEST_MINUTES = int(LONGEST.total_seconds() // 60)
NOT_REVIEWED = Q(kind=Grant.Kind.BREAK_GLASS, reviewed_at=None)


class BreakGlassForm(Themed, forms.Form):
    """Which caps, how long, why. An empty cap stays as it is."""

    usd_per_day = forms.DecimalField(
        label="US dollars a day",
        required=False,
        min_value=Decimal("0.01"),
        decimal_places=2,
    )
    runs_per_day = forms.IntegerField(
        label="Runs a day",
        required=False,
        min_value=1,
    )
    max_concurrent_runs = forms.IntegerField(
        label="Runs at the same time",
        required=False,
        min_value=1,
    )
    minutes = forms.IntegerField(
        min_value=1,
        max_value=LONGEST_MINUTES,
        help_text=f"{LONGEST_MINUTES} at most. Then the caps of before hold again, by themselves.",
    )
    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What is burning. It is sent to everybody who decides on cap changes.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for measure in approvals.CAPS:
            highest = shown(measure, approvals.limit_of(measure))
            self.fields[measure].help_text = f"Up to {highest}. Empty: as it is."


class ReviewForm(Themed, forms.Form):
    review = forms.CharField(
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="Was it right, and what follows from it. Everybody can read it.",
    )


STATE = choice_filter(
    "state",
    "state",
    {
        "live": (
            "in force now",
            lambda _, rows: rows.in_force(),
        ),
        "coming": ("still to come", lambda _, rows: rows.filter(starts_at__gt=timezone.now())),
        "over": ("over", lambda _, rows: rows.filter(ends_at__lte=timezone.now())),
        "unreviewed": ("break-glass, not reviewed", lambda _, rows: rows.filter(NOT_REVIEWED)),
    },
)


def ending(request: StaffRequest, grant: Grant) -> tuple[str, ...]:
    base = approvals.caps_of(grant.wo)[grant.measure]
    return (
        f"It would have ended by itself at {grant.ends_at:%Y-%m-%d %H:%M} UTC.",
        (
            f"Without it and without another grant, {shown(grant.measure, base)} is in force from "
            "the next start on."
        ),
        (
            "Runs that are open may finish. What was used above the cap stays used: nothing more "
            "is admitted today."
        ),
    )


def reviewing(request: StaffRequest, grant: Grant) -> tuple[str, ...]:
    return (
        (
            f"{grant.granted_by} raised it to {raised(grant)} at "
            f"{grant.starts_at:%Y-%m-%d %H:%M} UTC, for "
            f"{(grant.ends_at - grant.starts_at).total_seconds() / 60:.0f} minutes."
        ),
        f"The reason given: {grant.reason}",
        (
            "A review changes no cap. Without it neither this person nor anybody on this work "
            "order can break the glass again; while one is overdue, nobody can."
        ),
    )


def first_factor(request: StaffRequest, grant: Grant) -> HttpResponseBase | None:
    if grant.kind != Grant.Kind.BREAK_GLASS:
        raise Http404("Only break-glass is reviewed.")
    solo = approvals.own_review(grant, request.user)
    back = reverse("admin:budgets_grant_change", args=[grant.pk])
    return second_factor.first(request, solo, grant.created_at, back)


@admin.register(Grant)
class GrantAdmin(PageAdmin):
    """Break-glass that waits for its review stands on top, whatever its age."""

    list_display = ("work_order", "raised", "state", "interval", "granted_by", "reviewed")
    list_filter = (STATE, "kind", "measure")
    list_per_page = 50
    search_fields = ("wo__id", "wo__title", "granted_by", "reason")
    search_help_text = "a work order, a person, words of the reason"
    list_before_template = "budgets/grants_note.html"
    page_template = "budgets/grant.html"
    acts = {
        "end": Act(
            title=lambda _, grant: f"End the grant of {raised(grant)} for {grant.wo.title}",
            allows=lambda request, _: is_operator(request.user),
            when=lambda _, grant: grant.ends_at > timezone.now(),
            effects=ending,
            danger=True,
            verb="End it now",
            perform=lambda request, grant, values: approvals.end_early(
                grant.pk, by=request.user, reason=values["reason"]
            ),
            done="The grant is ended.",
        ),
        "review": Act(
            title="Review the break-glass on {0.wo.title}",
            permission="budgets.decide_changerequest",
            first=first_factor,
            form=ReviewForm,
            effects=reviewing,
            verb="Record the review",
            perform=lambda request, grant, values: approvals.review(
                grant.pk,
                by=request.user,
                text=values["review"],
                second_factor_at=second_factor_at(request),
            ),
            done="The review is recorded.",
        ),
    }

    def get_queryset(self, request: HttpRequest) -> Any:
        waits = Case(
            When(NOT_REVIEWED, then=Value(True)), default=False, output_field=BooleanField()
        )
        found = super().get_queryset(request).select_related("wo", "reviewed_by")
        return found.annotate(waits=waits).order_by("-waits", "-starts_at", "-id")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ()

    def page(self, request: StaffRequest, obj: Any) -> dict[str, Any]:
        now = timezone.now()
        waits = obj.kind == Grant.Kind.BREAK_GLASS and obj.reviewed_at is None
        own = obj.person_id == request.user.pk
        solo = approvals.own_review(obj, request.user) if waits else None
        return {
            "grant": obj,
            "title": f"{raised(obj)} for {obj.wo.title}",
            "raised": raised(obj),
            "state": state_of(obj, now),
            "base": shown(obj.measure, approvals.caps_of(obj.wo)[obj.measure]),
            "waits": waits,
            "review_by": obj.created_at + REVIEW_WITHIN,
            "overdue": waits and obj.created_at + REVIEW_WITHIN <= now,
            "own": own and not solo,
            "solo_from": solo.from_when(obj.created_at) if solo and waits else None,
            "may_review": waits
            and request.user.has_perm("budgets.decide_changerequest")
            and (not own or bool(solo and not solo.why_not_yet(obj.created_at))),
        }

    work_order = column("work order", lambda grant: grant.wo.title)

    @display(description="raised to")
    def raised(self, grant: Grant) -> str:
        return raised(grant)

    state = column("state", lambda grant: badge(*state_of(grant, timezone.now())))

    @display(description="in force (UTC)")
    def interval(self, grant: Grant) -> str:
        return f"{grant.starts_at:%Y-%m-%d %H:%M} to {grant.ends_at:%Y-%m-%d %H:%M}"

    @display(description="review")
    def reviewed(self, grant: Grant) -> str:
        if grant.kind != Grant.Kind.BREAK_GLASS:
            return "–"
        if grant.reviewed_at is not None:
            return f"by {grant.reviewed_by}"
        due = grant.created_at + REVIEW_WITHIN
        if due <= timezone.now():
            return badge("error", "overdue")
        return badge("pending", f"due {due:%Y-%m-%d %H:%M}")


def shown(measure: str, value: Decimal) -> str:
    label = Measure(measure).label
    return f"${value:,.2f} a day" if measure == Measure.USD_PER_DAY else f"{value:,.0f} {label}"


def raised(grant: Grant) -> str:
    return shown(grant.measure, grant.value)


def state_of(grant: Grant, now: datetime) -> tuple[str, str]:
    """The badge's state and word."""
    if grant.ends_at <= now:
        return "archived", "over"
    return ("live", "in force") if grant.starts_at <= now else ("pending", "to come")
