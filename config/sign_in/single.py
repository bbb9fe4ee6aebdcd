"""Single sign-on: what an OpenID Connect provider says of a person, and what follows from it.

People are the same by issuer and subject, never by an email address: the row that links them has
the issuer in its `provider` (`issuer_id`), so another issuer's subjects are other people. Groups
are those of the claim, through OIDC_GROUPS. Leaving one takes effect at once at the next sign-in;
joining one that does more than read waits for an administrator.
"""

import re
import time
from collections.abc import Mapping
from itertools import count
from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import redirect

from budgets import accounts
from budgets.accounts.names import problem
from config.environment import issuer_id

ACTOR = "single sign-on"
NO_GROUP = (
    "Your identity provider doesn’t put you in any group that can use Tollgate. Ask an "
    "administrator."
)
WAITS = "An administrator must confirm your groups before you can sign in. They’ve been asked."
NOT_TRUSTED = "Your identity provider’s response couldn’t be verified. Nothing was changed."
NOT_ASKED = "Your identity provider didn’t ask you to sign in again. Nothing was confirmed."
USED_NAME = re.compile(r"[^\w.@+-]", re.ASCII)


def account_of(person: Any) -> SocialAccount | None:
    """The link of this person to the issuer that is configured."""
    if not settings.TOLLGATE_OIDC_ISSUER:
        return None
    configured = issuer_id(settings.TOLLGATE_OIDC_ISSUER)
    return SocialAccount.objects.filter(user_id=person.pk, provider=configured).first()


def asked_for_factors(login: SocialLogin) -> bool:
    """RFC 8176: `mfa` among the methods that the provider says it used."""
    methods = claims(login).get("amr")
    return isinstance(methods, list) and "mfa" in methods


def claims(login: SocialLogin) -> dict[str, Any]:
    """Of the ID token, with what only the user info has."""
    data = login.account.extra_data
    return {**(data.get("userinfo") or {}), **(data.get("id_token") or {})}


def groups_of(from_provider: Mapping[str, Any]) -> set[str]:
    """Names of groups here, from the claim. `a.b` names a claim within a claim."""
    found: Any = from_provider
    for part in settings.TOLLGATE_OIDC_GROUPS_CLAIM.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    names = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    mapped: dict[str, str] = settings.TOLLGATE_OIDC_GROUPS
    return {mapped[name] for name in names if isinstance(name, str) and name in mapped}


def follow(person: User, wanted: set[str]) -> None:
    """Groups that OIDC_GROUPS names become those of the claim; others are left as they are.

    Groups that are lost are lost at once. Into one that does more than read an administrator lets
    people in: the provider proposes it.
    """
    with transaction.atomic():
        accounts.leave_groups(
            person, set(settings.TOLLGATE_OIDC_GROUPS.values()) - wanted, by=ACTOR
        )
        accounts.join_by_single_sign_on(person, wanted)


def new_person(from_provider: Mapping[str, Any]) -> User:
    """A person who comes for the first time. A name that is taken gets a number: nobody takes over
    an account by having its name, or its address, elsewhere."""
    email = str(from_provider.get("email") or "")[:254]
    wish = str(from_provider.get("preferred_username") or email.partition("@")[0] or "person")
    base = USED_NAME.sub("-", wish)[:140]
    if accounts.name_problem(base) and accounts.name_problem(f"{base}-2"):
        base = "person"  # a name that nobody may have, whatever its number
    names = (base if number == 1 else f"{base}-{number}" for number in count(1))
    return accounts.create_by_single_sign_on(
        {
            "username": next(name for name in names if not accounts.name_problem(name)),
            "email": email if from_provider.get("email_verified") is True else "",
            "first_name": clean(from_provider.get("given_name")),
            "last_name": clean(from_provider.get("family_name")),
        },
        by=ACTOR,
    )


def clean(text: Any) -> str:
    """A first or last name, or nothing where it has what no name may have."""
    name = str(text or "")[:150]
    return "" if problem(name) else name


class SingleSignOnAdapter(DefaultSocialAccountAdapter):
    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Everything that is judged of the provider's word, before anybody is signed in by it."""
        token = sociallogin.account.extra_data.get("id_token") or {}
        user_info = sociallogin.account.extra_data.get("userinfo") or {}
        issuer = str(token.get("iss", "")).rstrip("/")
        if issuer != settings.TOLLGATE_OIDC_ISSUER or user_info.get("sub", token.get("sub")) != (
            token.get("sub")
        ):
            raise refusal(request, NOT_TRUSTED)
        if sociallogin.state.get("process") == "redirect":
            confirm(request, sociallogin)
            return
        wanted = groups_of(claims(sociallogin))
        if sociallogin.is_existing:
            follow(sociallogin.user, wanted)
        elif wanted:
            with transaction.atomic():
                person = new_person(claims(sociallogin))
                follow(person, wanted)
                sociallogin.connect(request, person)
        if not sociallogin.is_existing:
            raise refusal(request, NO_GROUP)
        if not sociallogin.user.groups.exists():
            raise refusal(request, WAITS if wanted else NO_GROUP)


def confirm(request: HttpRequest, login: SocialLogin) -> None:
    """Who is signed in has shown at the provider, just now, that it is still them. The provider
    says when (`auth_time`, which it must once `max_age` is sent): its address could be edited."""
    if login.user != request.user:
        raise refusal(request, "You signed in as a different person. Nothing was confirmed.")
    confirmed_at = claims(login).get("auth_time")
    if (
        not isinstance(confirmed_at, int)
        or confirmed_at < time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    ):
        raise refusal(request, NOT_ASKED)
    record_authentication(
        request,
        request.user,
        method="socialaccount",
        provider=login.account.provider,
        uid=login.account.uid,
        reauthenticated=True,
    )


def refusal(request: HttpRequest, why: str) -> ImmediateHttpResponse:
    messages.error(request, why)
    return ImmediateHttpResponse(redirect("account_login"))
