"""Whether somebody has confirmed lately that it is still them: the one rule for all that asks."""

import time

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.http import HttpRequest


def confirmed_lately(request: HttpRequest) -> bool:
    """By password, second factor or single sign-on, in this session, within CONFIRM_MINUTES.

    Signing in is no confirmation: it was for everything, and this is for one change.
    """
    since = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    records = get_authentication_records(request, request.user)
    return any(record.get("reauthenticated") and record["at"] > since for record in records)
