"""Feature controls: on and off, a throttle, a cost cap, and the levers that a service reads."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q


def between(low: int, high: int) -> list[MinValueValidator | MaxValueValidator]:
    return [MinValueValidator(low), MaxValueValidator(high)]


class FeatureControl(models.Model):
    """The control of one feature.

    Admission enforces `enabled`, the throttle and the cost cap. The levers are values that the
    service reads (`GET /api/features/{feature}`) and acts on by itself; each has bounds, and the
    default that it had where no control was set.
    """

    class Period(models.TextChoices):
        ROLLING_MINUTE = "rolling_minute", "in any 60 seconds"
        ROLLING_HOUR = "rolling_hour", "in any 60 minutes"
        DAY = "day", "a day (UTC)"

    class UndoPeriod(models.TextChoices):
        MINUTE = "minute", "a minute"
        HOUR = "hour", "an hour"

    feature = models.TextField(unique=True)
    enabled = models.BooleanField(default=True, db_default=True)
    requests_per_period = models.IntegerField(
        null=True, blank=True, validators=between(1, 1_000_000), help_text="Empty: no throttle."
    )
    period = models.TextField(
        choices=Period, default=Period.ROLLING_HOUR, db_default=Period.ROLLING_HOUR
    )
    cost_cap_usd = models.DecimalField(
        "cost cap, $ in any 60 minutes",
        max_digits=12,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="Reaching it switches the feature off. Empty: no cap.",
    )

    max_rounds = models.IntegerField(default=5, db_default=5, validators=between(1, 50))
    max_context_messages = models.IntegerField(
        default=10, db_default=10, validators=between(1, 1000)
    )
    max_tool_retries = models.IntegerField(default=2, db_default=2, validators=between(0, 20))
    auto_save_interval_ms = models.IntegerField(
        default=30_000, db_default=30_000, validators=between(1_000, 3_600_000)
    )
    undo_rate_limit = models.IntegerField(default=3, db_default=3, validators=between(1, 1000))
    undo_rate_period = models.TextField(
        choices=UndoPeriod, default=UndoPeriod.MINUTE, db_default=UndoPeriod.MINUTE
    )
    round_timeout_ms = models.IntegerField(
        default=30_000, db_default=30_000, validators=between(100, 600_000)
    )
    total_timeout_ms = models.IntegerField(
        default=60_000, db_default=60_000, validators=between(100, 3_600_000)
    )
    max_tool_result_bytes = models.IntegerField(
        default=8_192, db_default=8_192, validators=between(256, 1_048_576)
    )
    tool_breaker_failures = models.IntegerField(default=3, db_default=3, validators=between(1, 100))
    tool_breaker_seconds = models.IntegerField(
        default=60, db_default=60, validators=between(1, 3_600)
    )
    substitute_model = models.TextField(
        blank=True, db_default="", default="", help_text="Use this model instead. Empty: as asked."
    )
    mock_provider = models.BooleanField(
        default=False, db_default=False, help_text="Answer from a mock, at no cost."
    )
    clarification = models.BooleanField(
        default=False, db_default=False, help_text="Ask back before a vague request is worked on."
    )
    reason = models.TextField(db_default="", default="", help_text="Of the last change.")
    changed_by = models.TextField(db_default="", default="")
    changed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "feature_flags"
        verbose_name = "feature control"
        ordering = ("feature",)
        constraints = (
            models.CheckConstraint(condition=~Q(feature=""), name="feature_flags_named"),
            models.CheckConstraint(
                condition=Q(period__in=("rolling_minute", "rolling_hour", "day"))
                & (Q(requests_per_period=None) | Q(requests_per_period__gt=0))
                & (Q(cost_cap_usd=None) | Q(cost_cap_usd__gt=0)),
                name="feature_flags_throttle",
            ),
            models.CheckConstraint(
                condition=Q(
                    max_rounds__range=(1, 50),
                    max_context_messages__range=(1, 1000),
                    max_tool_retries__range=(0, 20),
                    auto_save_interval_ms__range=(1_000, 3_600_000),
                    undo_rate_limit__range=(1, 1000),
                    undo_rate_period__in=("minute", "hour"),
                    round_timeout_ms__range=(100, 600_000),
                    total_timeout_ms__range=(100, 3_600_000),
                    max_tool_result_bytes__range=(256, 1_048_576),
                    tool_breaker_failures__range=(1, 100),
                    tool_breaker_seconds__range=(1, 3_600),
                ),
                name="feature_flags_levers",
            ),
        )

    def __str__(self) -> str:
        return self.feature
