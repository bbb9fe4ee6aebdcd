"""One-time links: how somebody gets in, and in again. Nobody else ever sets their password.

A link is made from its row and the secret key, by Django's own generator; it dies with its first
use, its time, a newer one, a log-in, another password, or another address on file.
"""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from budgets.accounts import notices
from budgets.exceptions import Refused
from budgets.models import AccountLink
from opslog import outbox
from opslog.models import OutboxMessage, Severity
from opslog.outbox import delivery
from opslog.outbox.notices import Notice

LIFETIME = timedelta(hours=24)
TOPIC = "account_link"


class LinkTokens(PasswordResetTokenGenerator):
    """Of a link and of all that makes it void."""

    key_salt = "tollgate.accounts.links"

    def _make_hash_value(self, user: Any, timestamp: int) -> str:
        link: AccountLink = user
        person = link.person
        return (
            f"{link.pk}:{person.pk}:{link.sent_to}:{person.email}:{person.password}:"
            f"{person.last_login}:{link.used_at}:{link.replaced_at}:{timestamp}"
        )


_TOKENS: Any = LinkTokens()  # of links, where the stubs say users


def issue(person: User, *, by: str, mailed: bool) -> AccountLink:
    """Issue a link for somebody, to be mailed to the address on file; not `mailed`: for a command
    to print. Any link before it is void. In the caller's transaction. Raises Refused.

    Whether one person may do so is for the caller to have checked.
    """
    if not person.is_active:
        raise Refused("This account is deactivated.")
    if mailed and not person.email:
        raise Refused(
            "There is no email on file. On the server, manage.py account_link prints a link."
        )
    if mailed and not delivery.can_mail():
        raise Refused("No mail is configured. On the server, manage.py account_link prints a link.")
    now = timezone.now()
    AccountLink.objects.filter(person=person, used_at=None, replaced_at=None).update(
        replaced_at=now
    )
    link = AccountLink.objects.create(
        person=person,
        sent_to=person.email if mailed else "",
        issued_by=by,
        expires_at=now + LIFETIME,
    )
    name = person.get_username()
    how = f"mailed to {person.email}" if mailed else "printed by a command"
    event = notices.record(
        "ACCOUNT_LINK_ISSUED",
        f"Password link for {name} {how}",
        person,
        by=by,
        meta={"linkId": link.pk, "how": "mail" if mailed else "command", "sentTo": link.sent_to},
    )
    notices.notify(
        None if mailed else person,  # who gets the link itself is notified by it
        f"Password link for {name} issued",
        change=f"no link → a link, {how}, valid for 24 hours",
        by=by,
        key=str(event),
        details=f"Whoever has the link can set {name}'s password.",
    )
    if mailed:
        outbox.send(
            topic=TOPIC,
            to=[person],
            notice=Notice(
                what=f"A link to set the password of your account {name}",
                change="no link → a link that works once, within 24 hours",
                by=by,
                at=now,
                severity=Severity.WARNING,
                action="Open the link and set your password. Do not share the link.",
                subject="Set your password for Tollgate",
            ),
            link=reverse("admin:index"),
            key=str(link.pk),
            mandatory=True,
        )
    return link


def path_of(link: AccountLink) -> str:
    """The credential: never stored, logged or shown to anybody but the person."""
    pk = urlsafe_base64_encode(str(link.pk).encode())
    return reverse("account-link", args=[pk, _TOKENS.make_token(link)])


def path_for(message: OutboxMessage) -> str:
    """For the message about a link, as it is sent. Raises NothingToSendBy for a void link."""
    link = AccountLink.objects.select_related("person").filter(pk=message.key).first()
    if link is None or not is_live(link) or link.person.email != link.sent_to:
        raise delivery.NothingToSendBy("This link no longer works: used, replaced or expired.")
    return path_of(link)


def opens(link: AccountLink, token: str | None) -> bool:
    """Whether this is the token of this link, and nothing has made it void."""
    return bool(_TOKENS.check_token(link, token))


def find(encoded: str) -> AccountLink | None:
    """The link of an address, if it is live; whether the token is its own: `opens`."""
    try:
        pk = int(urlsafe_base64_decode(encoded).decode("ascii"))
    except ValueError:
        return None
    if not 0 < pk < 2**63:
        return None
    link = AccountLink.objects.select_related("person").filter(pk=pk).first()
    return link if link is not None and is_live(link) else None


def is_live(link: AccountLink, now: datetime | None = None) -> bool:
    return (
        link.used_at is None
        and link.replaced_at is None
        and link.expires_at > (now or timezone.now())
        and link.person.is_active
    )


def use(link_id: int, token: str, password: str) -> User:
    """Set the person's password, once. Raises Refused where the link is void by now."""
    with transaction.atomic():
        person = User.objects.select_for_update(no_key=True, of=("self",)).get(
            account_links=link_id
        )
        link = AccountLink.objects.select_for_update(no_key=True).get(pk=link_id)
        link.person = person
        if not is_live(link) or not opens(link, token):
            raise Refused("This link was used or replaced, or it has expired. Ask for another one.")
        link.used_at = timezone.now()
        link.save(update_fields=["used_at"])
        name = person.get_username()
        person.set_password(password)
        # Without the hook of `passwords`, which would report it like any change.
        person._password = None  # type: ignore[attr-defined]
        person.save(update_fields=["password"])
        notices.record_and_notify(
            "ACCOUNT_LINK_USED",
            f"{name} set a password with a link",
            person,
            by=name,
            meta={
                "linkId": link.pk,
                "issuedBy": link.issued_by,
                "changes": {"password": {"old": "hidden", "new": "hidden"}},
            },
            change="the password before → a new password",
            details=f"The link was issued by {link.issued_by}.",
        )
    return person
