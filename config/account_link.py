"""Where a one-time link leads: its person, and nobody else, sets their password."""

from functools import cached_property
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import logout
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.models import User
from django.contrib.auth.views import INTERNAL_RESET_SESSION_TOKEN, PasswordResetConfirmView
from django.http import HttpResponse
from django.shortcuts import redirect
from unfold.widgets import BASE_INPUT_CLASSES

from budgets.accounts import links
from budgets.exceptions import Refused
from budgets.models import AccountLink


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]  # of Django's own people
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["class"] = " ".join(BASE_INPUT_CLASSES)
        self.fields["new_password1"].widget.attrs["autofocus"] = True


class AccountLinkView(PasswordResetConfirmView):
    """Django's own walk: the token leaves the address for the session at once, so that no Referer
    has it. What it is checked against is a link of ours."""

    form_class = NewPasswordForm
    template_name = "admin/account_link.html"
    title = "Set your password"
    link: AccountLink | None = None

    def get_user(self, uidb64: str) -> User | None:
        self.link = links.find(uidb64)
        return self.link.person if self.link else None

    @cached_property
    def token_generator(self) -> Any:
        return _OfLink(self)

    def form_valid(self, form: Any) -> HttpResponse:
        token = self.request.session.pop(INTERNAL_RESET_SESSION_TOKEN, "")
        try:
            links.use(self.link.pk if self.link else 0, token, form.cleaned_data["new_password1"])
        except (Refused, User.DoesNotExist) as error:
            messages.error(self.request, str(error))
        else:
            # Whoever was logged in here goes on as nobody: the next step is to log in.
            logout(self.request)
            messages.success(self.request, "Your password is set. You can log in now.")
        return redirect(settings.LOGIN_URL)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        name = self.link.person.get_username() if self.link and self.validlink else ""
        return {
            **admin.site.each_context(self.request),
            **super().get_context_data(username=name, **kwargs),
        }


class _OfLink:
    """What Django's view calls; the link stands for the person."""

    def __init__(self, view: AccountLinkView) -> None:
        self.view = view

    def check_token(self, user: Any, token: str | None) -> bool:
        link = self.view.link
        return link is not None and links.opens(link, token)
