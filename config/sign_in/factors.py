"""Who needs a second factor, and whether this session has shown one."""

from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest

# RFC 8176: the identity provider has asked for more than one factor.
PROVIDERS_FACTOR = "tollgate_factor_of_provider"


def is_needed(person: Any) -> bool:
    """Once REQUIRE_MFA is set: of superusers, and of everybody in one of MFA_GROUPS."""
    if not settings.TOLLGATE_REQUIRE_MFA or not isinstance(person, User):
        return False
    groups = settings.TOLLGATE_MFA_GROUPS
    return person.is_superuser or person.groups.filter(name__in=groups).exists()


def is_shown(request: HttpRequest) -> bool:
    """A code, a recovery code or a passkey in this session, or the identity provider's word."""
    if request.session.get(PROVIDERS_FACTOR) == str(request.user.pk):
        return True
    records = get_authentication_records(request, request.user)
    return any(record.get("method") == "mfa" for record in records)


def own(person: Any) -> "list[Authenticator]":
    """What this person has set up, but for recovery codes, which stand in for it."""
    return list(
        Authenticator.objects.filter(user_id=person.pk).exclude(
            type=Authenticator.Type.RECOVERY_CODES
        )
    )
