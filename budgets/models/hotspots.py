"""The registry of what can become expensive, and whom to call."""

from datetime import timedelta

from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from workorders.models import CostDimension

EVERY_FEATURE = "*"
# The job measures every hour: an older range means a job that stopped, or of telemetry
# that did.
MEASURED_FOR = timedelta(days=2)


class Hotspot(models.Model):
    """One feature whose cost varies or grows: on which bill it lands, how it scales, who owns it.

    What can be measured is measured: a job fills `measured_*` from the hourly sums of telemetry,
    for the feature that `feature` names (`*`: all of them). Where there is no telemetry the typed
    ranges are shown, with their date, and marked as typed. Guardrails are not stored: they are
    read from the rows that enforce them; levers are lines of `budgets.finops.hotspots.levers`.

    unconfirmed ──▶ confirmed ──▶ stale       (derived: `state`)

    An entry is stale that nobody confirmed, or typed, for `confirm_days`, and one whose measured
    range has become old.
    """

    class State(models.TextChoices):
        UNCONFIRMED = "unconfirmed", "not yet confirmed"
        CONFIRMED = "confirmed", "confirmed"
        STALE = "stale", "stale"

    class Scaling(models.TextChoices):
        CONSTANT = "constant", "constant"
        LINEAR = "linear", "linear"
        SUPERLINEAR = "superlinear", "faster than linear"
        STEPPED = "stepped", "in steps"
        GROWING = "growing", "grows with time"

    name = models.TextField(unique=True)
    feature = models.TextField(
        blank=True,
        db_default="",
        default="",
        help_text="As telemetry names it; * for all; empty where no telemetry tells of it.",
    )
    dimension = models.TextField("cost dimension", choices=CostDimension)
    scaling = models.TextField(choices=Scaling)
    scaling_note = models.TextField(
        blank=True, db_default="", default="", help_text="What makes it grow."
    )
    levers = models.TextField(
        blank=True,
        db_default="",
        default="",
        help_text="What can be done, one a line, the cheapest first. Ours are linked too.",
    )
    owner = models.ForeignKey(Group, on_delete=models.PROTECT, related_name="+")
    typed_month_low = models.DecimalField(
        "typed, $ a month, from", max_digits=14, decimal_places=2, null=True, blank=True
    )
    typed_month_high = models.DecimalField(
        "to", max_digits=14, decimal_places=2, null=True, blank=True
    )
    typed_request_low = models.DecimalField(
        "typed, $ a request, from", max_digits=14, decimal_places=9, null=True, blank=True
    )
    typed_request_high = models.DecimalField(
        "to", max_digits=14, decimal_places=9, null=True, blank=True
    )
    typed_at = models.DateField(null=True, editable=False)
    measured_month_low = models.DecimalField(
        max_digits=20, decimal_places=9, null=True, editable=False
    )
    measured_month_high = models.DecimalField(
        max_digits=20, decimal_places=9, null=True, editable=False
    )
    measured_request_low = models.DecimalField(
        max_digits=20, decimal_places=9, null=True, editable=False
    )
    measured_request_high = models.DecimalField(
        max_digits=20, decimal_places=9, null=True, editable=False
    )
    measured_days = models.IntegerField(
        null=True, editable=False, help_text="Complete days that the ranges are of."
    )
    measured_at = models.DateTimeField(null=True, editable=False)
    confirm_days = models.IntegerField(
        "stale after so many days",
        default=90,
        db_default=90,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
    )
    confirmed_at = models.DateTimeField(null=True, editable=False)
    confirmed_by = models.TextField(db_default="", default="", editable=False)
    confirmation = models.TextField(db_default="", default="", editable=False)

    class Meta:
        db_table = "hotspots"
        ordering = ("dimension", "name")
        constraints = (
            models.CheckConstraint(condition=~Q(name=""), name="hotspots_named"),
            models.CheckConstraint(
                condition=Q(dimension__in=CostDimension.values), name="hotspots_dimension"
            ),
            models.CheckConstraint(
                condition=Q(
                    scaling__in=["constant", "linear", "superlinear", "stepped", "growing"]
                ),
                name="hotspots_scaling",
            ),
            models.CheckConstraint(
                condition=(
                    Q(typed_month_low=None, typed_month_high=None)
                    | Q(
                        typed_month_low__gte=0,
                        typed_month_high__isnull=False,  # a comparison with nothing is no refusal
                        typed_month_high__gte=models.F("typed_month_low"),
                    )
                )
                & (
                    Q(typed_request_low=None, typed_request_high=None)
                    | Q(
                        typed_request_low__gte=0,
                        typed_request_high__isnull=False,
                        typed_request_high__gte=models.F("typed_request_low"),
                    )
                )
                & (Q(typed_month_low=None, typed_request_low=None) | Q(typed_at__isnull=False)),
                name="hotspots_typed",
            ),
            models.CheckConstraint(
                condition=Q(
                    measured_at=None,
                    measured_days=None,
                    measured_month_low=None,
                    measured_month_high=None,
                    measured_request_low=None,
                    measured_request_high=None,
                )
                | Q(
                    measured_at__isnull=False,
                    measured_days__isnull=False,
                    measured_days__gt=0,
                    measured_month_low__isnull=False,
                    measured_month_high__isnull=False,
                    measured_month_high__gte=models.F("measured_month_low"),
                ),
                name="hotspots_measured",
            ),
            models.CheckConstraint(
                condition=Q(confirm_days__range=(1, 3650))
                & (
                    Q(confirmed_at=None, confirmed_by="")
                    | (Q(confirmed_at__isnull=False) & ~Q(confirmed_by=""))
                ),
                name="hotspots_confirmed",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_measured(self) -> bool:
        return self.measured_at is not None

    @property
    def is_measured_long_ago(self) -> bool:
        return bool(self.measured_at and self.measured_at + MEASURED_FOR <= timezone.now())

    @property
    def state(self) -> str:
        now = timezone.now()
        fresh_for = timedelta(days=self.confirm_days)
        if self.is_measured_long_ago:
            return self.State.STALE
        if self.confirmed_at:
            return (
                self.State.STALE if self.confirmed_at + fresh_for <= now else self.State.CONFIRMED
            )
        is_old = self.typed_at is not None and self.typed_at + fresh_for <= now.date()
        return self.State.STALE if is_old else self.State.UNCONFIRMED

    @property
    def state_said(self) -> str:
        return str(self.State(self.state).label)

    @property
    def is_stale(self) -> bool:
        return self.state == self.State.STALE


class Contact(models.Model):
    """Whom to call for what: a group, and how it is reached when its people are not notified.

    Who is in the group is read from the group; `reach` is a number, a channel, an address.
    """

    class Topic(models.TextChoices):
        CAPS = "caps", "caps and refusals"
        LARGE_CAPS = "large_caps", "large cap changes"
        BREACH = "breach", "a budget that is used up"
        ABUSE = "abuse", "suspicious activity"
        PROVIDER = "provider", "the provider of models"
        PLATFORM = "platform", "Tollgate itself"

    topic = models.TextField(choices=Topic)
    position = models.SmallIntegerField(default=1, help_text="Who is called first has 1.")
    group = models.ForeignKey(
        Group, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    name = models.TextField(help_text="A role, a team, a company.")
    reach = models.TextField(
        blank=True, db_default="", default="", help_text="A number, an address, a channel."
    )
    hours = models.TextField(blank=True, db_default="", default="", help_text="When, in UTC.")
    active = models.BooleanField(default=True, db_default=True)

    class Meta:
        db_table = "contacts"
        ordering = ("topic", "position", "id")
        constraints = (
            models.CheckConstraint(condition=~Q(name=""), name="contacts_named"),
            models.CheckConstraint(
                condition=Q(
                    topic__in=["caps", "large_caps", "breach", "abuse", "provider", "platform"]
                ),
                name="contacts_topic",
            ),
            models.CheckConstraint(condition=Q(position__gt=0), name="contacts_position"),
        )

    def __str__(self) -> str:
        return self.name
