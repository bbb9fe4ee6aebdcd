"""Requests to change limits, the rules that judge them, and what came of them."""

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone


class Measure(models.TextChoices):
    """The measures a change of limits is asked for, each with a smallest step of its own.

    The first three are caps of a work order. Shared limits are rows of `budgets`; where they are in
    dollars, the rules of USD/day judge their daily equivalent, and those of a feature likewise.
    """

    RUNS_PER_DAY = "runs_per_day", "runs/day"
    USD_PER_DAY = "usd_per_day", "USD/day"
    MAX_CONCURRENT_RUNS = "max_concurrent_runs", "concurrent runs"
    SHARED_LIMIT = "shared_limit", "shared limit"
    FEATURE_THROTTLE = "feature_throttle", "throttle of a feature"
    FEATURE_COST_CAP = "feature_cost_cap", "cost cap of a feature"
    MAX_RUN_USD = "max_run_usd", "ceiling of a token, USD/run"


class ApprovalRule(models.Model):
    """Who must agree when the resulting effective cap lies in [minimum, maximum] (inclusive)."""

    measure = models.TextField(choices=Measure)
    minimum = models.DecimalField(max_digits=18, decimal_places=2)
    maximum = models.DecimalField(max_digits=18, decimal_places=2, null=True, blank=True)

    class Meta:
        db_table = "approval_rules"
        ordering = ("measure", "minimum")
        constraints = (
            models.UniqueConstraint(fields=("measure", "minimum"), name="approval_rules_once"),
            models.CheckConstraint(
                condition=models.Q(minimum__gt=0)
                & (models.Q(maximum=None) | models.Q(maximum__gte=models.F("minimum"))),
                name="approval_rules_interval",
            ),
        )

    def __str__(self) -> str:
        upper = "" if self.maximum is None else f" to {self.maximum}"
        return f"{self.get_measure_display()} from {self.minimum}{upper}"


class ApprovalSlot(models.Model):
    """One signature, or several, that a rule asks of a group; each by a different person."""

    rule = models.ForeignKey(ApprovalRule, on_delete=models.CASCADE, related_name="slots")
    group = models.ForeignKey(Group, on_delete=models.PROTECT, related_name="+")
    count = models.SmallIntegerField(default=1)

    class Meta:
        db_table = "approval_slots"
        constraints = (
            models.UniqueConstraint(fields=("rule", "group"), name="approval_slots_once"),
            models.CheckConstraint(condition=models.Q(count__gt=0), name="approval_slots_positive"),
        )

    def __str__(self) -> str:
        return f"{self.count} of {self.group}"


class ChangeRequests(models.QuerySet["ChangeRequest"]):
    def waiting(self) -> "ChangeRequests":
        """For approval, and in time: whose time is over is expired, whether or not anybody has
        touched it since."""
        return self.filter(status="pending", expires_at__gt=timezone.now())

    def overdue(self) -> "ChangeRequests":
        """Those that nobody decided in time, not yet closed."""
        return self.filter(status="pending", expires_at__lte=timezone.now())


class ChangeRequest(models.Model):
    """A request to change the limits of a subject, for good or for a time (a grant).

    pending ──▶ applied | refused | cancelled | expired | stale | set aside      (all are final)
       └──edit──┘

    applied: every slot is filled, judged again under the lock, whatever came last. refused: one
    refusal suffices. cancelled: by the requester. expired: 24 h without a decision, found under the
    lock, not by a sweeper. stale: the base caps moved since it was asked. edit: by the requester;
    it counts the revision up, and a vote counts for its own revision only.

    What a program asked with a service token never stands in a person's way. As long as no person
    has edited it, anybody who may ask takes it over (an edit; they are the requester from then on)
    or sets it aside. The token, its maker and its owner are recorded with the request and stay
    parties to it.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "waiting for approval"
        APPLIED = "applied", "applied"
        REFUSED = "refused", "refused"
        CANCELLED = "cancelled", "cancelled"
        EXPIRED = "expired", "expired"
        STALE = "stale", "stale"
        SET_ASIDE = "set_aside", "set aside"

    subject_type = models.TextField(db_default="work_order")
    subject_id = models.TextField()
    status = models.TextField(choices=Status, default=Status.PENDING)
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="change_requests"
    )
    token = models.ForeignKey(
        "workorders.ServiceToken",
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="What a program asked with. Empty: a person asked.",
    )
    token_owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    token_maker = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    justification = models.TextField()
    expected_cost_impact = models.TextField(blank=True, db_default="")
    grant_from = models.DateTimeField(
        null=True, blank=True, help_text="UTC. With the next: a raise for a time, not for good."
    )
    grant_until = models.DateTimeField(null=True, blank=True, help_text="UTC, not included.")
    revision = models.IntegerField(default=1, help_text="A vote counts for one revision only.")
    revised_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When this revision was asked for, by a trigger. Empty: as it was made.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, editable=False)
    closing_note = models.TextField(db_default="", editable=False)
    reminders = models.SmallIntegerField(
        db_default=0, editable=False, help_text="How many of the three reminders were sent."
    )

    objects = ChangeRequests.as_manager()

    class Meta:
        db_table = "change_requests"
        verbose_name = "cap change request"
        ordering = ("-id",)
        permissions = (
            ("ask_changerequest", "Can request cap changes"),
            ("decide_changerequest", "Can decide cap change requests"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("subject_type", "subject_id"),
                condition=models.Q(status="pending"),
                name="change_requests_one_open",
            ),
            models.CheckConstraint(
                condition=models.Q(status="pending", decided_at=None)
                | (~models.Q(status="pending") & models.Q(decided_at__isnull=False)),
                name="change_requests_decided",
            ),
            models.CheckConstraint(
                condition=~models.Q(justification=""), name="change_requests_justified"
            ),
            models.CheckConstraint(
                condition=models.Q(grant_from=None, grant_until=None)
                | models.Q(grant_until__gt=models.F("grant_from")),
                name="change_requests_grant",
            ),
            models.CheckConstraint(
                condition=models.Q(token=None, token_owner=None, token_maker=None)
                | models.Q(token__isnull=False, token_owner__isnull=False),
                name="change_requests_token",
            ),
        )

    def __str__(self) -> str:
        return f"#{self.pk} {self.subject_id if self.subject_type == 'work_order' else ''}".strip()

    @property
    def waits_since(self) -> datetime:
        """When what is asked for now was asked for."""
        return self.revised_at or self.created_at

    @property
    def state(self) -> str:
        """The status; expired where nobody decided in time, touched since or not."""
        over = self.status == self.Status.PENDING and self.expires_at <= timezone.now()
        return self.Status.EXPIRED if over else self.status

    @property
    def is_grant(self) -> bool:
        return self.grant_from is not None

    @property
    def is_programs(self) -> bool:
        """Whether a program asked, and no person has made it theirs, which is an edit."""
        return self.token_id is not None and self.revision == 1


class ChangeLine(models.Model):
    """One limit that a request changes: the base value it was asked on, and the value asked for."""

    request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="lines")
    measure = models.TextField(choices=Measure)
    old = models.DecimalField(max_digits=18, decimal_places=2)
    new = models.DecimalField(max_digits=18, decimal_places=2)

    class Meta:
        db_table = "change_lines"
        constraints = (
            models.UniqueConstraint(fields=("request", "measure"), name="change_lines_once"),
            models.CheckConstraint(
                condition=models.Q(new__gt=0) & ~models.Q(new=models.F("old")),
                name="change_lines_change",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_measure_display()} {self.old} → {self.new}"


class Vote(models.Model):
    """One person's vote on one revision of a request, in which slot, with the evidence shown.

    Append-only.
    """

    class Decision(models.TextChoices):
        APPROVE = "approve", "approve"
        REFUSE = "refuse", "refuse"

    request = models.ForeignKey(ChangeRequest, on_delete=models.PROTECT, related_name="votes")
    revision = models.IntegerField()
    voter = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="votes"
    )
    group = models.TextField(help_text="The groups it can sign for.", db_default="")
    decision = models.TextField(choices=Decision)
    comment = models.TextField()
    evidence = models.JSONField(default=dict)
    second_factor_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When a solo operator, whose signature this is, showed their second factor.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "change_votes"
        constraints = (
            models.UniqueConstraint(
                fields=("request", "revision", "voter"), name="change_votes_once_a_person"
            ),
            models.CheckConstraint(condition=~models.Q(comment=""), name="change_votes_comment"),
        )

    def __str__(self) -> str:
        return f"{self.voter} {self.decision}s"


class Grants(models.QuerySet["Grant"]):
    def in_force(self) -> "Grants":
        """Those that raise a cap now."""
        now = timezone.now()
        return self.filter(starts_at__lte=now, ends_at__gt=now)


class Grant(models.Model):
    """A raise of one cap for a time: in force in [starts_at, ends_at), and then simply no more.

    The effective cap is the larger of the base and the live grants, computed at admission: so
    nothing has to be reverted, and grants may overlap. Rows are never deleted, and change only by
    ending earlier or by their review; triggers hold this, and what `ApprovalLimit` says of
    break-glass.
    """

    class Kind(models.TextChoices):
        APPROVED = "approved", "approved"
        BREAK_GLASS = "break_glass", "break-glass"

    wo = models.ForeignKey("workorders.WorkOrder", on_delete=models.PROTECT, related_name="grants")
    measure = models.TextField(choices=Measure)
    value = models.DecimalField(max_digits=18, decimal_places=2)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    kind = models.TextField(choices=Kind, default=Kind.APPROVED)
    request = models.ForeignKey(
        ChangeRequest, null=True, on_delete=models.PROTECT, related_name="grants"
    )
    granted_by = models.TextField()
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Who broke the glass. Names may change.",
    )
    reason = models.TextField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    reviewed_at = models.DateTimeField(null=True)
    review = models.TextField(db_default="")
    second_factor_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When a solo operator, whose review this is, showed their second factor.",
    )

    objects = Grants.as_manager()

    class Meta:
        db_table = "cap_grants"
        ordering = ("-starts_at",)
        permissions = (("break_glass", "Can raise a cap at once in an emergency"),)
        indexes = (models.Index(fields=("wo", "measure", "ends_at"), name="cap_grants_live"),)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(value__gt=0) & ~models.Q(reason=""), name="cap_grants_sane"
            ),
            models.CheckConstraint(
                condition=models.Q(ends_at__gte=models.F("starts_at")), name="cap_grants_interval"
            ),
            models.CheckConstraint(
                condition=models.Q(kind="break_glass") | models.Q(request__isnull=False),
                name="cap_grants_approved",
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=["approved", "break_glass"]), name="cap_grants_kind"
            ),
            models.CheckConstraint(
                condition=~models.Q(kind="break_glass")
                | models.Q(ends_at__lte=models.F("starts_at") + timedelta(minutes=60)),
                name="cap_grants_break_glass",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="approved") | models.Q(person__isnull=False),
                name="cap_grants_person",
            ),
            models.CheckConstraint(
                condition=models.Q(reviewed_by=None)
                | ~models.Q(reviewed_by=models.F("person"))
                | models.Q(person=None)
                | models.Q(second_factor_at__isnull=False),
                name="cap_grants_reviewer",
            ),
            models.CheckConstraint(
                condition=models.Q(reviewed_at=None, review="")
                | (models.Q(reviewed_at__isnull=False) & ~models.Q(review="")),
                name="cap_grants_reviewed",
            ),
        )

    def __str__(self) -> str:
        return f"{self.wo_id}: {self.get_measure_display()} {self.value} until {self.ends_at:%H:%M}"


class ApprovalLimit(models.Model):
    """How far one person, or one token, goes without others.

    Break-glass: the highest value of each measure, and of all grants in force together (their sum).
    Tokens: how many of one token's requests are open, and are made in a day (UTC). Lowered at once,
    by an operator; raised by a request like any other limit. The rows are shipped; none is added or
    removed. Triggers hold them.
    """

    class Name(models.TextChoices):
        GLASS_USD = "break_glass_usd_per_day", "Break-glass: dollars a day"
        GLASS_RUNS = "break_glass_runs_per_day", "Break-glass: runs a day"
        GLASS_CONCURRENT = "break_glass_max_concurrent_runs", "Break-glass: concurrent runs"
        ALL_USD = "all_glass_usd_per_day", "All break-glass: dollars a day"
        ALL_RUNS = "all_glass_runs_per_day", "All break-glass: runs a day"
        ALL_CONCURRENT = (
            "all_glass_max_concurrent_runs",
            "All break-glass: concurrent runs",
        )
        TOKEN_OPEN = "token_open_requests", "One token: open cap change requests"
        TOKEN_DAY = "token_requests_a_day", "One token: cap change requests a day (UTC)"

    name = models.TextField(choices=Name, unique=True)
    amount = models.DecimalField(max_digits=18, decimal_places=2)

    class Meta:
        db_table = "approval_limits"
        ordering = ("id",)
        default_permissions = ("view", "change")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(amount__gt=0), name="approval_limits_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    name__in=(
                        "break_glass_usd_per_day",
                        "break_glass_runs_per_day",
                        "break_glass_max_concurrent_runs",
                        "all_glass_usd_per_day",
                        "all_glass_runs_per_day",
                        "all_glass_max_concurrent_runs",
                        "token_open_requests",
                        "token_requests_a_day",
                    )
                ),
                name="approval_limits_known",
            ),
        )

    def __str__(self) -> str:
        return self.get_name_display()

    @property
    def is_usd(self) -> bool:
        return self.name in (self.Name.GLASS_USD, self.Name.ALL_USD)


class CapChange(models.Model):
    """An applied change of a work order's caps, old and new. Append-only.

    This row is the proof that the trigger on `work_orders` asks for: caps may be updated only
    where a row with exactly these values was inserted in the same transaction; `applied_xid` is
    stamped by a trigger with the transaction's own id and cannot be set by anybody.
    """

    wo = models.ForeignKey(
        "workorders.WorkOrder", on_delete=models.PROTECT, related_name="cap_changes"
    )
    request = models.OneToOneField(ChangeRequest, null=True, on_delete=models.PROTECT)
    old_runs_per_day = models.IntegerField()
    new_runs_per_day = models.IntegerField()
    old_usd_per_day = models.DecimalField(max_digits=12, decimal_places=2)
    new_usd_per_day = models.DecimalField(max_digits=12, decimal_places=2)
    old_max_concurrent_runs = models.IntegerField(null=True, help_text="Empty: not changed.")
    new_max_concurrent_runs = models.IntegerField(null=True, help_text="Empty: not changed.")
    reason = models.TextField()
    by = models.TextField()
    applied_at = models.DateTimeField(db_default=Now(), editable=False)
    applied_xid = models.DecimalField(max_digits=20, decimal_places=0, db_default=0, editable=False)

    class Meta:
        db_table = "cap_changes"
        ordering = ("-id",)
        indexes = (models.Index(fields=("applied_at",), name="cap_changes_applied"),)
        constraints = (
            models.CheckConstraint(condition=~models.Q(reason=""), name="cap_changes_reason"),
        )

    def __str__(self) -> str:
        return f"{self.wo_id} at {self.applied_at:%Y-%m-%d %H:%M}"
