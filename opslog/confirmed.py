"""Whether somebody has confirmed lately that it is still them: the one rule for all that asks."""

import time
from datetime import UTC, datetime
from typing import Any

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.http import HttpRequest


def lately(request: HttpRequest) -> list[Any]:
    """How this session's person has shown who they are within CONFIRM_MINUTES."""
    since = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    records = get_authentication_records(request, request.user)
    return [record for record in records if record["at"] > since]


def confirmed_lately(request: HttpRequest) -> bool:
    """By password, second factor or single sign-on, in this session, within CONFIRM_MINUTES.

    Signing in is no confirmation: it was for everything, and this is for one change.
    """
    return any(record.get("reauthenticated") for record in lately(request))


def second_factor_at(request: HttpRequest) -> datetime | None:
    """When this person last showed their second factor for a change, within CONFIRM_MINUTES: a
    code, a recovery code or a passkey. A password is none, and neither is having set one up."""
    shown = [
        record["at"]
        for record in lately(request)
        if record.get("method") == "mfa"
        and record.get("reauthenticated")
        and not record.get("enrolled")
    ]
    return datetime.fromtimestamp(max(shown), UTC) if shown else None
