"""The ground: what happened. No model here points at a row of another app: an event names its
subject by type, id and label, so that the record outlives the subject."""

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now

from opslog.model_names import check_match
from opslog.pricing import long_context
from opslog.sealing.models import EventTombstone, Seal, SealKey, SealMembers

__all__ = [
    "EventTombstone",
    "Heartbeat",
    "ModelPrice",
    "OperationsEvent",
    "OutboxMessage",
    "PriceBookVersion",
    "Seal",
    "SealKey",
    "SealMembers",
]


class OperationsEvent(models.Model):
    """One thing that happened. Append-only: triggers refuse UPDATE, DELETE and TRUNCATE.

    Partitioned by month on `created_at`; so the primary key in the database is (id, created_at).
    `created_at` and `db_user` are stamped by a trigger, also for rows written by hand in SQL.
    """

    id = models.BigAutoField(primary_key=True)
    kind = models.TextField()
    message = models.TextField(db_default="")
    owner_type = models.TextField(db_default="")
    owner_id = models.TextField(db_default="")
    owner_label = models.TextField(db_default="")
    actor = models.TextField(db_default="")
    meta = models.JSONField(db_default=models.Value({}, models.JSONField()))
    request_id = models.TextField(db_default="")
    db_user = models.TextField(db_default="", editable=False)
    xact = models.BigIntegerField(
        db_default=0, editable=False, help_text="The transaction that wrote it: events of one act."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "operations_events"
        verbose_name = "event"
        get_latest_by = "id"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.kind} {self.owner_id}".strip()


class ModelPrice(models.Model):
    """What a model costs from a moment on, in US dollars per million tokens.

    The row in force for a model at a time is the one with the latest `effective_from` not after
    it; among those of the same time an own price (`source = own`) wins over the imported one. An
    own price in force hides every imported price of that model, however much newer.
    """

    class Source(models.TextChoices):
        OWN = "own", "own price"
        IMPORTED = "genai-prices", "genai-prices"

    class Tier(models.TextChoices):
        SMALL = "small", "small"
        MIDDLE = "middle", "middle"
        LARGEST = "largest", "largest"

    model = models.TextField(help_text="The name that programs send.")
    provider = models.TextField(blank=True, db_default="")
    source = models.TextField(choices=Source, default=Source.OWN)
    effective_from = models.DateTimeField()
    input_per_mtok = models.DecimalField("input, $/M tokens", max_digits=18, decimal_places=9)
    output_per_mtok = models.DecimalField("output, $/M tokens", max_digits=18, decimal_places=9)
    cached_input_per_mtok = models.DecimalField(
        "cached input, $/M tokens", max_digits=18, decimal_places=9, null=True, blank=True
    )
    cache_write_per_mtok = models.DecimalField(
        "cache write, $/M tokens",
        max_digits=18,
        decimal_places=9,
        null=True,
        blank=True,
        help_text="Empty: as input.",
    )
    reasoning_per_mtok = models.DecimalField(
        "reasoning output, $/M tokens",
        max_digits=18,
        decimal_places=9,
        null=True,
        blank=True,
        help_text="Empty: as output.",
    )
    tiers = models.JSONField(
        default=list,
        blank=True,
        help_text="Prices from a number of input tokens on: "
        '[{"above_input_tokens": 200000, "input_per_mtok": "6", "output_per_mtok": "22.5"}]',
    )
    match = models.JSONField(
        null=True,
        blank=True,
        help_text='Which other names mean this model: {"starts_with": "gpt-4o"}, '
        '{"or": [...]}, {"equals": ...}. Empty: the exact name only.',
    )
    provider_match = models.JSONField(
        null=True,
        blank=True,
        help_text="Imported prices only: which bare names belong to this provider.",
    )
    tier = models.TextField(choices=Tier, default=Tier.MIDDLE)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "model_prices"
        verbose_name = "model price"
        ordering = ("model", "-effective_from")
        constraints = (
            models.UniqueConstraint(
                fields=("provider", "model", "source", "effective_from"), name="model_prices_once"
            ),
            models.CheckConstraint(
                condition=models.Q(input_per_mtok__gte=0, output_per_mtok__gte=0)
                & (models.Q(cached_input_per_mtok=None) | models.Q(cached_input_per_mtok__gte=0))
                & (models.Q(cache_write_per_mtok=None) | models.Q(cache_write_per_mtok__gte=0))
                & (models.Q(reasoning_per_mtok=None) | models.Q(reasoning_per_mtok__gte=0)),
                name="model_prices_not_negative",
            ),
        )

    def __str__(self) -> str:
        return f"{self.model} from {self.effective_from:%Y-%m-%d}"

    def clean(self) -> None:
        """Refuse in a form what the price book could not read (see `opslog.prices.load_book`)."""
        errors: dict[str, str] = {}
        for column, check in (
            ("tiers", long_context),
            ("match", check_match),
            ("provider_match", check_match),
        ):
            value = getattr(self, column)
            try:
                if value is not None:
                    check(value)
            except ValueError as error:
                errors[column] = str(error)
        if errors:
            raise ValidationError(errors)


class PriceBookVersion(models.Model):
    """One row, counted up by a trigger whenever a price changes.

    Processes keep the price book in memory; an admission compares this number in its one round
    trip, so that a price that changed a moment ago is never missed.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=1)

    class Meta:
        db_table = "price_book_version"
        constraints = (
            models.CheckConstraint(condition=models.Q(id=1), name="price_book_version_one_row"),
        )

    def __str__(self) -> str:
        return str(self.version)


class Heartbeat(models.Model):
    """When a process that nobody talks to was last known to work."""

    name = models.TextField(primary_key=True)
    at = models.DateTimeField()

    class Meta:
        db_table = "heartbeats"

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%Y-%m-%d %H:%M:%S}"


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

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        SENT = "sent", "sent"
        SKIPPED = "skipped", "skipped"
        FAILED = "failed", "failed"

    recipient_type = models.TextField("kind of recipient", choices=RecipientType)
    recipient = models.TextField(
        help_text="The id of a user, or a fingerprint of a channel's address."
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
                & models.Q(recipient_type__in=("person", "channel"))
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
