"""Sending what is in the outbox: email to people, apprise to channels. Never in a transaction.

Messages are the least important work, so they have a process of their own. Each target (the mail
server, each channel) has one attempt under way at a time, in a child process that is ended when its
time is over; targets do not wait for each other. One that did not answer is left alone for a while.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import BadHeaderError, EmailMessage
from django.db import DatabaseError, connection
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from opslog import outbox
from opslog.models import OutboxMessage
from opslog.outbox import channels, mailing, posting, preferences
from opslog.outbox.attempts import Attempt, Outcome
from opslog.outbox.notices import with_address
from opslog.outbox.posting import Post

NO_MAIL = "django.core.mail.backends.dummy.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"
MOST_TARGETS = 16  # with an attempt under way at the same time
REST_SECONDS = 60.0  # for a target that did not answer
# Topics whose link is a credential: it is made when the message is sent, and is in no row. The
# function returns the path of this service for a message, or raises NothingToSendBy.
SECRET_LINKS: dict[str, Callable[[OutboxMessage], str]] = {}
PERSON, CHANNEL = OutboxMessage.RecipientType.PERSON, OutboxMessage.RecipientType.CHANNEL

log = logging.getLogger(__name__)


class NothingToSendBy(Exception):
    """There is no way to this recipient: noted on the message, and no failure."""


@dataclass(slots=True)
class UnderWay:
    message: OutboxMessage
    attempt: Attempt


class Courier:
    """Keeps one attempt under way for each target."""

    def __init__(self) -> None:
        self.under_way: dict[str, UnderWay] = {}
        self.resting: dict[str, float] = {}  # until when, by the monotonic clock

    def turn(self, *, seconds: float = 0.0) -> int:
        """Note what has ended, wait for it up to so many seconds, and start what is ready. Returns
        how many messages were dealt with or started."""
        if connection.in_atomic_block:
            raise TransactionManagementError("Nothing is sent inside a transaction.")
        if self.under_way and seconds:
            wait([each.attempt.pipe for each in self.under_way.values()], timeout=seconds)
        self._note_results()
        now = time.monotonic()
        self.resting = {target: until for target, until in self.resting.items() if until > now}
        return self._start()

    def finish(self, *, seconds: float) -> None:
        """Start nothing more, and note what ends within so many seconds."""
        until = time.monotonic() + seconds
        while self.under_way and (left := until - time.monotonic()) > 0:
            wait([each.attempt.pipe for each in self.under_way.values()], timeout=left)
            self._note_results()

    def _note_results(self) -> None:
        for target, each in list(self.under_way.items()):
            if (outcome := each.attempt.poll()) is None:
                continue
            del self.under_way[target]
            if outcome.target_down:
                self.resting[target] = time.monotonic() + REST_SECONDS
            note(each.message, outcome)

    def _start(self) -> int:
        started = 0
        passed: list[int] = []
        while len(self.under_way) < MOST_TARGETS:
            blocked = [*self.under_way, *self.resting]
            message = outbox.claim(except_targets=blocked, except_ids=passed)
            if message is None:
                break
            started += 1
            try:
                target, parcel = prepare(message)
            except NothingToSendBy as reason:
                outbox.mark_skipped(message, str(reason))
                continue
            except (BadHeaderError, UnicodeError) as error:
                problem = f"It cannot be written as an email ({mailing.kind_of(error)})."
                note(message, Outcome(problem, final=True))
                continue
            except DatabaseError:
                raise
            except Exception as error:  # one bad message does not stop the others
                log.exception("message %d could not be prepared", message.pk)
                note(message, Outcome(f"{type(error).__name__}."))
                continue
            if parcel is None:
                continue
            if target in blocked:  # (a person's own channel is known only now)
                outbox.release(message)
                passed.append(message.pk)
                started -= 1
                continue
            attempt = (
                Attempt(mailing.send_mail, parcel)
                if isinstance(parcel, EmailMessage)
                else Attempt(posting.post, parcel)
            )
            self.under_way[target] = UnderWay(message, attempt)
        return started


def deliver_due() -> int:
    """Send everything that is ready, and return how many messages were dealt with. A target that
    did not answer is left alone for the rest of the round."""
    courier, dealt = Courier(), 0
    while (started := courier.turn(seconds=1.0)) or courier.under_way:
        dealt += started
    return dealt


def note(message: OutboxMessage, outcome: Outcome) -> None:
    """Write down what came of an attempt."""
    if not outcome.reason:
        outbox.mark_sent(message)
        return
    log.warning("message %d to %s: %s", message.pk, message.recipient_label, outcome.reason)
    if outcome.unconfirmed:
        outbox.mark_unconfirmed(message, outcome.reason)
        return
    pause = None if outcome.wait is None else timedelta(seconds=min(outcome.wait, 1e8))
    outbox.mark_failed(message, outcome.reason, final=outcome.final, wait=pause)


def prepare(message: OutboxMessage) -> tuple[str, EmailMessage | Post | None]:
    """The target, and what is sent to it; nothing where the message is dealt with already.

    Raises NothingToSendBy, and BadHeaderError or UnicodeError for what is no email.
    """
    if message.recipient_type == CHANNEL:
        channel = channels.find(message.recipient) or outbox.successor(message)
        if channel is None:
            raise NothingToSendBy("This channel is no longer in the settings (NOTIFY_URLS).")
        if channel.fingerprint != message.recipient:
            outbox.readdress(message, channel)
        return channel.fingerprint, post_of(message, channel)
    if message.recipient_type == PERSON:
        way = preferences.way_of(message, now=timezone.now())
        if way.skip:
            raise NothingToSendBy(way.skip)
        if way.digest_at is not None:
            preferences.add_to_digest(message, way)
            return "", None
        if way.channel is not None:
            return way.channel.fingerprint, post_of(message, way.channel)
    mail = mail_of(message)
    if settings.EMAIL_BACKEND == SMTP:
        mail.message()  # what cannot be written is known before anything is attempted
        return outbox.MAIL, mail
    mail.send()  # a backend for development: a console, a folder, a list
    outbox.mark_sent(message)
    return "", None


def mail_of(message: OutboxMessage) -> EmailMessage:
    if not can_mail():
        raise NothingToSendBy("No mail is configured (EMAIL_URL).")
    address = message.recipient
    if message.recipient_type == PERSON:
        address = address_of_person(message.recipient)
    host = urlsplit(settings.TOLLGATE_BASE_URL).hostname or "localhost"
    headers = {
        # The same at a second attempt, so that mail programs can tell it is one message.
        "Message-ID": f"<outbox-{message.pk}@{host}>",
        "Auto-Submitted": "auto-generated",
    }
    if message.thread:
        headers["In-Reply-To"] = headers["References"] = f"<{message.thread}@{host}>"
    if message.severity == "critical":
        headers["Importance"] = "high"
    return EmailMessage(message.subject, body_of(message), to=[address], headers=headers)


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


def post_of(message: OutboxMessage, channel: channels.Channel) -> Post:
    whom = f"For {message.recipient_label}\n\n" if message.recipient_type == PERSON else ""
    return Post(
        url=channel.url,
        title=message.subject,
        body=whom + body_of(message),
        severity=message.severity,
        private_allowed=settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS,
        app_url=settings.TOLLGATE_BASE_URL,
    )


def body_of(message: OutboxMessage) -> str:
    secret = SECRET_LINKS.get(message.topic)
    link = f"{settings.TOLLGATE_BASE_URL}{secret(message)}" if secret else ""
    return f"{with_address(message.text, link or outbox.address_of(message))}\n"
