"""What happened, and that the processes live."""

from django.db import models
from django.db.models.functions import Now


class OperationsEvent(models.Model):
    """One event. Append-only: triggers refuse UPDATE, DELETE and TRUNCATE.

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
        # As the indexes are: by time, and by id where two have the same.
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return f"{self.kind} {self.owner_id}".strip()


class Heartbeat(models.Model):
    """When a process that nobody talks to was last known to work."""

    name = models.TextField(primary_key=True)
    at = models.DateTimeField()
    silent_since = models.DateTimeField(
        null=True, help_text="People have been notified that it is silent (`opslog.liveness`)."
    )

    class Meta:
        db_table = "heartbeats"

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%Y-%m-%d %H:%M:%S}"
