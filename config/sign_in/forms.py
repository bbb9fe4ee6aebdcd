"""Forms that ask for something that could be guessed: each try is counted before it is judged."""

from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.forms import ChangePasswordForm
from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django.contrib.auth.models import User

from opslog import events, sign_in
from opslog.api.client_address import client_address

CODE_SECONDS = 120  # longer than a code of an authenticator app can be right


def count(person: User, what: str) -> sign_in.Try:
    """Raises ValidationError where nothing is to be looked at now."""
    request = context.request
    found = sign_in.let_in(
        person.get_username(),
        address=client_address(request),
        devices=request.COOKIES.get(sign_in.DEVICE_COOKIE, ""),
        what=what,
    )
    if found is None:
        raise get_adapter().validation_error("too_many_login_attempts")
    return found


class CodeMixin:
    """A one-time code is good once, in whichever process; using a recovery code is an event."""

    user: User
    authenticator: Authenticator

    def clean_code(self) -> str:
        tried = count(self.user, "code")
        code: str = super().clean_code()  # type: ignore[misc]
        if self.authenticator.type == Authenticator.Type.TOTP and not sign_in.first_use(
            self.user.get_username(), code.replace(" ", ""), seconds=CODE_SECONDS
        ):
            raise get_adapter().validation_error("incorrect_code")
        tried.succeeded()
        return code

    def save(self) -> None:
        super().save()  # type: ignore[misc]
        if self.authenticator.type == Authenticator.Type.RECOVERY_CODES:
            name = self.user.get_username()
            events.record(
                "RECOVERY_CODE_USED",
                message=f"{name} signed in with a recovery code",
                owner=("user", str(self.user.pk)),
                label=name,
                actor=name,
            )


class SignInCodeForm(CodeMixin, AuthenticateForm):
    pass


class ConfirmCodeForm(CodeMixin, ReauthenticateForm):
    pass


class PasskeyForm(AddWebAuthnForm):
    """A passkey, unless it is declared to be a security key that knows nobody."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].help_text = "So you can tell your passkeys apart."
        alone = self.fields["passwordless"]
        alone.label, alone.initial = "Sign in without a password", True
        alone.help_text = (
            "Uses your fingerprint, face, or PIN. Clear this for a security key that has none of "
            "them: you use it with your password."
        )


class NewPasswordForm(ChangePasswordForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, label in (
            ("oldpassword", "Current password"),
            ("password1", "New password"),
            ("password2", "New password again"),
        ):
            self.fields[name].label = label
            self.fields[name].widget.attrs.pop("placeholder", None)

    def clean_oldpassword(self) -> Any:
        tried = count(self.user, "name")
        password = super().clean_oldpassword()
        tried.succeeded()
        return password
