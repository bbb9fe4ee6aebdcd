"""Limits that many work orders share."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

EACH = "*"


class Budget(models.Model):
    """A limit over a scope and a window, in US dollars, tokens or requests.

    `subject` says which one of its scope: a name, or `*` for each of them on its own; a row for a
    name wins over the one for each. Every row is counted from the moment it is made (what its
    window holds already is added up then), also with no amount: then it limits nothing. An
    admission is refused when settled + reserved would pass `amount`, or is there already.

    Only combinations that the admission enforces can be stored: a limit that is kept and not
    enforced is worse than none. The rows of scope `work_order` have no amount: what they hold is
    when the caps of a work order raise an alert. The row (everything, rolling minute, USD) is the
    circuit breaker's.
    """

    class Scope(models.TextChoices):
        GLOBAL = "global", "everything"
        SURFACE = "surface", "surface"
        FEATURE = "feature", "feature"
        MODEL = "model", "model"
        MODEL_TIER = "model_tier", "model tier, in one work order"
        AGENT = "agent", "agent"
        USER = "user", "user"
        TEAM = "team", "team"
        COST_DIMENSION = "cost_dimension", "cost dimension"
        ADDRESS = "address", "source address"
        WORK_ORDER = "work_order", "work order"

    class Window(models.TextChoices):
        OPEN = "open", "at the same time"
        ROLLING_MINUTE = "rolling_minute", "in any 60 seconds"
        MINUTE = "minute", "a minute"
        ROLLING_HOUR = "rolling_hour", "in any 60 minutes"
        HOUR = "hour", "an hour (UTC)"
        DAY = "day", "a day (UTC)"
        MONTH = "month", "a month (UTC)"

    class Measure(models.TextChoices):
        USD = "usd", "US dollars"
        TOKENS = "tokens", "tokens"
        REQUESTS = "requests", "requests"
        RUNS = "runs", "runs"

    scope = models.TextField(choices=Scope)
    subject = models.TextField(
        blank=True,
        db_default="",
        default="",
        help_text="Which one; * for each of them on its own; empty where the scope is everything.",
    )
    window = models.TextField(choices=Window)
    measure = models.TextField(choices=Measure)
    amount = models.DecimalField(
        max_digits=18, decimal_places=2, null=True, blank=True, help_text="Empty: no limit."
    )
    warning_amount = models.DecimalField(
        max_digits=18,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="An alert is raised when use reaches this.",
    )
    alert_percents = ArrayField(
        models.SmallIntegerField(),
        default=list,
        blank=True,
        db_default=models.Value([], ArrayField(models.SmallIntegerField())),
        help_text="Alerts are raised when use reaches these shares of the amount, in per cent.",
    )

    class Meta:
        db_table = "budgets"
        ordering = ("scope", "subject", "window", "measure")
        constraints = (
            models.UniqueConstraint(
                fields=("scope", "subject", "window", "measure"), name="budgets_once"
            ),
            models.CheckConstraint(
                condition=(Q(amount=None) | Q(amount__gt=0))
                & (Q(warning_amount=None) | Q(warning_amount__gt=0)),
                name="budgets_positive",
            ),
            models.CheckConstraint(
                condition=Q(scope="global", subject="") | (~Q(scope="global") & ~Q(subject="")),
                name="budgets_subject",
            ),
            models.CheckConstraint(
                condition=Q(scope__in=("global", "model_tier"), window="open", measure="runs")
                | Q(
                    scope="work_order",
                    subject=EACH,
                    window="day",
                    measure__in=("usd", "requests"),
                    amount=None,
                    warning_amount=None,
                )
                | Q(
                    scope__in=(
                        "global",
                        "surface",
                        "feature",
                        "model",
                        "agent",
                        "user",
                        "team",
                        "cost_dimension",
                        "address",
                    ),
                    window__in=("rolling_minute", "minute", "rolling_hour", "hour", "day", "month"),
                    measure__in=("usd", "tokens", "requests"),
                ),
                name="budgets_enforced",
            ),
        )

    def __str__(self) -> str:
        of = "" if self.scope == self.Scope.GLOBAL else f" of {self.subject}"
        return (
            f"{self.get_measure_display()} {self.get_window_display()}, "
            f"{self.get_scope_display()}{of}"
        )

    @property
    def is_breaker(self) -> bool:
        """Whether reaching this limit opens the circuit breaker instead of refusing alone."""
        return (self.scope, self.window, self.measure) == ("global", "rolling_minute", "usd")


class KillSwitch(models.Model):
    """A stop that holds for everything, for one surface, or for one identity, until it is lifted.

    Checked by every admission, and by every extension and renewal of what runs already. Who set it
    is kept: a token lifts only what it set alone (see `budgets.controls.kill_switch`). Both
    empty: nobody known, or several; then a person lifts it.
    """

    class Scope(models.TextChoices):
        GLOBAL = "Global", "everything"
        SURFACE = "Surface", "one surface"
        IDENTITY = "Identity", "one identity"

    scope = models.TextField(choices=Scope)
    target = models.TextField(
        blank=True,
        db_default="",
        default="",
        help_text="The surface; or user:…, agent:… or token:… (its prefix); empty for everything.",
    )
    enabled = models.BooleanField(default=True, help_text="On: what it names is stopped.")
    reason = models.TextField()
    changed_by = models.TextField()
    changed_at = models.DateTimeField()
    set_by_person = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    set_by_token = models.ForeignKey(
        "workorders.ServiceToken", null=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        db_table = "kill_switches"
        verbose_name = "kill switch"
        verbose_name_plural = "kill switches"
        ordering = ("-enabled", "scope", "target")
        permissions = (
            ("stop_everything", "Can switch the kill switches of everything and of surfaces"),
            ("stop_identity", "Can switch the kill switches of identities"),
        )
        constraints = (
            models.UniqueConstraint(fields=("scope", "target"), name="kill_switches_once"),
            models.CheckConstraint(
                condition=Q(scope="Global", target="")
                | (Q(scope="Surface") & ~Q(target=""))
                | Q(scope="Identity", target__regex="^(user|agent|token):."),
                name="kill_switches_target",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="kill_switches_reason"),
            models.CheckConstraint(
                condition=Q(set_by_person=None, set_by_token=None)
                | Q(enabled=True, set_by_person=None)
                | Q(enabled=True, set_by_token=None),
                name="kill_switches_set_by",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_scope_display()} {self.target}".strip()


class CircuitBreaker(models.Model):
    """Stops admissions for a while when money goes out too fast, or without a result.

    closed ──trip──▶ open ──open_seconds──▶ half_open ──probe succeeded──▶ closed
                      ▲                       │ │ ▲
                      └────── probe failed ────┘ └─┘ probe silent for probe_seconds: another one

    (reset: closed, from anywhere)

    One row for everything: it trips when the dollars committed in any 60 seconds leave no room,
    under the amount of the budget (everything, rolling minute, USD), for an ask no larger than
    they are. One row for each work order that has tripped, and the one with the subject `*`, which
    says when: when of its last `recent_runs` ended runs at least `error_percent` ended in an error
    (a retry loop spends without result).
    An open one whose time is over lets the next admission through as the probe: one run, which has
    `probe_seconds` to report. `half_open_at` is the moment from which on a run may probe: of an
    open one the end of its time, of a half-open one the end of its probe's.
    """

    class Scope(models.TextChoices):
        GLOBAL = "global", "everything"
        WORK_ORDER = "work_order", "work order"

    class State(models.TextChoices):
        CLOSED = "closed", "closed (runs start)"
        OPEN = "open", "open (nothing starts)"
        HALF_OPEN = "half_open", "half-open (one run probes)"

    scope = models.TextField(choices=Scope)
    subject = models.TextField(blank=True, db_default="", default="")
    state = models.TextField(choices=State, default=State.CLOSED, db_default=State.CLOSED)
    open_seconds = models.IntegerField(default=300, db_default=300)
    probe_seconds = models.IntegerField(default=60, db_default=60)
    recent_runs = models.IntegerField(null=True, blank=True)
    error_percent = models.SmallIntegerField(null=True, blank=True)
    reason = models.TextField(db_default="", default="", blank=True)
    changed_at = models.DateTimeField(null=True)
    half_open_at = models.DateTimeField(null=True)
    probe_run_id = models.UUIDField(null=True)

    class Meta:
        db_table = "circuit_breakers"
        verbose_name = "circuit breaker"
        ordering = ("scope", "subject")
        permissions = (("switch_circuitbreaker", "Can trip and reset circuit breakers"),)
        constraints = (
            models.UniqueConstraint(fields=("scope", "subject"), name="circuit_breakers_once"),
            models.CheckConstraint(
                condition=Q(state="closed", half_open_at=None, probe_run_id=None)
                | Q(state="open", half_open_at__isnull=False, probe_run_id=None)
                | Q(state="half_open", probe_run_id__isnull=False),
                name="circuit_breakers_state",
            ),
            models.CheckConstraint(
                condition=Q(open_seconds__gt=0)
                & (Q(recent_runs=None) | Q(recent_runs__range=(2, 100)))
                & (Q(error_percent=None) | Q(error_percent__range=(1, 100))),
                name="circuit_breakers_sane",
            ),
            models.CheckConstraint(
                condition=Q(probe_seconds__gt=0), name="circuit_breakers_probe_seconds"
            ),
        )
        indexes = (
            models.Index(
                fields=("probe_run_id",),
                condition=Q(probe_run_id__isnull=False),
                name="circuit_breakers_probe",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_scope_display()} {self.subject}".strip()
