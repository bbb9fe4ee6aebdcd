"""What people and channels are told."""

from django.db import models
from django.db.models.functions import Now


class OutboxMessage(models.Model):
    """One message to one recipient, written in the transaction that it tells of, sent after it.

    waiting ──claim──▸ (claimed_until set) ──▸ sent | skipped | failed, or waiting again, later

    A claim is a lease: when it ends without a result (the worker died), the message is due again.
    It may then arrive twice, never less than once. `failed` after ten attempts, or at once where
    another attempt cannot help; `skipped` where there is nothing to send it by. An administrator
    may set a failed or skipped one to waiting again. See `opslog.outbox`.
    """

    class RecipientType(models.TextChoices):
        PERSON = "person", "person"
        CHANNEL = "channel", "channel"
        ADDRESS = "address", "address"  # one that a person had until now

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        SENT = "sent", "sent"
        SKIPPED = "skipped", "skipped"
        FAILED = "failed", "failed"

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
    state = models.TextField(choices=State, default=State.WAITING)
    attempts = models.SmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now(), help_text="Not before.")
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
                condition=models.Q(state__in=("waiting", "sent", "skipped", "failed"))
                & models.Q(recipient_type__in=("person", "channel", "address"))
                & models.Q(attempts__range=(0, 10)),
                name="outbox_messages_known_states",
            ),
            models.CheckConstraint(
                condition=models.Q(link__startswith="/") & ~models.Q(link__startswith="//"),
                name="outbox_messages_link_is_a_path",
            ),
        )
        indexes = (
            models.Index(
                "due_at", "id", condition=models.Q(state="waiting"), name="outbox_messages_due"
            ),
        )

    def __str__(self) -> str:
        return f"{self.subject} → {self.recipient_label}"
