"""Messages to people and channels: queued in the caller's transaction, sent after it by a process
of its own (`manage.py deliver_messages --forever`).

Delivery is at least once: a process that dies between sending and noting it has the message sent
again when its claim ends. Emails then have the same Message-ID. What was handed over whole and
never confirmed is not sent again: a slow server would get copies.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from opslog import events
from opslog.exceptions import NotAllowedNow
from opslog.models import OutboxMessage, Severity
from opslog.outbox import channels
from opslog.outbox.notices import Notice, merged, with_address

GIVE_UP_AFTER = timedelta(hours=8)  # of attempts, from the moment that it was ready
LONGEST_PAUSE = timedelta(minutes=15)
LONGEST_WAIT = timedelta(hours=24)  # that a service can ask for (Retry-After)
CLAIM = timedelta(minutes=5)  # longer than the time that one attempt is given
LINK = re.compile(r"/(?!/)[\x21-\x7e]{0,1999}")
NAME = re.compile(r"[\x20-\x7e]{1,200}")
MAIL = "mail"  # the target of all emails: one server

State = OutboxMessage.State
Recipient = OutboxMessage.RecipientType

# The first message of each recipient that is ready, and none behind it: they arrive in order.
CLAIM_ONE = """
UPDATE outbox_messages
SET attempts = attempts + 1, claimed_until = clock_timestamp() + %(claim)s
WHERE id = (
    SELECT m.id FROM outbox_messages m
    WHERE m.state = 'waiting' AND greatest(m.ready_at, m.due_at) <= clock_timestamp()
        AND (m.claimed_until IS NULL OR m.claimed_until <= clock_timestamp())
        AND NOT EXISTS (
            SELECT FROM outbox_messages e
            WHERE e.state = 'waiting' AND e.recipient_type = m.recipient_type
                AND e.recipient = m.recipient AND (e.ready_at, e.id) < (m.ready_at, m.id))
        AND CASE m.recipient_type WHEN 'channel' THEN m.recipient ELSE 'mail' END
            <> ALL (%(targets)s)
        AND m.id <> ALL (%(ids)s)
    ORDER BY m.ready_at, m.id LIMIT 1
    FOR UPDATE OF m SKIP LOCKED
)
RETURNING *
"""


@dataclass(frozen=True, slots=True)
class Merge:
    """Messages with the same key to the same recipient become one: for `settle` they are awaited
    before the first is sent, and no two are sent within `within`."""

    key: str
    settle: timedelta = timedelta(seconds=3)
    within: timedelta = timedelta(minutes=1)


def send(
    *,
    topic: str,
    to: Sequence[User | str],
    notice: Notice,
    link: str,
    key: str,
    channels: bool = False,
    mandatory: bool = False,
    thread: str = "",
    merge: Merge | None = None,
) -> None:
    """Queue a message for each of these people, and with `channels` for each channel of the
    settings. A text among the people is an email address that nobody has on file any more.

    Nothing is sent here, and nothing is queued if the caller's transaction is rolled back. `key`
    tells messages of one topic apart: the same one is not queued twice for a recipient. `link` is a
    path of this service ("/admin/…"). `mandatory`: it needs the recipient's signature, or is about
    their account, so no preference of theirs holds it back.

    Raises ValueError for a link that is no path, and TransactionManagementError outside of a
    transaction.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("A message belongs to the transaction that it reports.")
    if not LINK.fullmatch(link):
        raise ValueError(f"A link is a path of this service: {link!r}")
    if not NAME.fullmatch(topic) or not NAME.fullmatch(key):
        raise ValueError("A topic and a key are 1 to 200 printable ASCII characters.")
    messages = [
        OutboxMessage(
            recipient_type=kind,
            recipient=recipient,
            recipient_label=label,
            topic=topic,
            key=key,
            subject=notice.headline,
            text=notice.text,
            line=notice.line,
            link=link,
            severity=notice.severity,
            mandatory=mandatory and kind != Recipient.CHANNEL,
            thread=thread,
            merge_key=merge.key if merge else "",
        )
        # Sorted: two transactions that notify the same people wait for each other in one order.
        for kind, recipient, label in sorted(set(_recipients(to, channels)))
    ]
    if merge is not None:
        messages = [each for each in messages if not _merged(each, notice, merge)]
    if thread and messages:
        # What was held back to be merged does not arrive after what follows it.
        OutboxMessage.objects.filter(
            thread=thread,
            state=State.WAITING,
            ready_at__gt=Now(),
            recipient__in=[each.recipient for each in messages],
        ).exclude(merge_key=messages[0].merge_key).update(ready_at=Now(), due_at=Now())
    OutboxMessage.objects.bulk_create(messages, ignore_conflicts=True)


def _recipients(to: Sequence[User | str], every_channel: bool) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = [
        (Recipient.CHANNEL, each.fingerprint, each.label)
        for each in (channels.configured() if every_channel else ())
    ]
    return found + [
        (Recipient.ADDRESS, each, each)
        if isinstance(each, str)
        else (Recipient.PERSON, str(each.pk), each.get_username())
        for each in to
    ]


def _merged(message: OutboxMessage, notice: Notice, merge: Merge) -> bool:
    """Whether it is in a message that waits already; else says when this one is ready."""
    same = OutboxMessage.objects.filter(
        recipient_type=message.recipient_type,
        recipient=message.recipient,
        merge_key=merge.key,
    )
    if same.filter(topic=message.topic, key=message.key).exists():
        return True
    waiting = (
        same.select_for_update(skip_locked=True)
        .filter(state=State.WAITING, attempts=0, claimed_until=None)
        .order_by("-id")
        .first()
    )
    if waiting is not None:
        worst = max(Severity(waiting.severity), notice.severity, key=lambda each: each.rank)
        OutboxMessage.objects.filter(pk=waiting.pk).update(
            subject=notice.headline,
            text=merged(notice, waiting.text, waiting.line),
            line=notice.line,
            link=message.link,
            severity=worst,
        )
        return True
    now = timezone.now()
    last = same.filter(ready_at__gt=now - merge.within).order_by("-ready_at").first()
    message.ready_at = max(now + merge.settle, last.ready_at + merge.within if last else now)
    message.due_at = message.ready_at
    return False


def claim(
    *, except_targets: Collection[str] = (), except_ids: Collection[int] = ()
) -> OutboxMessage | None:
    """Take one message that is ready, for five minutes; None where there is none. Targets are
    `MAIL` and the fingerprints of channels."""
    if connection.in_atomic_block:
        raise TransactionManagementError("A claim must be committed before anything is sent.")
    params = {"claim": CLAIM, "targets": list(except_targets), "ids": list(except_ids)}
    claimed = OutboxMessage.objects.raw(CLAIM_ONE, params)
    return next(iter(claimed), None)


def release(message: OutboxMessage) -> bool:
    """Give a claim back: nothing was attempted."""
    return _settle(message, attempts=message.attempts - 1)


def mark_sent(message: OutboxMessage) -> bool:
    return _settle(message, state=State.SENT, sent_at=Now(), error="")


def mark_unconfirmed(message: OutboxMessage, reason: str) -> bool:
    """It was handed over, and nobody confirmed that it arrived. Not sent again: it probably has."""
    return _settle(message, state=State.UNCONFIRMED, due_at=Now(), error=reason)


def mark_skipped(message: OutboxMessage, reason: str) -> bool:
    return _settle(message, state=State.SKIPPED, error=reason)


def mark_digested(message: OutboxMessage, reason: str) -> bool:
    return _settle(message, state=State.DIGESTED, error=reason)


def mark_failed(
    message: OutboxMessage, reason: str, *, final: bool = False, wait: timedelta | None = None
) -> bool:
    """Try again in 1, 2, 4 … up to 15 minutes, or after `wait` where the service asked for more;
    after eight hours, or where `final`, it has failed."""
    if not final and timezone.now() < message.ready_at + GIVE_UP_AFTER:
        pause = max(back_off(message.attempts), min(wait or timedelta(), LONGEST_WAIT))
        return _settle(message, due_at=Now() + pause, error=reason)
    with transaction.atomic():
        settled = _settle(message, state=State.FAILED, error=reason)
        if settled:
            _record_failure(message, reason)
    return settled


def retry(message_id: int, *, by: User, reason: str, channel: str = "") -> None:
    """Have a message that ended unsent, or unconfirmed, sent now; to `channel` (a fingerprint)
    where it was for a channel and another address is right by now. Raises NotAllowedNow."""
    with transaction.atomic():
        message = OutboxMessage.objects.select_for_update().get(pk=message_id)
        if message.state not in (State.FAILED, State.SKIPPED, State.UNCONFIRMED):
            raise NotAllowedNow(f"This message is {message.get_state_display()}.")
        target = _target_of_retry(message, channel)
        OutboxMessage.objects.filter(pk=message_id).update(
            state=State.WAITING,
            attempts=0,
            ready_at=Now(),
            due_at=Now(),
            error="",
            recipient=target.fingerprint if target else message.recipient,
            recipient_label=target.label if target else message.recipient_label,
        )
        label = target.label if target else message.recipient_label
        events.record(
            "MESSAGE_RETRIED",
            message=f"To be sent again to {label}: {message.subject}",
            owner=("message", str(message.pk)),
            label=message.subject,
            actor=by.get_username(),
            meta={
                "topic": message.topic,
                "error": message.error,
                "reason": reason,
                "recipient": {"old": message.recipient_label, "new": label},
            },
        )


def _target_of_retry(message: OutboxMessage, channel: str) -> channels.Channel | None:
    if message.recipient_type != Recipient.CHANNEL:
        return None
    found = channels.find(channel or message.recipient) or successor(message)
    if found is None:
        raise NotAllowedNow("This channel is no longer in NOTIFY_URLS: choose another.")
    if found.fingerprint != message.recipient and has_copy(message, found):
        raise NotAllowedNow(f"{found.label} has this message already.")
    return found


def successor(message: OutboxMessage) -> channels.Channel | None:
    """The corrected address of a channel that is no longer in the settings: the one channel of the
    same service that has no copy of this message."""
    service = message.recipient_label.partition(" ")[0]
    same = [
        each
        for each in channels.configured()
        if each.label.partition(" ")[0] == service and not has_copy(message, each)
    ]
    return same[0] if len(same) == 1 else None


def readdress(message: OutboxMessage, channel: channels.Channel) -> None:
    """Send a claimed message to the corrected address of its channel."""
    OutboxMessage.objects.filter(pk=message.pk).update(
        recipient=channel.fingerprint, recipient_label=channel.label
    )
    message.recipient, message.recipient_label = channel.fingerprint, channel.label


def has_copy(message: OutboxMessage, channel: channels.Channel) -> bool:
    return OutboxMessage.objects.filter(
        recipient_type=Recipient.CHANNEL,
        recipient=channel.fingerprint,
        topic=message.topic,
        key=message.key,
    ).exists()


def people_asked(*topics: str, key: str) -> list[User]:
    """The people who have a message of one of these topics with this key, or with one that begins
    with it and a colon: whoever was asked is also notified of how it ended."""
    ids = (
        OutboxMessage.objects.filter(
            Q(key=key) | Q(key__startswith=f"{key}:"),
            topic__in=topics,
            recipient_type=Recipient.PERSON,
        )
        .values_list("recipient", flat=True)
        .distinct()
    )
    return list(User.objects.filter(pk__in=[int(each) for each in ids], is_active=True))


def sent_since(person: str, since: datetime) -> int:
    """How many messages a person got since then that count for the ceiling of an hour."""
    return (
        OutboxMessage.objects.filter(
            Q(sent_at__gte=since) | Q(state=State.UNCONFIRMED, due_at__gte=since),
            recipient_type=Recipient.PERSON,
            recipient=person,
            mandatory=False,
        )
        .exclude(topic="digest")
        .count()
    )


def back_off(attempts: int) -> timedelta:
    """How long to wait after that many attempts: 1, 2, 4, 8, then 15 minutes."""
    return min(timedelta(minutes=2 ** min(attempts - 1, 10)), LONGEST_PAUSE)


def address_of(message: OutboxMessage) -> str:
    """The whole address of what the message is about."""
    return f"{settings.TOLLGATE_BASE_URL}{message.link}"


def shown(message: OutboxMessage) -> str:
    """Its text as the page shows it, with the address that is in the row."""
    return with_address(message.text, address_of(message))


def _settle(message: OutboxMessage, **columns: object) -> bool:
    """Only the claim that the process holds can be settled: a later one is somebody else's."""
    held: datetime | None = message.claimed_until
    return bool(
        OutboxMessage.objects.filter(pk=message.pk, state=State.WAITING, claimed_until=held).update(
            claimed_until=None, **columns
        )
    )


def _record_failure(message: OutboxMessage, reason: str) -> None:
    events.record(
        "MESSAGE_FAILED",
        message=f"Not delivered to {message.recipient_label}: {message.subject}",
        owner=("message", str(message.pk)),
        label=message.subject,
        actor="tollgate",
        meta={"topic": message.topic, "attempts": message.attempts, "error": reason},
    )
