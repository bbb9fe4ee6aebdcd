"""Events of second factors, in the transaction of the change: whoever makes it, and however."""

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from django.db.models.signals import post_delete, post_save
from django.http import HttpRequest

from opslog import events

NAMES = {
    Authenticator.Type.TOTP: "an authenticator app",
    Authenticator.Type.WEBAUTHN: "a passkey or security key",
    Authenticator.Type.RECOVERY_CODES: "recovery codes",
}


def added(sender: Any, instance: Authenticator, created: bool, **kwargs: Any) -> None:
    if created:
        tell("SECOND_FACTOR_ADDED", "added", instance)


def removed(sender: Any, instance: Authenticator, **kwargs: Any) -> None:
    tell("SECOND_FACTOR_REMOVED", "removed", instance)


def tell(kind: str, what: str, factor: Authenticator) -> None:
    name = factor.user.get_username()
    who = getattr(getattr(context, "request", None), "user", None)
    actor = who.get_username() if who is not None and who.is_authenticated else "command"
    events.record(
        kind,
        message=f"Second factor of {name}: {NAMES[Authenticator.Type(factor.type)]} {what}",
        owner=("user", str(factor.user_id)),
        label=name,
        actor=actor,
        meta={"factor": str(factor.type)},
    )


def shown(request: HttpRequest, user: Any, authenticator: Authenticator, **kwargs: Any) -> None:
    """Setting one up has shown it: this session need not ask for it again."""
    if authenticator.type != Authenticator.Type.RECOVERY_CODES:
        record_authentication(
            request, user, method="mfa", id=authenticator.pk, type=authenticator.type
        )


def listen() -> None:
    post_save.connect(added, sender=Authenticator, dispatch_uid="tollgate.factor.added")
    post_delete.connect(removed, sender=Authenticator, dispatch_uid="tollgate.factor.removed")
    authenticator_added.connect(shown, dispatch_uid="tollgate.factor.shown")
