"""Service tokens: made and rotated (the text is shown once), read, revoked. Never edited, never
deleted."""

import ipaddress
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldBooleanWidget,
)

from opslog.admin.acts import Act, ReasonForm, StaffRequest, Themed
from opslog.admin.base import PageAdmin, badge, choice_filter, column, events_of, moments
from opslog.exceptions import NotAllowedNow
from workorders import tokens
from workorders.models import Run, Scope, ServiceToken, TokenPolicy, WorkOrder

SOON = max(tokens.REMIND_DAYS)  # days


class TokenForm(Themed, forms.Form):
    """What a token may do. Everything here is fixed once it is made: make another one instead."""

    name = forms.CharField(max_length=100, help_text="What uses it: a service, a job.")
    owner = forms.ModelChoiceField(
        User.objects.filter(is_active=True).order_by("username"),
        help_text="It acts in this person's name, and stops working when their account is "
        "switched off.",
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget()
    )
    expires_at = forms.SplitDateTimeField(
        required=False,
        label="Expires (UTC)",
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="Empty: after the days of the token policy.",
    )
    never_expires = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanWidget(),
        help_text="Only on purpose: nobody is reminded of a token that never expires.",
    )
    networks = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "10.0.0.0/8"}),
        help_text="Networks it may be used from, in CIDR notation, one a line. Empty: anywhere.",
    )
    work_orders = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Ids of the work orders it may be used for, one a line. Empty: all.",
    )
    surface = forms.CharField(
        required=False,
        max_length=100,
        help_text="Wins over what a request says. Empty: not pinned.",
    )
    feature = forms.CharField(
        required=False,
        max_length=100,
        help_text="Wins over what a request says. Empty: not pinned.",
    )

    def clean_expires_at(self) -> Any:
        at = self.cleaned_data["expires_at"]
        if at and at <= timezone.now():
            raise ValidationError("That is in the past.")
        return at

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("never_expires") and self.cleaned_data.get("expires_at"):
            self.add_error("never_expires", "Choose a date or never, not both.")
        return self.cleaned_data

    def clean_networks(self) -> list[str]:
        found = []
        for text in self.cleaned_data["networks"].split():
            try:
                found.append(str(ipaddress.ip_network(text)))
            except ValueError as error:
                raise ValidationError(f"{text} is not a network: {error}.") from error
        return found

    def clean_work_orders(self) -> list[str]:
        ids: list[str] = self.cleaned_data["work_orders"].split()
        known = set(WorkOrder.objects.filter(pk__in=ids).values_list("pk", flat=True))
        if missing := [each for each in ids if each not in known]:
            raise ValidationError(f"There is no work order {', '.join(missing)}.")
        return ids


class RotateForm(ReasonForm):
    overlap_hours = forms.IntegerField(
        min_value=0,
        max_value=720,
        help_text="How long the old token stays valid. 0: it stops at once.",
    )
    field_order = ("overlap_hours", "reason")


class RevokeForm(ReasonForm):
    line = forms.BooleanField(
        required=False,
        label="Revoke all tokens of this line",
        widget=UnfoldBooleanWidget(),
        help_text="Those that it was rotated from, and those that were rotated from it.",
    )
    field_order = ("line", "reason")


class PolicyForm(ReasonForm):
    lifetime_days = forms.IntegerField(
        min_value=1,
        max_value=36_500,
        label="Days until a new token expires",
    )
    overlap_hours = forms.IntegerField(
        min_value=0,
        max_value=720,
        label="Hours that a rotated token stays valid",
    )
    field_order = ("lifetime_days", "overlap_hours", "reason")


STATE = choice_filter(
    "state",
    "state",
    {
        "live": (
            "live",
            lambda _, rows: rows.filter(revoked_at=None).exclude(expires_at__lte=timezone.now()),
        ),
        "soon": (
            f"expires within {SOON} days",
            lambda _, rows: rows.filter(pk__in=tokens.expiring(timezone.now(), days=SOON)),
        ),
        "expired": (
            "expired",
            lambda _, rows: rows.filter(revoked_at=None, expires_at__lte=timezone.now()),
        ),
        "revoked": ("revoked", lambda _, rows: rows.exclude(revoked_at=None)),
    },
)


def revoking(request: StaffRequest, token: ServiceToken) -> tuple[str, ...]:
    live = tokens.live(timezone.now()).filter(lineage=token.lineage)
    running = Run.objects.filter(status=Run.Status.RUNNING, token_id=token.pk).count()
    return (
        "Every request with it is refused from the next one on. This cannot be undone.",
        f"Other live tokens of its line, which keep working: {live.exclude(pk=token.pk).count()}.",
        f"Open runs that it started: {running}.",
        "Only another token of its line, or one with the scope admin, can finish those.",
        "What is not finished settles at its reservation when its lease ends.",
    )


def revoke(request: StaffRequest, token: ServiceToken, values: dict[str, Any]) -> str:
    by = request.user.username
    if values["line"]:
        if not (many := tokens.revoke_line(token.pk, by=by, reason=values["reason"])):
            raise NotAllowedNow("They were revoked already.")
        return f"{many} tokens of the line of {token.name} are revoked."
    if not tokens.revoke(token.pk, by=by, reason=values["reason"]):
        raise NotAllowedNow("It was revoked already.")
    return f"{token.name} is revoked: its next request is refused."


@admin.register(ServiceToken)
class ServiceTokenAdmin(PageAdmin):
    list_display = ("name", "visible", "owner", "may", "state", "expiry", "last_used", "created")
    list_filter = (STATE,)
    list_select_related = ("owner", "created_by", "use", "successor")
    list_before_template = "workorders/token_policy_note.html"
    search_fields = ("name", "prefix", "owner__username")
    search_help_text = "a name, the visible beginning, or an owner"
    page_template = "workorders/token.html"
    sortable_by = None
    views = ("rotate",)
    add_permission = "workorders.add_servicetoken"
    acts = {
        "revoke": Act(
            title="Revoke {}",
            permission="workorders.revoke_servicetoken",
            when=lambda _, token: not token.revoked_at,
            form=RevokeForm,
            effects=revoking,
            danger=True,
            verb="Revoke this token",
            perform=revoke,
        )
    }

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        return {
            "policy": tokens.policy(),
            "expiring": tokens.expiring(timezone.now(), days=SOON).count(),
            "soon": SOON,
        }

    def add_view(
        self, request: Any, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        """The page that answers the POST is the only place where the text is ever shown: nothing
        of it goes into a session, a message, a log or an address."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request.POST or None, initial={"owner": request.user.pk})
        if request.method == "POST" and form.is_valid():
            token, text = tokens.create(
                by=request.user.username, created_by=request.user, **form.cleaned_data
            )
            return self.shown_once(request, token, text)
        return self.render(
            request, "workorders/token_add.html", None, title="New service token", form=form
        )

    def shown_once(self, request: HttpRequest, token: ServiceToken, text: str) -> HttpResponseBase:
        shown = self.render(request, "workorders/token_shown.html", token, token=token, text=text)
        shown["Cache-Control"] = "no-store"
        return shown

    def rotate(self, request: Any, object_id: str) -> HttpResponseBase:
        """As with `add_view`, the page that answers the POST is the only place of the text."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        token = self.row(request, object_id)
        rules = tokens.policy()
        form = RotateForm(request.POST or None, initial={"overlap_hours": rules.overlap_hours})
        if request.method == "POST" and form.is_valid():
            try:
                successor, text = tokens.rotate(
                    token.pk,
                    by=request.user.username,
                    created_by=request.user,
                    reason=form.cleaned_data["reason"],
                    overlap=timedelta(hours=form.cleaned_data["overlap_hours"]),
                )
            except NotAllowedNow as error:
                form.add_error(None, str(error))
            else:
                return self.shown_once(request, successor, text)
        return self.render(
            request,
            "tollgate/act.html",
            token,
            form=form,
            title=f"Rotate {token}",
            verb="Rotate token",
            effects=(
                "A new token is made with the same owner and rights.",
                f"It expires in {rules.lifetime_days} days.",
                "Both work during the overlap; then the old one expires by itself.",
                "Runs and idempotency keys of the old one are in reach of the new one.",
                "The text of the new token is shown on the next page, once.",
            ),
            back=self.address(token),
        )

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "token": obj,
            "state": state_of(obj),
            "rights": [Scope(scope).label for scope in obj.scopes],
            "events": events_of("service_token", obj.pk, most=8),
            "use": getattr(obj, "use", None),
            "line": [{"token": each, "state": state_of(each)} for each in tokens.line_of(obj)],
            "may_rotate": not obj.revoked_at
            and getattr(obj, "successor", None) is None
            and self.has_add_permission(request),
        }

    visible = column("begins with", lambda token: f"{token.prefix}…")
    may = column("scopes", lambda token: ", ".join(token.scopes))
    state = column("state", lambda token: badge(state_of(token)))

    @display(description="expires (UTC)", ordering="expires_at")
    def expiry(self, token: ServiceToken) -> str:
        return f"{token.expires_at:%Y-%m-%d %H:%M}" if token.expires_at else "never"

    @display(description="last used (UTC)", ordering="use__last_used_at")
    def last_used(self, token: ServiceToken) -> str:
        use = getattr(token, "use", None)
        if use is None or use.last_used_at is None:
            return "never"
        return f"{use.last_used_at:%Y-%m-%d %H:%M} from {use.last_address or 'no address'}"

    created = moments("created_at", "made", ordering="created_at")


@admin.register(TokenPolicy)
class TokenPolicyAdmin(PageAdmin):
    list_display = ("lifetime_days", "overlap_hours")
    page_template = "workorders/token_policy.html"
    acts = {
        "change-policy": Act(
            title="Token policy",
            permission="workorders.change_tokenpolicy",
            form=PolicyForm,
            initial=("lifetime_days", "overlap_hours"),
            effects=("It holds for tokens made from now on. Those there are keep their dates.",),
            verb="Save",
            perform=lambda request, _, values: tokens.change_policy(
                **values, by=request.user.username
            ),
            done="Saved.",
        )
    }

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {
            "policy": obj,
            "title": "Token policy",
            "events": events_of("token_policy", 1, most=8),
        }


def state_of(token: ServiceToken) -> str:
    if token.revoked_at:
        return "revoked"
    if token.expires_at and token.expires_at <= timezone.now():
        return "expired"
    return "live"
