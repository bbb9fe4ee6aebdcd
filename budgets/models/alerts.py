"""Alerts, and the rules of the pre-flight check of a batch."""

from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Alert(models.Model):
    """One occurrence that people are notified of, once: `key` identifies the occurrence (for a
    threshold: the limit, its subject and amount, the threshold, the window).

    Written in the transaction of what it reports, together with its event; a job turns it into
    messages.
    """

    class Kind(models.TextChoices):
        BUDGET_THRESHOLD = "budget_threshold", "threshold of a budget"
        BREAKER_OPENED = "breaker_opened", "circuit breaker opened"
        BREAKER_HALF_OPEN = "breaker_half_open", "circuit breaker half-open"
        BREAKER_CLOSED = "breaker_closed", "circuit breaker closed"
        FEATURE_SWITCHED_OFF = "feature_switched_off", "feature switched off"
        KILL_SWITCH = "kill_switch", "kill switch"
        PREFLIGHT = "preflight", "pre-flight"
        RULE = "rule", "alert rule"
        DIMENSION_TIER = "dimension_tier", "tier of a monthly budget"
        COST_SURPRISE = "cost_surprise", "cost far above its reservation"
        COST_REFUSED = "cost_refused", "cost over what its token may report"
        COST_UNPRICED = "cost_unpriced", "usage without a price"
        REFUSALS = "refusals", "refusals by a limit"
        MONTH_PROJECTION = "month_projection", "month projected over its budget"

    kind = models.TextField(choices=Kind)
    key = models.TextField(unique=True)
    message = models.TextField()
    owner_type = models.TextField(db_default="")
    owner_id = models.TextField(db_default="")
    actor = models.TextField(db_default="tollgate")
    meta = models.JSONField(db_default=models.Value({}, models.JSONField()))
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    told_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        db_table = "alerts"
        ordering = ("-id",)
        indexes = (models.Index(fields=("id",), condition=Q(told_at=None), name="alerts_untold"),)

    def __str__(self) -> str:
        return self.message

    @property
    def severity(self) -> str:
        """`warning` or `blocked` of a threshold, what the rule says of a rule; else by kind."""
        return str(self.meta.get("severity") or SEVERITIES.get(self.kind, ""))


SEVERITIES: dict[str, str] = {
    Alert.Kind.BREAKER_OPENED: "blocked",
    Alert.Kind.BREAKER_HALF_OPEN: "warning",
    Alert.Kind.FEATURE_SWITCHED_OFF: "blocked",
    Alert.Kind.KILL_SWITCH: "high",
    Alert.Kind.PREFLIGHT: "warning",
    Alert.Kind.DIMENSION_TIER: "warning",
    Alert.Kind.COST_SURPRISE: "critical",
    Alert.Kind.COST_REFUSED: "critical",
    Alert.Kind.COST_UNPRICED: "warning",
    Alert.Kind.REFUSALS: "warning",
    Alert.Kind.MONTH_PROJECTION: "warning",
}


class AlertRule(models.Model):
    """What people are notified of besides the thresholds of limits: a measure of the last `minutes`
    above `over`. Once per occurrence, which lasts until the measure is at or below it again.

    Three are shipped; people add others, for one limit or for the rate of spend. What a work order
    reaches of its caps is reported by the thresholds of its limits (`budgets`, scope `work_order`),
    as it happens.
    """

    class Check(models.TextChoices):
        REFUSALS = "refusals", "refusals by a limit"
        ERROR_RATE = "error_rate", "runs that failed, % of those that ended"
        SPREAD = "refusals_spread", "refusals across different work orders"
        LIMIT_USE = "limit_use", "use of one limit, % of its amount"
        SPEND = "spend", "spend in dollars"

    class Severity(models.TextChoices):
        LOW = "low", "low"
        MEDIUM = "medium", "medium"
        HIGH = "high", "high"

    check_name = models.TextField("check", choices=Check)
    name = models.TextField(blank=True, default="", db_default="", help_text="Empty: the check.")
    severity = models.TextField(choices=Severity)
    over = models.DecimalField(max_digits=10, decimal_places=2)
    budget = models.ForeignKey(
        "budgets.Budget",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        db_index=False,
        verbose_name="limit",
    )
    feature = models.TextField(
        blank=True, default="", db_default="", help_text="Of the spend; empty: all features."
    )
    group = models.ForeignKey(
        Group,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
        verbose_name="who is notified",
        help_text="Empty: operations.",
    )
    incident = models.BigIntegerField(
        null=True, blank=True, editable=False, help_text="The incident that it was made for."
    )
    minutes = models.IntegerField(help_text="How far it looks back.")
    at_least = models.IntegerField(
        default=1,
        help_text="Ended runs, or different work orders, below which it says nothing.",
    )
    enabled = models.BooleanField(default=True)
    firing_since = models.DateTimeField(null=True, editable=False)

    class Meta:
        db_table = "alert_rules"
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(over__gte=0, minutes__range=(1, 1440), at_least__gte=1),
                name="alert_rules_sane",
            ),
            models.CheckConstraint(
                condition=Q(check_name="limit_use", budget__isnull=False)
                | (~Q(check_name="limit_use") & Q(budget=None)),
                name="alert_rules_limit",
            ),
            models.CheckConstraint(
                condition=Q(feature="") | Q(check_name="spend"), name="alert_rules_feature"
            ),
        )

    def __str__(self) -> str:
        return self.name or self.get_check_name_display()


class PreflightRule(models.Model):
    """One check of a batch before it starts: over which number it warns, over which it is an
    error, and whether people are notified."""

    class Check(models.TextChoices):
        TASKS = "tasks", "number of tasks"
        TEST_DATA = "test_data", "names that look like test data"
        ESTIMATED_COST = "estimated_cost", "estimated cost, $"
        BUDGET_LEFT = "budget_left", "estimate above the budget left, $"
        LIMITS = "limits", "tasks that a limit would refuse"
        ENVIRONMENT = "environment", "environments that disagree"

    check_name = models.TextField("check", choices=Check, unique=True)
    warning_over = models.DecimalField(
        max_digits=18, decimal_places=2, null=True, blank=True, help_text="Empty: never."
    )
    error_over = models.DecimalField(
        max_digits=18, decimal_places=2, null=True, blank=True, help_text="Empty: never."
    )
    alert = models.BooleanField(default=False, help_text="Tell people when it does not pass.")

    class Meta:
        db_table = "preflight_rules"
        verbose_name = "pre-flight check"
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=(Q(warning_over=None) | Q(warning_over__gte=0))
                & (Q(error_over=None) | Q(error_over__gte=0)),
                name="preflight_rules_sane",
            ),
        )

    def __str__(self) -> str:
        return self.get_check_name_display()


class Deployment(models.Model):
    """Which environment this database belongs to, stamped when it was first migrated. A process
    that believes otherwise does not start: production's work is not done on a test's database."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    environment = models.TextField()
    stamped_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "deployment"
        constraints = (models.CheckConstraint(condition=Q(id=1), name="deployment_one_row"),)

    def __str__(self) -> str:
        return self.environment
