"""How a person wants to be notified, and the ceiling that protects everybody from a flood.

Neither ever holds back what needs the person's signature or is about their account.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from opslog import events, outbox
from opslog.exceptions import NotAllowedNow
from opslog.models import MessagePolicy, NotificationPreference, OutboxMessage, Severity
from opslog.outbox import channels
from opslog.outbox.notices import Notice, readable

DIGEST = "digest"
DIGEST_LENGTH = 10_000
POLICY_FIELDS = ("per_person_hour", "refusals_minutes")
FIELDS = ("channel", "least_severity", "quiet_from", "quiet_until", "time_zone")


@dataclass(frozen=True, slots=True)
class Way:
    """What becomes of one message to one person: exactly one of these is set."""

    channel: channels.Channel | None = None  # instead of email
    email: bool = False
    skip: str = ""
    digest_at: datetime | None = None
    why: str = ""


def way_of(message: OutboxMessage, *, now: datetime) -> Way:
    """Where a message to a person goes, by their preferences and the ceiling."""
    if message.mandatory:
        return Way(email=True)
    preference = NotificationPreference.objects.filter(pk=int(message.recipient)).first()
    chosen = channels.find(preference.channel) if preference else None
    way = Way(channel=chosen) if chosen else Way(email=True)
    if message.topic == DIGEST:
        return way
    if preference is not None:
        if Severity(message.severity).rank < Severity(preference.least_severity).rank:
            return Way(skip="Below the severity that this person chose.")
        if preference.channel == NotificationPreference.NONE:
            return Way(skip="This person chose to get only what needs their signature.")
        if (until := quiet_until(preference, now)) is not None:
            return Way(digest_at=until, why="In the digest after this person's quiet hours.")
        if chosen is not None and outbox.has_copy(message, chosen):
            return Way(skip="The channel that this person chose has it already.")
    hour = now.replace(minute=0, second=0, microsecond=0)
    if outbox.sent_since(message.recipient, hour) >= policy().per_person_hour:
        ends = hour + timedelta(hours=1)
        quiet = quiet_until(preference, ends) if preference else None
        why = "In the digest of the hour: over the ceiling for one person."
        return Way(digest_at=quiet or ends, why=why)
    return way


def quiet_until(preference: NotificationPreference, now: datetime) -> datetime | None:
    """The end of the quiet hours that `now` is in; None outside of them. They may cross midnight.
    Pure, but for the row."""
    begins, ends = preference.quiet_from, preference.quiet_until
    if begins is None or ends is None:
        return None
    local = now.astimezone(ZoneInfo(preference.time_zone))
    clock = local.time()
    inside = begins <= clock < ends if begins < ends else clock >= begins or clock < ends
    if not inside:
        return None
    day = local.date() if clock < ends else local.date() + timedelta(days=1)
    until = datetime.combine(day, ends, tzinfo=ZoneInfo(preference.time_zone)).astimezone(UTC)
    # Where clocks were turned in between, the end may be past already.
    return max(until, now)


def add_to_digest(message: OutboxMessage, way: Way) -> None:
    """Put a claimed message into the digest of its recipient that is sent at `way.digest_at`."""
    due = way.digest_at
    if due is None:
        raise ValueError("This message goes into no digest.")
    with transaction.atomic():
        if not outbox.mark_digested(message, way.why):
            return
        key = f"{due:%Y-%m-%dT%H:%M}"
        digest = (
            OutboxMessage.objects.select_for_update()
            .filter(
                recipient_type=message.recipient_type,
                recipient=message.recipient,
                topic=DIGEST,
                merge_key=key,
                state=OutboxMessage.State.WAITING,
                attempts=0,
            )
            .first()
        )
        if digest is None:
            notice = _digest_notice(due)
            OutboxMessage.objects.create(
                recipient_type=message.recipient_type,
                recipient=message.recipient,
                recipient_label=message.recipient_label,
                topic=DIGEST,
                key=f"{key}:{message.pk}",
                merge_key=key,
                subject="Digest: 1 message",
                text=f"{notice.text}\n\n{message.line}",
                line=notice.line,
                link=reverse("admin:opslog_outboxmessage_changelist"),
                severity=message.severity,
                ready_at=due,
                due_at=due,
            )
            return
        worst = max(
            Severity(digest.severity), Severity(message.severity), key=lambda each: each.rank
        )
        count = int(digest.subject.split()[1]) + 1
        text = f"{digest.text}\n{message.line}"
        OutboxMessage.objects.filter(pk=digest.pk).update(
            subject=f"Digest: {count} messages",
            text=text if len(text) <= DIGEST_LENGTH else digest.text,
            severity=worst,
        )


def _digest_notice(due: datetime) -> Notice:
    return Notice(
        what="Messages to you were held back and are listed here",
        change="separate messages → one digest",
        by="Tollgate, by your preferences and the message policy",
        at=due,
        severity=Severity.INFO,
        action="Open the ones that concern you; all of them are on the page of messages.",
    )


def of(person: User) -> NotificationPreference:
    """What holds for this person; a row that is not saved where they have chosen nothing."""
    found = NotificationPreference.objects.filter(pk=person.pk).first()
    return found or NotificationPreference(user=person)


def channel_choices() -> list[tuple[str, str]]:
    return [
        (NotificationPreference.EMAIL, "Email"),
        *((each.fingerprint, f"{each.label}, instead of email") for each in channels.configured()),
        (NotificationPreference.NONE, "Only what needs my signature, by email"),
    ]


def choose(person: User, wanted: Mapping[str, Any]) -> NotificationPreference:
    """Keep what a person wants for themselves, with its event. Raises NotAllowedNow."""
    if wanted["time_zone"] not in available_timezones():
        raise NotAllowedNow("Choose a time zone from the IANA list, for example Europe/Berlin.")
    if wanted["channel"] not in dict(channel_choices()):
        raise NotAllowedNow("Choose one of the channels on the list.")
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=person.pk)
        preference = of(person)
        before = events.as_text(preference, FIELDS)
        for name in FIELDS:
            setattr(preference, name, wanted[name])
        preference.changed_at = timezone.now()
        try:
            preference.full_clean(validate_unique=False)
        except ValidationError as error:
            raise NotAllowedNow(
                "Quiet hours need a beginning and an end, and the two differ."
            ) from error
        preference.save()
        changes = events.changed(before, events.as_text(preference, FIELDS))
        if changes:
            events.record(
                "NOTIFICATION_PREFERENCE_CHANGED",
                message=f"{person.get_username()} changed how they are notified",
                owner=("user", str(person.pk)),
                label=person.get_username(),
                actor=person.get_username(),
                meta={"preferences": changes},
            )
    return preference


def policy() -> MessagePolicy:
    return MessagePolicy.objects.get()


def set_policy(wanted: Mapping[str, int], *, by: str, reason: str) -> None:
    """Change the ceiling, or how often refusals are reported. Raises NotAllowedNow."""
    if not reason.strip():
        raise NotAllowedNow("A change needs a reason.")
    with transaction.atomic():
        row = MessagePolicy.objects.select_for_update().get()
        before = {name: getattr(row, name) for name in POLICY_FIELDS}
        changes = events.changed(before, {name: wanted[name] for name in POLICY_FIELDS})
        if not changes:
            raise NotAllowedNow("Nothing would change.")
        MessagePolicy.objects.update(**{name: wanted[name] for name in changes})
        events.record(
            "MESSAGE_POLICY_CHANGED",
            message="Message policy: "
            + ", ".join(f"{name} {c['old']} → {c['new']}" for name, c in changes.items()),
            owner=("message_policy", "1"),
            label="Message policy",
            actor=by,
            meta={"changes": changes, "reason": readable(reason, 500)},
        )
