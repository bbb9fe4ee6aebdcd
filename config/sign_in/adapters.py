"""Where allauth asks what is to be done here."""

import base64
import hashlib
import secrets
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.encoding import force_bytes

from budgets.accounts import signing_in
from config.sign_in import factors, single
from opslog import events, sign_in
from opslog.api.client_address import client_address
from opslog.confirmed import confirmed_lately, lately

WAYS = {
    "reauthenticate": "Use your password",
    "mfa_reauthenticate": "Use a code",
    "mfa_reauthenticate:webauthn": "Use a passkey",
}
TOO_MANY = "Too many attempts. Wait a few minutes, then try again."


class AccountAdapter(DefaultAccountAdapter):
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "too_many_login_attempts": TOO_MANY,
        "rate_limited": TOO_MANY,
        "username_password_mismatch": "The username or password is incorrect.",
        "incorrect_password": "That is not your password.",
        "enter_current_password": "That is not your current password.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Administrators set people up."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request) or "0.0.0.0"  # noqa: S104  (unknown, over a unix socket)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Before any password is hashed."""
        request.try_ = sign_in.let_in(  # type: ignore[attr-defined]
            credentials.get("username", ""),
            address=client_address(request),
            devices=request.COOKIES.get(sign_in.DEVICE_COOKIE, ""),
        )
        if request.try_ is None:  # type: ignore[attr-defined]
            signing_in.locked_out(request, credentials.get("username", ""))
            raise self.validation_error("too_many_login_attempts")

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        user = super().authenticate(request, **credentials)
        if user is not None:
            request.try_.succeeded()  # type: ignore[attr-defined]
        return user

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """A wrong password of somebody who is signed in: somebody else sits there, or may."""
        person = request.user
        if isinstance(person, User):
            events.record(
                "PASSWORD_REFUSED",
                message=f"A wrong password of {person.get_username()}, who is signed in",
                owner=("user", str(person.pk)),
                label=person.get_username(),
                actor=person.get_username(),
                meta={"personId": person.pk},
            )

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        """Whichever way somebody comes: everybody here works in the admin."""
        if not user.is_active or not user.is_staff:
            refused: HttpResponse = self.respond_user_inactive(request, user)
            return refused
        return None

    def post_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse:
        """From now on this browser is known to be this person's."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        login = (kwargs.get("signal_kwargs") or {}).get("sociallogin")
        if login is not None and single.asked_for_factors(login):
            request.session[factors.PROVIDERS_FACTOR] = str(user.pk)
        known = request.COOKIES.get(sign_in.DEVICE_COOKIE, "")
        response.set_cookie(
            sign_in.DEVICE_COOKIE,
            sign_in.with_person(known, user.get_username()),
            max_age=sign_in.DEVICE_AGE,
            path=reverse("account_login").removesuffix("login/"),
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
        return response

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """Who has neither password nor second factor here confirms where they signed in."""
        found: list[dict[str, Any]] = [
            {**each, "description": WAYS.get(each["id"], each["description"])}
            for each in super().get_reauthentication_methods(user)
        ]
        if not found and single.account_of(user):
            return [
                {
                    "id": "single_sign_on",
                    "description": "Use single sign-on",
                    "url": reverse("account_confirm_by_sso"),
                }
            ]
        return found

    def is_reauthentication_required(self, *, app: str) -> bool:
        """The first factor is set up right after signing in, without a second question."""
        required: bool = super().is_reauthentication_required(app=app)
        request: HttpRequest = self.request
        if confirmed_lately(request) or (app == "allauth.mfa" and just_signed_in(request)):
            return False
        return required

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("usersessions_list")


def just_signed_in(request: HttpRequest) -> bool:
    """Lately, and with no second factor yet that could be taken over."""
    return not factors.own(request.user) and bool(lately(request))


class FactorAdapter(DefaultMFAAdapter):
    """Secrets of authenticator apps are encrypted: who reads the tables computes no code."""

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Who needs a second factor keeps one; another may be set up first."""
        others = [each for each in factors.own(authenticator.user) if each.pk != authenticator.pk]
        return bool(others) or not factors.is_needed(authenticator.user)

    def generate_authenticator_name(self, user: Any, type: Any) -> str:
        number = Authenticator.objects.filter(user_id=user.pk, type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"

    def encrypt(self, text: str) -> str:
        return keys().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """What was written with another secret key is a secret that nobody knows, each time a new
        one: of an empty one everybody could compute the codes."""
        try:
            return keys().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            return base64.b32encode(secrets.token_bytes(20)).decode()


def keys() -> MultiFernet:
    return MultiFernet(
        [
            Fernet(
                base64.urlsafe_b64encode(hashlib.sha256(b"factors:" + force_bytes(key)).digest())
            )
            for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        ]
    )
