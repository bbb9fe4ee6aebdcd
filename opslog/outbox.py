"""Messages to people and channels: queued in the caller's transaction, sent by a job after it.

Delivery is at least once: a worker that dies between sending and noting it has the message sent
again when its claim ends. Emails then have the same Message-ID.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.db.transaction import TransactionManagementError

from opslog import channels, events, jobs
from opslog.exceptions import NotAllowedNow
from opslog.models import OutboxMessage

JOB = "opslog.tasks.deliver_messages"
MAX_ATTEMPTS = 10
CLAIM = timedelta(minutes=5)  # longer than the worker's own timeout, which ends a job that hangs
SUBJECT_LENGTH = 200
TEXT_LENGTH = 10_000
LINK = re.compile(r"/(?!/)[\x21-\x7e]{0,1999}")
NAME = re.compile(r"[\x20-\x7e]{1,200}")

State = OutboxMessage.State
Recipient = OutboxMessage.RecipientType

CLAIM_ONE = """
UPDATE outbox_messages
SET attempts = attempts + 1, claimed_until = clock_timestamp() + %s
WHERE id = (
    SELECT id FROM outbox_messages
    WHERE state = 'waiting' AND due_at <= clock_timestamp() AND attempts < %s
        AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
    ORDER BY due_at, id LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING *
"""


def send(
    *,
    topic: str,
    to: Sequence[User | str] | Literal["channels"],
    subject: str,
    text: str,
    link: str,
    key: str,
) -> None:
    """Queue a message for each of these people, or for each channel of the settings. A text among
    the people is an email address that nobody has on file any more.

    Nothing is sent here, and nothing is queued if the caller's transaction is rolled back. `key`
    tells messages of one topic apart: the same one is not queued twice for a recipient. `link` is a
    path of this service ("/admin/…"). Subject and text are data: control characters are taken out,
    and what is too long is cut. With no channel in the settings, "channels" queues nothing.

    Raises ValueError for a link that is no path, and TransactionManagementError outside of a
    transaction.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("A message belongs to the transaction it tells of.")
    if not LINK.fullmatch(link):
        raise ValueError(f"A link is a path of this service: {link!r}")
    if not NAME.fullmatch(topic) or not NAME.fullmatch(key):
        raise ValueError("A topic and a key are 1 to 200 printable ASCII characters.")
    if to == "channels":
        recipients = [
            (Recipient.CHANNEL, channel.fingerprint, channel.label)
            for channel in channels.configured()
        ]
    else:
        recipients = [
            (Recipient.ADDRESS, each, each)
            if isinstance(each, str)
            else (Recipient.PERSON, str(each.pk), each.get_username())
            for each in to
        ]
    if not recipients:
        return
    subject, text = one_line(subject, SUBJECT_LENGTH), readable(text, TEXT_LENGTH)
    OutboxMessage.objects.bulk_create(
        (
            OutboxMessage(
                recipient_type=kind,
                recipient=recipient,
                recipient_label=label,
                topic=topic,
                key=key,
                subject=subject,
                text=text,
                link=link,
            )
            # Sorted: two transactions that tell the same people wait for each other in one order.
            for kind, recipient, label in sorted(set(recipients))
        ),
        ignore_conflicts=True,
    )
    jobs.enqueue(JOB)


def claim() -> OutboxMessage | None:
    """Take one message that is due, for five minutes; None where there is none."""
    if connection.in_atomic_block:
        raise TransactionManagementError("A claim must be committed before anything is sent.")
    claimed = OutboxMessage.objects.raw(CLAIM_ONE, [CLAIM, MAX_ATTEMPTS])
    return next(iter(claimed), None)


def mark_sent(message: OutboxMessage) -> bool:
    return _settle(message, state=State.SENT, sent_at=Now(), error="")


def mark_skipped(message: OutboxMessage, reason: str) -> bool:
    return _settle(message, state=State.SKIPPED, error=reason)


def mark_failed(message: OutboxMessage, reason: str, *, final: bool = False) -> bool:
    """Try again in 1, 2, 4 … minutes; after ten attempts, or where `final`, it has failed."""
    if not final and message.attempts < MAX_ATTEMPTS:
        return _settle(message, due_at=Now() + back_off(message.attempts), error=reason)
    with transaction.atomic():
        settled = _settle(message, state=State.FAILED, error=reason)
        if settled:
            _tell_of_failure(message, reason)
    return settled


def give_up() -> int:
    """Fail what was claimed for the last time by a worker that died. Gives how many."""
    reason = "The worker ended while sending."
    with transaction.atomic():
        lost = list(
            OutboxMessage.objects.select_for_update(skip_locked=True).filter(
                Q(claimed_until=None) | Q(claimed_until__lte=Now()),
                state=State.WAITING,
                attempts__gte=MAX_ATTEMPTS,
            )
        )
        return sum(mark_failed(message, reason, final=True) for message in lost)


def retry(message_id: int, *, by: User, reason: str) -> None:
    """Have a failed or skipped message sent now. Raises NotAllowedNow for any other."""
    with transaction.atomic():
        message = OutboxMessage.objects.select_for_update().get(pk=message_id)
        if message.state not in (State.FAILED, State.SKIPPED):
            raise NotAllowedNow(f"This message is {message.state}.")
        OutboxMessage.objects.filter(pk=message_id).update(
            state=State.WAITING, attempts=0, due_at=Now(), error=""
        )
        events.record(
            "MESSAGE_RETRIED",
            message=f"To be sent again to {message.recipient_label}: {message.subject}",
            owner=("message", str(message.pk)),
            label=message.subject,
            actor=by.get_username(),
            meta={"topic": message.topic, "error": message.error, "reason": reason},
        )
        jobs.enqueue(JOB)


def back_off(attempts: int) -> timedelta:
    """How long to wait after that many attempts: 1, 2, 4 … minutes."""
    return timedelta(minutes=2 ** (attempts - 1))


def address_of(message: OutboxMessage) -> str:
    """The whole address of what the message is about."""
    return f"{settings.TOLLGATE_BASE_URL}{message.link}"


def one_line(text: str, length: int) -> str:
    """Without line breaks and other controls, which could become headers of their own."""
    return shortened(" ".join(_without_controls(text, keep="").split()), length)


def readable(text: str, length: int) -> str:
    return shortened(_without_controls(text, keep="\n\t").strip(), length)


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _without_controls(text: str, *, keep: str) -> str:
    """Controls, surrogates, and characters that turn the direction of a text become blanks."""
    return "".join(
        " "
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        and character not in keep
        else character
        for character in text.replace("\r\n", "\n")
    )


def _settle(message: OutboxMessage, **columns: object) -> bool:
    """Only the claim that the worker holds may be settled: a later one is somebody else's."""
    held: datetime | None = message.claimed_until
    return bool(
        OutboxMessage.objects.filter(pk=message.pk, state=State.WAITING, claimed_until=held).update(
            claimed_until=None, **columns
        )
    )


def _tell_of_failure(message: OutboxMessage, reason: str) -> None:
    events.record(
        "MESSAGE_FAILED",
        message=f"Not delivered to {message.recipient_label}: {message.subject}",
        owner=("message", str(message.pk)),
        label=message.subject,
        actor="tollgate",
        meta={"topic": message.topic, "attempts": message.attempts, "error": reason},
    )
