"""What people and channels are notified of, and how each person wants it."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class Severity(models.TextChoices):
    """The levels of the PagerDuty Events API, from the least to the worst."""

    INFO = "info", "info"
    WARNING = "warning", "warning"
    ERROR = "error", "error"
    CRITICAL = "critical", "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class MessageState(models.TextChoices):
    WAITING = "waiting", "waiting"
    SENT = "sent", "sent"
    UNCONFIRMED = "unconfirmed", "sent, not confirmed"
    DIGESTED = "digested", "in a digest"
    SKIPPED = "skipped", "skipped"
    FAILED = "failed", "failed"


class OutboxMessage(models.Model):
    """One message to one recipient, written in the transaction of what it reports, sent after it.

    waiting ──claim──▸ (claimed_until set) ──▸ sent | unconfirmed | skipped | failed,
                                               or waiting again, later
    waiting ──▸ digested: over the ceiling of an hour, or in the person's quiet hours; one digest
                follows for all of them

    Messages to one recipient are sent one after the other, in the order of `ready_at`. A claim is a
    lease: when it ends without a result (the process died), the message is due again, so it arrives
    at least once. `unconfirmed`: it was handed over whole and no answer came in time; it is not
    sent again, since it has probably arrived. `failed` after eight hours of attempts, or at once
    where another attempt cannot help; `skipped` where there is nothing to send it by, or the person
    does not want it. An administrator can set an ended one to waiting again. See `opslog.outbox`.
    """

    class RecipientType(models.TextChoices):
        PERSON = "person", "person"
        CHANNEL = "channel", "channel"
        ADDRESS = "address", "address"  # one that a person had until now

    State = MessageState

    recipient_type = models.TextField("kind of recipient", choices=RecipientType)
    recipient = models.TextField(
        help_text="The id of a user, a fingerprint of a channel's address, or an email address."
    )
    recipient_label = models.TextField(
        "recipient", help_text="A username, or the service of a channel: never a credential."
    )
    topic = models.TextField()
    key = models.TextField()
    subject = models.TextField()
    text = models.TextField()
    link = models.TextField(help_text="A path of this service.")
    severity = models.TextField(choices=Severity, default=Severity.INFO, db_default=Severity.INFO)
    mandatory = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Needs the recipient's signature, or is about their account: sent by mail at "
        "once, whatever they prefer.",
    )
    line = models.TextField(
        default="", db_default="", help_text="All of it in one line, for a digest."
    )
    thread = models.TextField(
        default="", db_default="", help_text="Mails of one thread are shown together."
    )
    merge_key = models.TextField(
        default="", db_default="", help_text="Messages with the same key are merged for a while."
    )
    state = models.TextField(choices=State, default=State.WAITING)
    attempts = models.SmallIntegerField(default=0)
    ready_at = models.DateTimeField(db_default=Now(), help_text="Its place in the order.")
    due_at = models.DateTimeField(db_default=Now(), help_text="The next attempt is not before.")
    claimed_until = models.DateTimeField(null=True, editable=False)
    sent_at = models.DateTimeField(null=True)
    error = models.TextField("last error", db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "outbox_messages"
        verbose_name = "message"
        ordering = ("-id",)
        permissions = (("retry_outboxmessage", "Can have a message sent again"),)
        constraints = (
            models.UniqueConstraint(
                fields=("recipient_type", "recipient", "topic", "key"), name="outbox_messages_once"
            ),
            models.CheckConstraint(
                condition=models.Q(state="sent", sent_at__isnull=False)
                | (~models.Q(state="sent") & models.Q(sent_at=None)),
                name="outbox_messages_sent_at",
            ),
            models.CheckConstraint(
                condition=models.Q(state="waiting") | models.Q(claimed_until=None),
                name="outbox_messages_claimed_while_waiting",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=tuple(MessageState.values))
                & models.Q(recipient_type__in=("person", "channel", "address"))
                & models.Q(severity__in=("info", "warning", "error", "critical"))
                & models.Q(attempts__gte=0),
                name="outbox_messages_states",
            ),
            models.CheckConstraint(
                condition=models.Q(link__startswith="/") & ~models.Q(link__startswith="//"),
                name="outbox_messages_link_is_a_path",
            ),
        )
        indexes = (
            models.Index(
                "recipient_type",
                "recipient",
                "ready_at",
                "id",
                condition=models.Q(state="waiting"),
                name="outbox_messages_in_order",
            ),
            models.Index(
                fields=("merge_key", "recipient", "ready_at"),
                condition=~models.Q(merge_key=""),
                name="outbox_messages_merged",
            ),
        )

    def __str__(self) -> str:
        return f"{self.subject} → {self.recipient_label}"


class MessagePolicy(models.Model):
    """One row: how many messages one person gets in an hour before the rest becomes a digest, and
    how often the refusals of one limit are reported."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    per_person_hour = models.IntegerField(
        "messages per person and hour",
        default=30,
        help_text="What is over it becomes one digest at the end of the hour. What needs "
        "somebody's signature is always sent.",
    )
    refusals_minutes = models.IntegerField(
        "minutes between reports of refusals",
        default=15,
        help_text="For each work order, or shared limit, at most one report in this time.",
    )

    class Meta:
        db_table = "message_policy"
        verbose_name = verbose_name_plural = "message policy"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(
                    id=1,
                    per_person_hour__range=(1, 1000),
                    refusals_minutes__range=(15, 1440),
                ),
                name="message_policy_sane",
            ),
        )

    def __str__(self) -> str:
        return "Message policy"


class NotificationPreference(models.Model):
    """How one person wants to be notified; no row: everything, by email, at any time.

    It never holds for what needs the person's signature, or is about their account.
    """

    EMAIL, NONE = "email", "none"

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True
    )
    channel = models.TextField(
        default=EMAIL,
        help_text="`email`, `none`, or the fingerprint of a channel's address.",
    )
    least_severity = models.TextField("minimum severity", choices=Severity, default=Severity.INFO)
    quiet_from = models.TimeField(null=True, blank=True)
    quiet_until = models.TimeField(null=True, blank=True)
    time_zone = models.TextField(default="UTC")
    changed_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "notification_preferences"
        verbose_name = "notification preference"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(quiet_from=None, quiet_until=None)
                | (
                    models.Q(quiet_from__isnull=False, quiet_until__isnull=False)
                    & ~models.Q(quiet_from=models.F("quiet_until"))
                ),
                name="notification_preferences_quiet_hours",
            ),
            models.CheckConstraint(
                condition=models.Q(least_severity__in=("info", "warning", "error", "critical"))
                & ~models.Q(channel="")
                & ~models.Q(time_zone=""),
                name="notification_preferences_known",
            ),
        )

    def __str__(self) -> str:
        return f"Notifications of {self.user}"
