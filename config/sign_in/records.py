"""Events of second factors, in the transaction of the change: whoever makes it, and however."""

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.core import context
from allauth.mfa.models import Authenticator
from django.db.models.signals import post_delete, post_save

from opslog import events

NAMES = {
    Authenticator.Type.TOTP: "an authenticator app",
    Authenticator.Type.WEBAUTHN: "a passkey or security key",
    Authenticator.Type.RECOVERY_CODES: "recovery codes",
}


def added(sender: Any, instance: Authenticator, created: bool, **kwargs: Any) -> None:
    """Setting one up has shown it: this session is not asked for it again."""
    if not created:
        return
    tell("SECOND_FACTOR_ADDED", "added", instance)
    request = context.request
    own = request is not None and request.user.pk == instance.user_id
    if own and instance.type != Authenticator.Type.RECOVERY_CODES:
        record_authentication(
            request,
            request.user,
            method="mfa",
            id=instance.pk,
            type=instance.type,
            reauthenticated=True,
            enrolled=True,  # it was set up, which is not showing it for a change
        )


def removed(sender: Any, instance: Authenticator, **kwargs: Any) -> None:
    tell("SECOND_FACTOR_REMOVED", "removed", instance)


def tell(kind: str, what: str, factor: Authenticator) -> None:
    name = factor.user.get_username()
    who = getattr(context.request, "user", None)
    actor = who.get_username() if who is not None and who.is_authenticated else "command"
    events.record(
        kind,
        message=f"Second factor of {name}: {NAMES[Authenticator.Type(factor.type)]} {what}",
        owner=("user", str(factor.user_id)),
        label=name,
        actor=actor,
        meta={"factor": str(factor.type)},
    )


def listen() -> None:
    post_save.connect(added, sender=Authenticator, dispatch_uid="tollgate.factor.added")
    post_delete.connect(removed, sender=Authenticator, dispatch_uid="tollgate.factor.removed")
