"""What may be applied to an incident without a person, and what was, for how long."""

from django.db import models
from django.db.models import Q

from opslog.models import Mitigation

Lever = Mitigation.Lever
# A kill switch and the cap of a work order stay with people.
AUTOMATIC = (
    Lever.UNDO_RATE,
    Lever.AUTO_SAVE,
    Lever.CONTEXT_MESSAGES,
    Lever.TOOL_RETRIES,
    Lever.TOOL_BREAKER,
    Lever.SUBSTITUTE_MODEL,
    Lever.THROTTLE,
    Lever.COST_CAP,
    Lever.FEATURE_OFF,
)


class AutomaticMitigation(models.Model):
    """Whether a lever is pulled by the job as soon as an incident proposes it, and for how long.
    Shipped: off, all of them."""

    lever = models.TextField(choices=Lever, unique=True)
    enabled = models.BooleanField(default=False, db_default=False)
    minutes = models.IntegerField(default=60, db_default=60, help_text="Then it ends by itself.")
    reason = models.TextField(db_default="", default="", help_text="Of the last change.")
    changed_by = models.TextField(db_default="", default="")
    changed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "automatic_mitigations"
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(
                    lever__in=tuple(each.value for each in AUTOMATIC),
                    minutes__range=(5, 1440),
                ),
                name="automatic_mitigations_bounded",
            ),
        )

    def __str__(self) -> str:
        return self.get_lever_display()


class TimedMitigation(models.Model):
    """One that the job applied: the control's values before and now, and until when.

    live ──▸ ended (the time is over, or a person ends it)

    The control is put back where it still says what was applied, and nobody has set it since:
    whoever did wins, also with the value that was there (`kept_by`).
    Should the job be late, the control stays tight; nothing is let through by that.
    """

    mitigation = models.OneToOneField(Mitigation, on_delete=models.PROTECT, related_name="timed")
    lever = models.TextField(choices=Lever)
    feature = models.TextField()
    before = models.JSONField()
    applied = models.JSONField()
    until = models.DateTimeField()
    applied_at = models.DateTimeField()
    kept_by = models.TextField(
        db_default="", default="", help_text="Who has set the same control meanwhile: it stays so."
    )
    stuck_at = models.DateTimeField(null=True, help_text="When it could first not be put back.")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.TextField(db_default="", default="")
    outcome = models.TextField(db_default="", default="")

    class Meta:
        db_table = "timed_mitigations"
        ordering = ("-id",)
        permissions = (("end_timedmitigation", "Can end an automatic mitigation"),)
        constraints = (
            # Two at once would each put back what the other has set.
            models.UniqueConstraint(
                fields=("feature", "lever"),
                condition=Q(ended_at=None),
                name="timed_mitigations_one_live",
            ),
            models.CheckConstraint(
                condition=Q(until__gt=models.F("applied_at"))
                & (Q(ended_at=None, ended_by="") | (Q(ended_at__isnull=False) & ~Q(ended_by=""))),
                name="timed_mitigations_bounded",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_lever_display()} of {self.feature}"
