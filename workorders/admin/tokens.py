"""Service tokens: made (the text is shown once), read, revoked. Never edited, never deleted."""

import ipaddress
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
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from opslog.admin.base import PageAdmin, ReasonForm, badge
from opslog.models import OperationsEvent
from workorders import tokens
from workorders.exceptions import NotAllowedNow
from workorders.models import Run, Scope, ServiceToken, WorkOrder


def text_input() -> forms.Widget:
    return UnfoldAdminTextInputWidget()  # type: ignore[no-any-return]


class TokenForm(forms.Form):
    """What a token may do. Everything here is fixed once it is made: make another one instead."""

    name = forms.CharField(
        max_length=100, widget=text_input(), help_text="What uses it: a service, a job."
    )
    owner = forms.ModelChoiceField(
        User.objects.filter(is_active=True).order_by("username"),
        widget=UnfoldAdminSelectWidget(),
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
        help_text="Empty: never.",
    )
    networks = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "placeholder": "10.0.0.0/8"}),
        help_text="Networks it may be used from, in CIDR notation, one a line. Empty: anywhere.",
    )
    work_orders = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Ids of the work orders it may be used for, one a line. Empty: all.",
    )
    surface = forms.CharField(
        required=False,
        max_length=100,
        widget=text_input(),
        help_text="Wins over what a request says. Empty: not pinned.",
    )
    feature = forms.CharField(
        required=False,
        max_length=100,
        widget=text_input(),
        help_text="Wins over what a request says. Empty: not pinned.",
    )

    def clean_expires_at(self) -> Any:
        at = self.cleaned_data["expires_at"]
        if at and at <= timezone.now():
            raise ValidationError("That is in the past.")
        return at

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


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, str], ...]:
        return (("live", "live"), ("expired", "expired"), ("revoked", "revoked"))

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        now = timezone.now()
        if self.value() == "revoked":
            return queryset.exclude(revoked_at=None)
        if self.value() == "expired":
            return queryset.filter(revoked_at=None, expires_at__lte=now)
        if self.value() == "live":
            return queryset.filter(revoked_at=None).exclude(expires_at__lte=now)
        return queryset


@admin.register(ServiceToken)
class ServiceTokenAdmin(PageAdmin):
    list_display = ("name", "visible", "owner", "may", "state", "expiry", "created")
    list_filter = (StateFilter,)
    list_select_related = ("owner",)
    search_fields = ("name", "prefix", "owner__username")
    search_help_text = "a name, the visible beginning, or an owner"
    page_template = "workorders/token.html"
    acts = {"revoke": "revoke"}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("workorders.add_servicetoken")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        """The page that answers the POST is the only place where the text is ever shown: nothing
        of it goes into a session, a message, a log or an address."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request.POST or None, initial={"owner": request.user.pk})
        if request.method == "POST" and form.is_valid():
            token, text = tokens.create(by=request.user.get_username(), **form.cleaned_data)
            shown = self.render(
                request, "workorders/token_shown.html", token, token=token, text=text
            )
            shown["Cache-Control"] = "no-store"
            return shown
        return self.render(
            request, "workorders/token_add.html", None, title="New service token", form=form
        )

    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        if not request.user.has_perm("workorders.revoke_servicetoken"):
            raise PermissionDenied
        token = self.thing(request, object_id)

        def perform(told: dict[str, Any]) -> str:
            by = request.user.get_username()
            if not tokens.revoke(token.pk, by=by, reason=told["reason"]):
                raise NotAllowedNow("It was revoked already.")
            return f"{token.name} is revoked: its next request is refused."

        running = Run.objects.filter(status=Run.Status.RUNNING, token_id=token.pk).count()
        return self.act(
            request,
            token,
            form=ReasonForm,
            perform=perform,
            refusals=(NotAllowedNow,),
            title=f"Revoke {token}",
            verb="Revoke this token",
            danger=True,
            effects=(
                "Every request with it is refused from the next one on. This cannot be undone.",
                f"Open runs that it started: {running}.",
                "Only a token with the scope admin can finish those.",
                "What is not finished settles at its reservation when its lease ends.",
            ),
        )

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        told = OperationsEvent.objects.filter(owner_type="service_token", owner_id=str(obj.pk))
        return {
            "token": obj,
            "state": state_of(obj),
            "may": [Scope(scope).label for scope in obj.scopes],
            "events": told[:8],
            "may_revoke": not obj.revoked_at
            and request.user.has_perm("workorders.revoke_servicetoken"),
        }

    @display(description="begins with")
    def visible(self, token: ServiceToken) -> str:
        return f"{token.prefix}…"

    @display(description="scopes")
    def may(self, token: ServiceToken) -> str:
        return ", ".join(token.scopes)

    @display(description="state")
    def state(self, token: ServiceToken) -> str:
        return badge(state_of(token))

    @display(description="expires (UTC)", ordering="expires_at")
    def expiry(self, token: ServiceToken) -> str:
        return f"{token.expires_at:%Y-%m-%d %H:%M}" if token.expires_at else "never"

    @display(description="made (UTC)", ordering="created_at")
    def created(self, token: ServiceToken) -> str:
        return f"{token.created_at:%Y-%m-%d %H:%M}"


def state_of(token: ServiceToken) -> str:
    if token.revoked_at:
        return "revoked"
    if token.expires_at and token.expires_at <= timezone.now():
        return "expired"
    return "live"
