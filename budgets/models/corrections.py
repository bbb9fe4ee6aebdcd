"""Costs that cannot be true: when people are alerted, and how one is corrected."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from opslog.pricing.money import usd_text


class CostRule(models.Model):
    """When a reported cost is a critical alert, whose word corrects one, and what a run reserves
    where nobody knows what it will cost. One row.

    A run's cost raises an alert when it is over `alert_times` its reservation *and* over
    `alert_over_usd`; direct spend reserves nothing, so it raises one over `alert_over_usd`.

    A run whose caller names no amount reserves `floor_usd` at least (empty: the work order's
    dollars ÷ runs a day) until the work order has `floor_runs` successful runs. Usage without a
    price settles at the same amount at least.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    alert_times = models.IntegerField(default=20, db_default=20)
    alert_over_usd = models.DecimalField(
        max_digits=12, decimal_places=2, default="10.00", db_default="10.00"
    )
    second_person_over_usd = models.DecimalField(
        max_digits=12,
        decimal_places=2,
        default="50.00",
        db_default="50.00",
        help_text="A correction of more than this is confirmed by a second person.",
    )

    floor_usd = models.DecimalField(
        max_digits=12,
        decimal_places=2,
        null=True,
        help_text="Empty: the work order's dollars a day ÷ runs a day.",
    )
    floor_runs = models.IntegerField(default=20, db_default=20)

    class Meta:
        db_table = "cost_rules"
        constraints = (
            models.CheckConstraint(
                condition=Q(id=1, alert_times__gte=1, alert_over_usd__gte=0)
                & Q(second_person_over_usd__gte=0),
                name="cost_rules_sane",
            ),
            models.CheckConstraint(
                condition=Q(floor_runs__range=(1, 100)) & (Q(floor_usd=None) | Q(floor_usd__gt=0)),
                name="cost_rules_floor",
            ),
        )

    def __str__(self) -> str:
        return f"over {self.alert_times} × its reservation and ${self.alert_over_usd}"


class CostCorrection(models.Model):
    """What a run or a reported call really cost, stated by a person.

    pending ──▶ applied | refused | stale      (all three are final)

    applied: at once up to `CostRule.second_person_over_usd`, else by somebody else's confirmation.
    refused: by somebody else, or withdrawn by who asked. stale: the cost changed meanwhile.
    `old_usd` is the cost that was seen: it is corrected only while it is that.
    """

    class Of(models.TextChoices):
        RUN = "run", "run"
        DIRECT_SPEND = "direct_spend", "direct spend"

    class Status(models.TextChoices):
        PENDING = "pending", "waiting for a second person"
        APPLIED = "applied", "applied"
        REFUSED = "refused", "refused"
        STALE = "stale", "stale"

    of = models.TextField(choices=Of)
    subject_id = models.UUIDField()
    status = models.TextField(choices=Status)
    old_usd = models.DecimalField("cost before, $", max_digits=18, decimal_places=9)
    new_usd = models.DecimalField("true cost, $", max_digits=18, decimal_places=9)
    reason = models.TextField()
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    asked_at = models.DateTimeField(db_default=Now(), editable=False)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True)
    note = models.TextField(db_default="")
    second_factor_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When a solo operator, whose confirmation this is, showed their second factor.",
    )

    class Meta:
        db_table = "cost_corrections"
        verbose_name = "cost correction"
        ordering = ("-id",)
        permissions = (("correct_cost", "Can correct what a run or a call cost"),)
        indexes = (models.Index(fields=("of", "subject_id"), name="cost_corrections_of"),)
        constraints = (
            models.UniqueConstraint(
                fields=("of", "subject_id"),
                condition=Q(status="pending"),
                name="cost_corrections_one_open",
            ),
            models.CheckConstraint(
                condition=Q(new_usd__gte=0) & ~Q(new_usd=F("old_usd")) & ~Q(reason=""),
                name="cost_corrections_correct",
            ),
            models.CheckConstraint(
                condition=Q(status="pending", decided_at=None)
                | (~Q(status="pending") & Q(decided_at__isnull=False)),
                name="cost_corrections_decided",
            ),
        )

    def __str__(self) -> str:
        return f"${usd_text(self.old_usd)} → ${usd_text(self.new_usd)}"
