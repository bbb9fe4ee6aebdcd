"""The few views that allauth has not, or not as they are needed here."""

import logging
from typing import Any

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.internal.flows.reauthentication import resume_request
from allauth.account.views import LoginView
from allauth.mfa.webauthn.views import login_webauthn
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.openid_connect.views import callback
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods
from requests import RequestException

from config.environment import issuer_id
from opslog import sign_in
from opslog.api.client_address import client_address

logger = logging.getLogger(__name__)
WRONG_ANSWERS = (RequestException, KeyError, TypeError, ValueError)


@method_decorator(sensitive_post_parameters("password"), name="dispatch")
class SignInView(LoginView):
    def form_invalid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_invalid(form)
        if form.has_error("__all__", "too_many_login_attempts"):
            response.status_code = 429
            response.headers["Retry-After"] = str(sign_in.ADDRESS_WINDOW)
        return response


@require_http_methods(["GET", "POST"])
def sign_in_by_passkey(request: HttpRequest) -> HttpResponse:
    if not sign_in.let_challenge_in(client_address(request)):
        return too_many()
    response: HttpResponse = login_webauthn(request)
    return response


@require_GET
def single_sign_on(request: HttpRequest) -> HttpResponse:
    """On to the provider, and back to `next`. It signs in, and does nothing else."""
    if not sign_in.let_challenge_in(client_address(request)):
        return too_many()
    return on_to_provider(request, "login", request.GET.get("next", ""))


@require_GET
@login_required
def confirm_by_sso(request: HttpRequest) -> HttpResponse:
    """The provider is to ask again, whoever is signed in there."""
    back = reverse("account_confirmed_by_sso")
    if onward := request.GET.get("next"):
        back = f"{back}?{urlencode({'next': onward})}"
    return on_to_provider(request, "redirect", back, {"prompt": "login", "max_age": "0"})


@require_GET
@login_required
def confirmed_by_sso(request: HttpRequest) -> HttpResponse:
    """What was put off until it was confirmed who is there."""
    return resume_request(request) or redirect("admin:index")


def on_to_provider(
    request: HttpRequest, process: str, back: str, ask: dict[str, str] | None = None
) -> HttpResponse:
    try:
        provider = get_adapter().get_provider(request, issuer_id(settings.TOLLGATE_OIDC_ISSUER))
    except SocialApp.DoesNotExist:
        raise Http404("Single sign-on is not set up.") from None
    safe = back if back and get_account_adapter().is_safe_url(back) else None
    try:
        response: HttpResponse = provider.redirect(
            request, process=process, next_url=safe, auth_params=dict(ask or {})
        )
    except WRONG_ANSWERS as error:
        return failed(request, error)
    return response


def back_from_provider(request: HttpRequest, provider_id: str) -> HttpResponse:
    try:
        response: HttpResponse = callback(request, provider_id)
    except WRONG_ANSWERS as error:
        return failed(request, error)
    return response


def too_many() -> HttpResponse:
    return HttpResponse(status=429, headers={"Retry-After": str(sign_in.ADDRESS_WINDOW)})


def failed(request: HttpRequest, error: Exception) -> HttpResponse:
    """The provider is not there, or says something that no provider says."""
    logger.warning("Single sign-on failed: %s", type(error).__name__)
    return render(request, "socialaccount/authentication_error.html", status=502)
