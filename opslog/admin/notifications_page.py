"""Your notifications: how each person wants to hear of what does not need their signature."""

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from opslog.exceptions import NotAllowedNow
from opslog.models import Severity
from opslog.outbox import preferences


class NotificationsForm(forms.Form):
    channel = forms.ChoiceField(label="Notify me by", widget=UnfoldAdminSelectWidget())
    least_severity = forms.ChoiceField(
        label="Minimum severity",
        choices=Severity.choices,
        widget=UnfoldAdminSelectWidget(),
        help_text="Less severe messages are not sent; they stay on the page of messages.",
    )
    quiet_from = forms.TimeField(
        label="Quiet hours from",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "22:00"}),
        help_text="Empty: none. Messages of these hours come in one digest when they end.",
    )
    quiet_until = forms.TimeField(
        label="Quiet hours until",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "07:00"}),
    )
    time_zone = forms.CharField(
        max_length=64,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Of the quiet hours, for example Europe/Berlin.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = preferences.channel_choices()
        cast("forms.ChoiceField", self.fields["channel"]).choices = choices


@require_http_methods(["GET", "HEAD", "POST"])
def notifications_page(request: HttpRequest) -> HttpResponseBase:
    """Everybody changes their own, and nobody anybody else's."""
    person = cast("User", request.user)  # of the admin, so signed in
    if not person.has_perm("opslog.view_outboxmessage"):
        raise PermissionDenied
    now = preferences.of(person)
    form = NotificationsForm(
        request.POST if request.method == "POST" else None,
        initial={name: getattr(now, name) for name in preferences.FIELDS},
    )
    if request.method == "POST" and form.is_valid():
        try:
            preferences.choose(person, form.cleaned_data)
        except NotAllowedNow as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Saved.")
            return HttpResponseRedirect(reverse("my-notifications"))
    context = {
        **admin.site.each_context(request),
        "title": "Your notifications",
        "form": form,
        "verb": "Save",
        "back": reverse("admin:index"),
        "effects": (
            "What needs your signature, or is about your account, is always sent by email at once.",
        ),
    }
    return TemplateResponse(request, "tollgate/act.html", context)
