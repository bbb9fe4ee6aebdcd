"""A signature of a solo operator asks for the second factor, whatever was confirmed by password."""

from datetime import datetime

from allauth.account.internal.flows.reauthentication import suspend_request
from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse

from budgets.approvals.solo_operator import SoloOperator
from opslog.confirmed import second_factor_at

WAYS = {
    Authenticator.Type.TOTP: "mfa_reauthenticate",
    Authenticator.Type.WEBAUTHN: "mfa_reauthenticate_webauthn",
}


def ask(request: HttpRequest) -> HttpResponseBase:
    """To where it is shown, and back to this; a form that was sent is sent again for them."""
    own = Authenticator.objects.filter(user_id=request.user.pk).values_list("type", flat=True)
    for kind, name in WAYS.items():
        if kind in own:
            onward: HttpResponseBase = suspend_request(request, reverse(name))
            return onward
    messages.error(
        request, "Signing as the solo operator needs a second factor. Set up two-factor first."
    )
    return HttpResponseRedirect(reverse("mfa_index"))


def first(
    request: HttpRequest, solo: SoloOperator | None, since: datetime, back: str
) -> HttpResponseBase | None:
    """Where to go before this act, if it is a signature of the solo operator; None: go on."""
    if solo is None:
        return None
    if reason := solo.why_not_yet(since):
        messages.error(request, reason)
        return HttpResponseRedirect(back)
    shown = second_factor_at(request)
    if shown is None or shown < solo.from_when(since):
        return ask(request)
    return None
