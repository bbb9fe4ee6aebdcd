"""Your notifications: how each person wants to hear of what does not need their signature."""

from typing import Any, cast

from django import forms
from django.contrib.auth.decorators import permission_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from opslog.admin.acts import Themed, submitted
from opslog.admin.base import page_of
from opslog.models import Severity
from opslog.outbox import preferences


class NotificationsForm(Themed, forms.Form):
    channel = forms.ChoiceField(label="Notify me by")
    least_severity = forms.ChoiceField(
        label="Minimum severity",
        choices=Severity.choices,
        help_text="Less severe messages are not sent; they stay on the page of messages.",
    )
    quiet_from = forms.TimeField(
        label="Quiet hours from",
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "22:00"}),
        help_text="Empty: none. Messages of these hours come in one digest when they end.",
    )
    quiet_until = forms.TimeField(
        label="Quiet hours until",
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "07:00"}),
    )
    time_zone = forms.CharField(
        max_length=64,
        help_text="Of the quiet hours, for example Europe/Berlin.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = preferences.channel_choices()
        cast("forms.ChoiceField", self.fields["channel"]).choices = choices


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("opslog.view_outboxmessage", raise_exception=True)
def notifications_page(request: HttpRequest) -> HttpResponseBase:
    """Everybody changes their own, and nobody anybody else's."""
    person = cast("User", request.user)  # of the admin, so signed in
    now = preferences.of(person)
    form = NotificationsForm(
        request.POST if request.method == "POST" else None,
        initial={name: getattr(now, name) for name in preferences.FIELDS},
    )
    if submitted(request, form, lambda values: (preferences.choose(person, values), "Saved.")):
        return HttpResponseRedirect(reverse("my-notifications"))
    return page_of(
        request,
        "tollgate/act.html",
        title="Your notifications",
        form=form,
        verb="Save",
        back=reverse("admin:index"),
        effects=(
            "What needs your signature, or is about your account, is always sent by email at once.",
        ),
    )
