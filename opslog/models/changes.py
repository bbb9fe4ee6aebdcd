"""What was changed in the programs that spend: the first place to look when costs move."""

from django.db import models
from django.db.models.functions import Now


class ChangeKind(models.TextChoices):
    DEPLOY = "deploy", "deploy"
    PROMPT_TEMPLATE = "prompt_template", "prompt template"
    MODEL_VERSION = "model_version", "model version"
    UX_CHANGE = "ux_change", "UX change"
    CAMPAIGN = "campaign", "campaign"
    OTHER = "other", "other"


class ChangeMarker(models.Model):
    """One change, as it was reported. Append-only: triggers refuse UPDATE, DELETE and TRUNCATE.

    A mistake is corrected by a marker that says so."""

    Kind = ChangeKind

    id = models.BigAutoField(primary_key=True)
    kind = models.TextField(choices=Kind)
    happened_at = models.DateTimeField(help_text="When it took effect.")
    what = models.TextField()
    feature = models.TextField(db_default="", blank=True, help_text="Empty: all features.")
    key = models.TextField(
        null=True, unique=True, editable=False, help_text="Told by a program that may tell again."
    )
    recorded_by = models.TextField(editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "change_markers"
        verbose_name = "change"
        ordering = ("-happened_at", "-id")
        indexes = (models.Index("happened_at", name="change_markers_happened"),)
        constraints = (
            models.CheckConstraint(
                name="change_markers_kind",
                condition=models.Q(kind__in=tuple(ChangeKind.values)),
            ),
            models.CheckConstraint(name="change_markers_what", condition=~models.Q(what="")),
            models.CheckConstraint(
                name="change_markers_recorded_by", condition=~models.Q(recorded_by="")
            ),
            models.CheckConstraint(name="change_markers_key", condition=~models.Q(key="")),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.what}"
