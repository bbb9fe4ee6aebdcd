"""A cost spike that somebody has to do something about, from its verdict to its review."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

USD: dict[str, Any] = {"max_digits": 20, "decimal_places": 9}


class IncidentCause(models.TextChoices):
    NONE = "none", "not known yet"
    TRAFFIC_GROWTH = "traffic_growth", "more traffic"
    FEATURE_DOMINANCE = "feature_dominance", "one feature takes over"
    HIDDEN_RECOMPUTE = "hidden_recompute", "hidden recompute"
    CONTEXT_BLOAT = "context_bloat", "context grows"
    OUTPUT_GROWTH = "output_growth", "longer answers"
    PRICE_OR_MODEL_SWITCH = "price_or_model_switch", "dearer model or price"
    TOOL_FAILURE_STORM = "tool_failure_storm", "tool fails and is retried"


class IncidentState(models.TextChoices):
    DETECTED = "detected", "detected"
    TRIAGED = "triaged", "triaged"
    MITIGATING = "mitigating", "mitigating"
    STABILISED = "stabilised", "stabilised"
    REVIEWED = "reviewed", "reviewed"


class Incident(models.Model):
    """One spike. A verdict about the same spike updates it; there is never a second one.

    detected ──▸ triaged ──▸ mitigating ──▸ stabilised ──▸ reviewed
        └───────────────────────▴   │            │             │
        └──────────┴────────────────┴──▸ stabilised            │   (cost is back to normal)
                   ▴                             │             │
                   ├── relapse ──────────────────┘             │   (back within a day)
                   └── reopened ─────────────────┴─────────────┘   (closed while it still costs)

    detected: cost is up, and nothing explains it yet. triaged: the cause is named, by the triage or
    by a person. mitigating: something was applied. stabilised: the checks of the job passed, or a
    person says so. reviewed: root cause, mitigation, "alert created?" and a follow-up date are
    written down. A reviewed incident changes only by being reopened (a trigger; the reminder is
    noted, too); the answers of the review stay in its timeline.

    Closed is stabilised or reviewed. The hours from the start to the closing belong to the
    incident: no other one begins in them, and they are no part of what is normal.

    - relapse: the cost came down for two hours, and the same feature is up again within a day of
      stabilised. The phase that ended moves to `earlier`; the new one has its own start, figures,
      severity and escalation. After a review it is a new incident instead.
    - reopened: closed by a person before the cost came down, and the next whole hour is above
      normal. It is the same phase: start, figures and severity stay. Escalation begins anew.

    Each transition is one function of `opslog.incidents`. Figures are of the last verdict, and of
    the present phase.
    """

    State = IncidentState

    class Severity(models.TextChoices):
        MINOR = "minor", "minor"
        MAJOR = "major", "major"
        CRITICAL = "critical", "critical"

    Cause = IncidentCause

    state = models.TextField(choices=State, default=State.DETECTED)
    severity = models.TextField(choices=Severity)
    severity_by_hand = models.BooleanField(
        default=False, db_default=False, help_text="A person set it: the triage leaves it alone."
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="incidents"
    )
    started_at = models.DateTimeField(help_text="When the spike began.")
    detected_at = models.DateTimeField(help_text="When the triage first confirmed it.")
    judged_until = models.DateTimeField(help_text="Cost was last looked at up to this hour.")
    cause = models.TextField(choices=Cause, default=Cause.NONE)
    cause_by_hand = models.BooleanField(default=False, db_default=False)
    confidence = models.DecimalField(max_digits=5, decimal_places=4, help_text="0 to 1.")
    feature = models.TextField(db_default="", default="")
    tool = models.TextField(db_default="", default="")
    traffic = models.TextField(db_default="", default="", help_text="bot, abuse or campaign.")
    baseline_usd_per_hour = models.DecimalField(**USD)
    cost_usd_per_hour = models.DecimalField(**USD)
    excess_usd_total = models.DecimalField(**USD)
    sentences = models.JSONField(default=list)
    contributions = models.JSONField(default=list)
    ranked_causes = models.JSONField(default=list)
    evidence = models.JSONField(default=list)
    changes = models.JSONField(default=list)
    mitigated_at = models.DateTimeField(null=True, help_text="The last time one was applied.")
    escalation = models.SmallIntegerField(default=0, db_default=0)
    escalated_at = models.DateTimeField(null=True)
    reopenings = models.SmallIntegerField(
        default=0, db_default=0, help_text="How many times it was active again after it was closed."
    )
    reopened_at = models.DateTimeField(null=True, help_text="The last time.")
    earlier = models.JSONField(
        default=list, db_default=Value([], models.JSONField()),
        help_text="The phases before the present one, oldest first.",
    )  # fmt: skip
    checks_told = models.JSONField(default=dict, help_text="What the job last saw.")
    stabilised_at = models.DateTimeField(null=True)
    root_cause = models.TextField(db_default="", default="")
    mitigation = models.TextField(db_default="", default="")
    alert_created = models.BooleanField(null=True)
    follow_up_on = models.DateField(null=True)
    reviewed_at = models.DateTimeField(null=True)
    reviewed_by = models.TextField(db_default="", default="")
    reminded_at = models.DateTimeField(null=True, help_text="Of the follow-up.")

    class Meta:
        db_table = "incidents"
        ordering = ("-id",)
        permissions = (
            ("handle_incident", "Can own, judge, escalate and stabilise incidents"),
            ("review_incident", "Can review incidents"),
            ("run_triage", "Can have the triage run now"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("feature",),
                condition=Q(state__in=("detected", "triaged", "mitigating")),
                name="incidents_one_open",
            ),
            models.CheckConstraint(
                condition=Q(
                    state__in=tuple(IncidentState.values),
                    severity__in=("minor", "major", "critical"),
                    cause__in=tuple(IncidentCause.values),
                    confidence__range=(0, 1),
                    escalation__range=(0, 3),
                    detected_at__gte=models.F("started_at"),
                ),
                name="incidents_known_values",
            ),
            models.CheckConstraint(
                condition=Q(cost_usd_per_hour__gt=models.F("baseline_usd_per_hour"))
                & Q(baseline_usd_per_hour__gte=0),
                name="incidents_cost_is_up",
            ),
            models.CheckConstraint(
                condition=Q(state="mitigating", mitigated_at__isnull=False)
                | ~Q(state="mitigating"),
                name="incidents_mitigated",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("stabilised", "reviewed"), stabilised_at__isnull=False)
                | Q(state__in=("detected", "triaged", "mitigating"), stabilised_at=None),
                name="incidents_stabilised",
            ),
            # The runbook's last step: all four are answered, or it stays open.
            models.CheckConstraint(
                condition=(
                    Q(
                        state="reviewed",
                        alert_created__isnull=False,
                        follow_up_on__isnull=False,
                        reviewed_at__isnull=False,
                    )
                    & ~Q(root_cause="")
                    & ~Q(mitigation="")
                    & ~Q(reviewed_by="")
                )
                | (~Q(state="reviewed") & Q(reviewed_at=None)),
                name="incidents_reviewed",
            ),
        )

    def __str__(self) -> str:
        return f"Incident #{self.pk}"

    @property
    def excess_usd_per_hour(self) -> Decimal:
        return self.cost_usd_per_hour - self.baseline_usd_per_hour

    @property
    def alarmed_at(self) -> datetime:
        """When people last heard that it burns: escalation counts from here."""
        return self.reopened_at or self.detected_at

    @property
    def first_started_at(self) -> datetime:
        return (
            datetime.fromisoformat(self.earlier[0]["startedAt"])
            if self.earlier
            else (self.started_at)
        )

    @property
    def excess_usd_of_all_phases(self) -> Decimal:
        """Of this phase and those before it; the calm between them costs nothing above normal."""
        return sum((Decimal(each["excessUsd"]) for each in self.earlier), self.excess_usd_total)

    @property
    def state_word(self) -> str:
        """The state as people read it: the stored value has the British spelling."""
        return "stabilized" if self.state == self.State.STABILISED else self.state

    @property
    def is_active(self) -> bool:
        """Whether the spike is not over yet, as far as anybody has seen."""
        return self.state not in (self.State.STABILISED, self.State.REVIEWED)


class IncidentEntry(models.Model):
    """One line of the timeline of an incident. Append-only."""

    class Kind(models.TextChoices):
        DETECTED = "detected", "detected"
        VERDICT = "verdict", "triage"
        OWNER = "owner", "owner"
        SEVERITY = "severity", "severity"
        CAUSE = "cause", "cause"
        NOTE = "note", "note"
        MITIGATION = "mitigation", "mitigation"
        ESCALATION = "escalation", "escalation"
        STABILISED = "stabilised", "stabilised"
        RELAPSE = "relapse", "relapse"
        REOPENED = "reopened", "reopened"
        REVIEW = "review", "review"
        FOLLOW_UP = "follow_up", "follow-up"

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="entries")
    kind = models.TextField(choices=Kind)
    text = models.TextField()
    actor = models.TextField()
    at = models.DateTimeField()
    data = models.JSONField(default=dict)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "incident_entries"
        verbose_name = "entry of an incident"
        verbose_name_plural = "entries of incidents"
        ordering = ("at", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("incident", "kind"),
                condition=Q(kind="detected"),
                name="incident_entries_detected_once",
            ),
            models.CheckConstraint(
                condition=~Q(text="") & ~Q(actor=""), name="incident_entries_told"
            ),
        )

    def __str__(self) -> str:
        return self.text


class MitigationLever(models.TextChoices):
    UNDO_RATE = "undo_rate", "rate limit on undo"
    AUTO_SAVE = "auto_save", "auto-save interval"
    CONTEXT_MESSAGES = "context_messages", "context limit"
    TOOL_RETRIES = "tool_retries", "tool retries"
    TOOL_BREAKER = "tool_breaker", "breaker of a tool"
    SUBSTITUTE_MODEL = "substitute_model", "another model"
    THROTTLE = "throttle", "throttle"
    COST_CAP = "cost_cap", "cost cap of a feature"
    FEATURE_OFF = "feature_off", "switch the feature off"
    KILL_SWITCH = "kill_switch", "kill switch"
    LOWER_CAP = "lower_cap", "lower the cap of a work order"


class Mitigation(models.Model):
    """One measure that would bring the cost down, and what became of it.

    proposed ──▸ applied | dismissed;  proposed ◂──▸ withdrawn (a later verdict takes it back)

    `saving_usd_per_hour` is an estimate. `until` is set where it ends by itself; `ended_at` tells
    that it did, or that somebody put the control back.
    """

    Lever = MitigationLever

    class State(models.TextChoices):
        PROPOSED = "proposed", "proposed"
        APPLIED = "applied", "applied"
        DISMISSED = "dismissed", "dismissed"
        WITHDRAWN = "withdrawn", "withdrawn"

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="mitigations")
    lever = models.TextField(choices=Lever)
    rank = models.SmallIntegerField(help_text="The order of effect.")
    label = models.TextField()
    why = models.TextField(db_default="", default="")
    saving_usd_per_hour = models.DecimalField(**USD)
    feature = models.TextField(db_default="", default="")
    target = models.TextField(db_default="", default="")
    values = models.JSONField(default=dict, help_text="What the control is set to.")
    state = models.TextField(choices=State, default=State.PROPOSED)
    applied_at = models.DateTimeField(null=True)
    applied_by = models.TextField(db_default="", default="")
    applied_values = models.JSONField(default=dict)
    reason = models.TextField(db_default="", default="")
    automatic = models.BooleanField(default=False, db_default=False)
    until = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "incident_mitigations"
        ordering = ("rank", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("incident", "lever", "feature", "target"), name="incident_mitigations_once"
            ),
            models.CheckConstraint(
                condition=Q(
                    lever__in=tuple(MitigationLever.values),
                    state__in=("proposed", "applied", "dismissed", "withdrawn"),
                    saving_usd_per_hour__gte=0,
                ),
                name="incident_mitigations_known",
            ),
            models.CheckConstraint(
                condition=(Q(state="applied", applied_at__isnull=False) & ~Q(applied_by=""))
                | (~Q(state="applied") & Q(applied_at=None, applied_by="", ended_at=None)),
                name="incident_mitigations_applied",
            ),
            models.CheckConstraint(
                condition=Q(automatic=False) | Q(until__isnull=False),
                name="incident_mitigations_automatic_ends",
            ),
        )

    def __str__(self) -> str:
        return self.label

    @property
    def summary(self) -> str:
        """What was set, where that is something else than what was proposed; else the proposal."""
        if self.state != self.State.APPLIED or self.applied_values == self.values:
            return self.label
        values = ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in self.applied_values.items()
        )
        where = self.feature or self.target
        return f"{self.get_lever_display().capitalize()}, {where}: {values}"
