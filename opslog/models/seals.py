"""The tables of the seals. All four are append-only, by trigger and by grant."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from opslog.seal_format.statements import Statement, moment


class SealKey(models.Model):
    """The public part of a key that seals were signed with; the private part is in no table.

    The newest generation is the one in use, the others are retired. Each is signed for by the one
    before it (`endorsed_by`), the first by itself; so is one that follows a lost key.
    """

    generation = models.IntegerField(primary_key=True)
    key_id = models.TextField(unique=True, help_text="First 16 digits of the public key's SHA-256.")
    public_key = models.BinaryField()
    introduced_at = models.DateTimeField()
    endorsed_by = models.TextField()
    endorsement = models.BinaryField()

    class Meta:
        db_table = "seal_keys"
        verbose_name = "seal key"
        ordering = ("-generation",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(generation__gte=1), name="seal_keys_generation"
            ),
        )

    def __str__(self) -> str:
        return self.key_id

    def statement(self) -> Statement:
        """Signed by the key before (`endorsed_by`), or by itself where there is none."""
        return Statement(
            "key",
            {
                "generation": self.generation,
                "publicKey": bytes(self.public_key).hex(),
                "at": moment(self.introduced_at),
                "endorsedBy": self.endorsed_by,
            },
        )


class Seal(models.Model):
    """One signed batch of events, or an empty one that shows that the sealer was there.

    Numbered from 1 without gaps, each naming the hash of the one before. `snapshot` tells which
    transactions all seals up to this one cover; with `after_id` events of an earlier life of the
    database (before a restore) are distinguished. A seal never has events of two months.
    """

    number = models.BigIntegerField(primary_key=True)
    previous = models.BinaryField(help_text="The hash of the seal before; zeros in the first.")
    hash = models.BinaryField(unique=True)
    root = models.BinaryField("Merkle root")
    event_count = models.IntegerField("events")
    first_id = models.BigIntegerField(null=True)
    last_id = models.BigIntegerField(null=True)
    events_from = models.DateTimeField(null=True)
    events_to = models.DateTimeField(null=True)
    sealed_at = models.DateTimeField()
    snapshot = models.TextField()
    after_id = models.BigIntegerField(default=0)
    encoding = models.SmallIntegerField()
    key = models.ForeignKey(
        SealKey, models.PROTECT, to_field="key_id", related_name="seals", db_index=False
    )
    signature = models.BinaryField()

    class Meta:
        db_table = "seals"
        verbose_name = "seal"
        ordering = ("-number",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(number__gte=1, event_count__gte=0), name="seals_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    event_count=0, first_id=None, last_id=None, events_from=None, events_to=None
                )
                | models.Q(
                    event_count__gt=0,
                    first_id__isnull=False,
                    last_id__gte=models.F("first_id"),
                    events_from__isnull=False,
                    events_to__gte=models.F("events_from"),
                ),
                name="seals_range",
            ),
        )

    def __str__(self) -> str:
        return f"Seal {self.number}"

    def statement(self) -> Statement:
        """What its signature covers, from the columns as they are now. The ids of its events are in
        the leaves of the tree."""
        return Statement(
            "seal",
            {
                "number": self.number,
                "previous": bytes(self.previous).hex(),
                "root": bytes(self.root).hex(),
                "count": self.event_count,
                "firstId": self.first_id,
                "lastId": self.last_id,
                "eventsFrom": moment(self.events_from) if self.events_from else None,
                "eventsTo": moment(self.events_to) if self.events_to else None,
                "sealedAt": moment(self.sealed_at),
                "snapshot": self.snapshot,
                "afterId": self.after_id,
                "encoding": self.encoding,
                "keyId": self.key_id,
            },
        )


class SealMembers(models.Model):
    """Which events a seal holds, in the order of the tree's leaves, and the hash of each.

    40 bytes an event. The root in the seal vouches for the hashes; they are kept so that it can be
    shown *which* event was changed, and so that a proof needs no other event.
    """

    seal = models.OneToOneField(
        Seal, models.PROTECT, primary_key=True, db_column="seal", related_name="members"
    )
    event_ids = ArrayField(models.BigIntegerField())
    leaf_hashes = models.BinaryField()

    class Meta:
        db_table = "seal_members"
        verbose_name = "members of a seal"
        verbose_name_plural = "members of seals"

    def __str__(self) -> str:
        return f"Events of seal {self.seal_id}"


class EventTombstone(models.Model):
    """A month of the log that the owner dropped: signed, so that it is no theft."""

    month = models.DateField(primary_key=True)
    partition = models.TextField()
    event_count = models.BigIntegerField("events")
    seal_count = models.BigIntegerField("seals")
    seals_digest = models.BinaryField(help_text="SHA-256 over the hashes of the month's seals.")
    reason = models.TextField()
    by = models.TextField()
    expired_at = models.DateTimeField()
    key = models.ForeignKey(
        SealKey, models.PROTECT, to_field="key_id", related_name="tombstones", db_index=False
    )
    signature = models.BinaryField()

    class Meta:
        db_table = "event_tombstones"
        verbose_name = "expired month"
        ordering = ("-month",)

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"

    def statement(self) -> Statement:
        return Statement(
            "tombstone",
            {
                "month": str(self),
                "partition": self.partition,
                "events": self.event_count,
                "seals": self.seal_count,
                "sealsDigest": bytes(self.seals_digest).hex(),
                "reason": self.reason,
                "by": self.by,
                "at": moment(self.expired_at),
                "keyId": self.key_id,
            },
        )
