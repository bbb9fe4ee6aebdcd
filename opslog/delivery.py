"""Sending what is in the outbox: email to people, apprise to channels. Never in a transaction.

What is noted of an error is its kind and a status code, never its text: that may repeat an address
with a token in it, or what the other side answered.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import BadHeaderError, EmailMessage
from django.db import connection
from django.db.transaction import TransactionManagementError

from opslog import channels, outbox
from opslog.models import OutboxMessage
from opslog.private_networks import PrivateTarget, check_host, public_only

NO_MAIL = "django.core.mail.backends.dummy.EmailBackend"
SERVICE_SECONDS = 20
JOB_SECONDS = 60  # then the next job goes on; the worker ends one at 120
# These never leave the machine, whatever the setting says.
LOCAL_SERVICES = frozenset(
    ("blink1", "dbus", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows")
)
ON_A_PRIVATE_NETWORK = (
    "Refused: the target is on a private network. NOTIFY_PRIVATE_NETWORKS=1 allows it."
)
# Topics whose link is a credential: it is made when the message is sent, and is in no row. The
# function gives the path of this service for a message, or raises NothingToSendBy.
SECRET_LINKS: dict[str, Callable[[OutboxMessage], str]] = {}
STATUS_IN_LOG = re.compile(r"error=([1-5]\d\d)\b")

log = logging.getLogger(__name__)


class NothingToSendBy(Exception):
    """There is no way to this recipient: said on the message, and no failure."""


class NotDelivered(Exception):
    """The text is safe to be stored and shown. `final`: another attempt cannot help."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def deliver_due(*, seconds: float = JOB_SECONDS) -> int:
    """Send what is due, one by one, and give how many messages were tried."""
    outbox.give_up()
    until = time.monotonic() + seconds
    tried = 0
    while time.monotonic() < until and (message := outbox.claim()):
        deliver(message)
        tried += 1
    return tried


def deliver(message: OutboxMessage) -> None:
    """Send one claimed message and note what came of it."""
    if connection.in_atomic_block:
        raise TransactionManagementError("Nothing is sent inside a transaction.")
    try:
        if message.recipient_type == OutboxMessage.RecipientType.CHANNEL:
            send_to_channel(message)
        else:
            send_email(message)
    except NothingToSendBy as reason:
        outbox.mark_skipped(message, str(reason))
    except NotDelivered as failure:
        _failed(message, str(failure), final=failure.final)
    except (BadHeaderError, UnicodeError) as error:
        _failed(message, f"It cannot be written as an email ({kind_of(error)}).", final=True)
    except Exception as error:  # a library's bug must not stop the messages behind this one
        _failed(message, f"{kind_of(error)}.")
    else:
        outbox.mark_sent(message)


def send_email(message: OutboxMessage) -> None:
    if not can_mail():
        raise NothingToSendBy("No mail is configured (EMAIL_URL).")
    address = message.recipient
    if message.recipient_type == OutboxMessage.RecipientType.PERSON:
        address = address_of_person(message.recipient)
    host = urlsplit(settings.TOLLGATE_BASE_URL).hostname or "localhost"
    EmailMessage(
        message.subject,
        body_of(message),
        to=[address],
        headers={
            # The same at a second attempt, so that mail programs can tell it is one message.
            "Message-ID": f"<outbox-{message.pk}@{host}>",
            "Auto-Submitted": "auto-generated",
        },
    ).send()


def can_mail() -> bool:
    return bool(settings.EMAIL_BACKEND != NO_MAIL)


def address_of_person(pk: str) -> str:
    """The address on file now. Raises NothingToSendBy."""
    person = User.objects.filter(pk=pk).first()
    if person is None or not person.is_active:
        raise NothingToSendBy("This person's account is switched off.")
    if not person.email:
        raise NothingToSendBy("This person has no email address.")
    return person.email


def send_to_channel(message: OutboxMessage) -> None:
    channel = channels.find(message.recipient)
    if channel is None:
        raise NothingToSendBy("This channel is no longer in the settings (NOTIFY_URLS).")
    service, sender = open_channel(channel.url)
    allowed: bool = settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS
    if not allowed and has_host(service):
        try:
            check_host(service.host)
        except PrivateTarget:
            raise NotDelivered(ON_A_PRIVATE_NETWORK, final=True) from None
        except OSError:
            raise NotDelivered("The name of the target is not known.") from None
    guard: AbstractContextManager[list[str]] = nullcontext([]) if allowed else public_only()
    with what_apprise_says() as said, guard as refused:
        delivered = sender.notify(title=message.subject, body=body_of(message), body_format="text")
    if refused:
        raise NotDelivered(ON_A_PRIVATE_NETWORK, final=True)
    if not delivered:
        statuses = STATUS_IN_LOG.findall(" ".join(said))
        raise NotDelivered(
            f"The service answered {statuses[-1]}." if statuses else "No answer, or an error."
        )


def open_channel(url: str) -> tuple[Any, Any]:
    """apprise's service and sender of an address. Raises NotDelivered if it is not understood."""
    import apprise

    scheme = url.partition("://")[0].lower()
    if scheme in LOCAL_SERVICES:
        raise NotDelivered(f"Refused: {scheme} reaches this machine only.", final=True)
    asset = apprise.AppriseAsset(
        app_id="Tollgate",
        app_desc="Tollgate",
        app_url=settings.TOLLGATE_BASE_URL,
        async_mode=False,
        http_redirects=False,
        service_timeout=SERVICE_SECONDS,
    )
    with what_apprise_says():
        service = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        raise NotDelivered("This address in NOTIFY_URLS is not understood.", final=True)
    service.redirects = False  # `?redirect=yes` in the address would win over the asset
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    return service, sender


def understood(url: str) -> bool:
    """Whether `open_channel` would take the address. Nothing is sent."""
    try:
        open_channel(url)
    except NotDelivered:
        return False
    return True


def has_host(service: Any) -> bool:
    """Whether the host of the address is one; of most services that part is a token."""
    return bool(service.host) and any("{host}" in template for template in service.templates)


def body_of(message: OutboxMessage) -> str:
    secret = SECRET_LINKS.get(message.topic)
    link = f"{settings.TOLLGATE_BASE_URL}{secret(message)}" if secret else ""
    return f"{message.text}\n\n{link or outbox.address_of(message)}\n".lstrip()


def kind_of(error: BaseException) -> str:
    """The class of an error, and a status code of SMTP: its text may hold what is secret."""
    code = getattr(error, "smtp_code", None)
    name = type(error).__name__
    return f"{name} {code}" if isinstance(code, int) else name


@contextmanager
def what_apprise_says() -> Iterator[list[str]]:
    """Its log lines, kept from the log: they repeat addresses, hosts and payloads."""
    said: list[str] = []
    logger = logging.getLogger("apprise")
    handler = _Keep(said)
    before = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate, level = before
        logger.setLevel(level)


class _Keep(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _failed(message: OutboxMessage, reason: str, *, final: bool = False) -> None:
    log.warning("message %d to %s: %s", message.pk, message.recipient_label, reason)
    outbox.mark_failed(message, reason, final=final)
