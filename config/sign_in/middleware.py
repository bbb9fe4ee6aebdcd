"""What holds on every request of somebody who is signed in: pages, the admin and the API alike.

One rule each, here and nowhere else: how long a session lasts, that a second factor was shown where
one is needed, and that changes of rules, people and tokens were confirmed lately.
"""

import time
from typing import Any
from urllib.parse import urlencode

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from config.middleware import API_PREFIXES, Middleware
from config.sign_in import factors
from config.sign_in.adapters import AccountAdapter
from opslog.confirmed import confirmed_lately

BEGAN, SEEN = "tollgate_began", "tollgate_seen"  # seconds of the epoch, in the session
SEEN_EVERY = 60  # seconds: so often a request writes that somebody is there
# Pages ask for these by themselves; nobody needs to be there.
BY_THEMSELVES = frozenset({"ops-dashboard-live"})
# To show a factor, and the way out: for everybody who is signed in.
TO_SHOW_A_FACTOR = frozenset(
    {
        "account_logout",
        "admin:logout",
        "mfa_reauthenticate",
        "mfa_reauthenticate_webauthn",
        "account_confirm_by_sso",
        "account_confirmed_by_sso",
        "openid_connect_callback",
    }
)
# Changes of rules, people and tokens: a new page that makes one belongs in here.
# The forms of these are opened for nothing else, so they ask before anything is typed.
CONFIRMED = frozenset(
    {
        "admin:auth_user_add",
        "admin:auth_user_link",
        "admin:budgets_accountchange_confirm",
        "admin:budgets_approvalrule_replace",
        "admin:budgets_alertrule_add",
        "admin:budgets_alertrule_change_rule",
        "admin:opslog_messagepolicy_change_policy",
        "admin:budgets_preflightrule_change_rule",
        "admin:workorders_servicetoken_add",
        "admin:workorders_servicetoken_rotate",
        "admin:workorders_tokenpolicy_change_policy",
    }
)
# These show something as well, or stop something: only sending the form asks.
CONFIRMED_WHEN_SENT = frozenset({"admin:auth_user_change"})

SET_UP = "Your role requires two-factor authentication. Set it up to continue."


class SessionAgeMiddleware(Middleware):
    """A session ends SESSION_IDLE_MINUTES after its last request, and after SESSION_MAX_HOURS."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            session, now = request.session, int(time.time())
            began, seen = session.get(BEGAN, now), session.get(SEEN, now)
            idle, longest = settings.TOLLGATE_SESSION_IDLE, settings.SESSION_COOKIE_AGE
            if now - seen >= idle or now - began >= longest:
                logout(request)
                messages.info(request, "Your session expired. Sign in again.")
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Who is there is written at most once a minute."""
        match = request.resolver_match
        if not request.user.is_authenticated or match is None:
            return
        session, now = request.session, int(time.time())
        if BEGAN not in session:
            session[BEGAN] = session[SEEN] = now
        elif match.view_name not in BY_THEMSELVES and now - session[SEEN] >= SEEN_EVERY:
            session[SEEN] = now
            UserSession.objects.filter(session_key=session.session_key).update(
                last_seen_at=timezone.now()
            )


class SecondFactorMiddleware(Middleware):
    """Without the second factor that a person needs, they set one up, show it, or sign out."""

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        name = request.resolver_match.view_name if request.resolver_match else ""
        person = request.user
        if not person.is_authenticated or name in TO_SHOW_A_FACTOR or factors.is_shown(request):
            return None
        # Where factors are managed one is shown by whoever has one: not even with the password does
        # a session from before it add one of its own.
        manages = name.startswith("mfa_")
        if not manages and not factors.is_needed(person):
            return None
        own = factors.own(person)
        if not own and (manages or name == "account_reauthenticate"):
            return None
        if is_for_machines(request):
            return JsonResponse(
                {"error": "two-factor authentication is required: set it up at /account/factors/"},
                status=403,
                headers={"Tollgate-Denial": "second_factor"},
            )
        if not own:
            messages.warning(request, SET_UP)
            return redirect("mfa_index")
        by_app = any(each.type == each.Type.TOTP for each in own)
        way = "mfa_reauthenticate" if by_app else "mfa_reauthenticate_webauthn"
        return by_way_of(reverse(way), request)


class ConfirmedMiddleware(Middleware):
    """Changes of rules, people and tokens: only who has confirmed lately that it is still them."""

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        match = request.resolver_match
        name = match.view_name if match else ""
        sent = request.method not in ("GET", "HEAD")
        if not request.user.is_authenticated or not (
            name in CONFIRMED or (sent and name in CONFIRMED_WHEN_SENT)
        ):
            return None
        if confirmed_lately(request):
            return None
        methods = AccountAdapter().get_reauthentication_methods(request.user)
        if not methods:
            messages.error(
                request,
                "This change asks you to confirm it’s you. Set up two-factor authentication first.",
            )
            return redirect("admin:index")
        if sent:
            messages.warning(request, "Nothing was saved. Submit the form again.")
        return by_way_of(methods[0]["url"], request)


def by_way_of(address: str, request: HttpRequest) -> HttpResponse:
    """There first, and then on to what was asked for."""
    return redirect(f"{address}?{urlencode({'next': request.get_full_path()}, safe='/')}")


def is_for_machines(request: HttpRequest) -> bool:
    return request.path_info.startswith(API_PREFIXES)
