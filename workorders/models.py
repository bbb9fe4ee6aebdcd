"""The governed objects: work orders, the agents that work on them, their runs, and the tokens
that services act with. Nothing here knows what a budget is; the columns that the floor above
keeps up (`reserved_usd`, `charged_to`) are plain facts of a run."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.db.models.sql.compiler import SQLCompiler

from workorders.fields import NetworkField

WORK_ORDER_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
RESERVED_IDS = ("preflight", "runs", "start")  # words of addresses, which would hide the order


class CapsExpression(models.Func):
    """Of the first migration, where `caps` was a generated column."""

    template = (
        "((('{\"runsPerDay\": '::text || (%(runs)s)::text) || ', \"usdPerDay\": '::text) "
        "|| (%(usd)s)::text || '}'::text)::jsonb"
    )

    def as_sql(  # type: ignore[override]  # what else Func takes is of no use here
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        (runs, _), (usd, _) = (compiler.compile(e) for e in self.source_expressions)
        return self.template % {"runs": runs, "usd": usd}, ()


class CostDimension(models.TextChoices):
    """The kinds of bills that a service pays."""

    LLM_API = "llm_api", "LLM API"
    COMPUTE = "compute", "compute"
    STORAGE = "storage", "storage"
    LOGGING = "logging", "logging"
    NETWORK = "network", "network"
    CI_CD = "ci_cd", "CI/CD"


class WorkOrder(models.Model):
    """A piece of work that may spend money, under two caps a day.

    `draft` is the normal working state. Raw SQL may set `suspended` (an emergency stop must be
    easy); resuming is done in the admin, with a reason. `archived` is final.

    The cap columns change only through an applied cap change: a trigger refuses any other UPDATE.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", "draft (working)"
        SUSPENDED = "suspended", "suspended"
        ARCHIVED = "archived", "archived"

    id = models.TextField(
        primary_key=True,
        validators=[
            RegexValidator(WORK_ORDER_ID, "Letters, digits and . _ : - only, 100 at most.")
        ],
    )
    title = models.TextField()
    status = models.TextField(choices=Status, default=Status.DRAFT, db_default=Status.DRAFT)
    runs_per_day = models.IntegerField(
        "runs/day", default=100, db_default=100, validators=[MinValueValidator(1)]
    )
    usd_per_day = models.DecimalField(
        "USD/day", max_digits=12, decimal_places=2, default="2.00", db_default="2.00"
    )
    # Of the two above; a trigger keeps it, and says to whoever writes it how caps change.
    caps = models.JSONField(db_default=models.Value({}, models.JSONField()), editable=False)
    max_concurrent_runs = models.IntegerField(
        default=2, db_default=2, validators=[MinValueValidator(1)]
    )
    team = models.TextField(
        blank=True, db_default="", default="", help_text="Whose budget it belongs to, if any."
    )
    cost_dimension = models.TextField(
        choices=CostDimension,
        default=CostDimension.LLM_API,
        db_default=CostDimension.LLM_API,
        help_text="What kind of bill its runs end up on.",
    )
    refuse_unknown_agents = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Refuse runs of agents that are not registered. Off: admitted, and flagged.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "work_orders"
        ordering = ("id",)
        permissions = (("suspend_workorder", "Can suspend and resume work orders"),)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(runs_per_day__gt=0, usd_per_day__gt=0),
                name="work_orders_caps_positive",
            ),
            models.CheckConstraint(
                condition=models.Q(max_concurrent_runs__gt=0),
                name="work_orders_concurrency_positive",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["draft", "suspended", "archived"]),
                name="work_orders_status",
            ),
            models.CheckConstraint(
                condition=models.Q(id__regex=WORK_ORDER_ID), name="work_orders_id"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    cost_dimension__in=[
                        "llm_api",
                        "compute",
                        "storage",
                        "logging",
                        "network",
                        "ci_cd",
                    ]
                ),
                name="work_orders_cost_dimension",
            ),
            models.CheckConstraint(
                condition=~models.Q(id__in=RESERVED_IDS), name="work_orders_id_not_reserved"
            ),
            models.CheckConstraint(
                condition=~models.Q(title__regex=r"[\u0001-\u001f\u007f-\u009f]"),
                name="work_orders_title_printable",
            ),
        )

    def __str__(self) -> str:
        return self.title or self.id


class Agent(models.Model):
    """A program that is known to us by name. Runs of unknown agents are flagged, or refused."""

    name = models.TextField(primary_key=True)
    label = models.TextField(
        editable=False, default="", db_default="", help_text="The name as it was first written."
    )
    description = models.TextField(blank=True, db_default="")
    is_active = models.BooleanField(
        default=True, db_default=True, help_text="Off: treated as unknown."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "agents"
        ordering = ("name",)
        constraints = (models.CheckConstraint(condition=~models.Q(name=""), name="agents_named"),)

    def __str__(self) -> str:
        return self.label or self.name


class Run(models.Model):
    """One paid piece of work.

    running ─ finish ──▶ success | error | cancelled
       │                     ▲
       └ lease ends ▶ expired┘ (a late finish corrects an expired run; the others are final)

    A running run holds `reserved_usd`; an ended one has its `cost` settled. `day` is the UTC date
    the run counts for, the day it *started*. Written by the stored routines in `budgets/sql` only.
    """

    class Status(models.TextChoices):
        RUNNING = "running", "running"
        SUCCESS = "success", "success"
        ERROR = "error", "error"
        EXPIRED = "expired", "expired"
        CANCELLED = "cancelled", "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wo = models.ForeignKey(WorkOrder, on_delete=models.PROTECT, related_name="runs", db_index=False)
    agent_name = models.TextField()
    agent_known = models.BooleanField(default=True, db_default=True)
    status = models.TextField(choices=Status, default=Status.RUNNING, db_default=Status.RUNNING)
    reserved_usd = models.DecimalField("reserved, $", max_digits=18, decimal_places=9)
    cost = models.DecimalField("cost, $", max_digits=18, decimal_places=9, null=True)
    cost_note = models.TextField(
        db_default="",
        help_text="How the cost was found where it was not told: `unpriced`, `lease_expired`.",
    )
    day = models.DateField()
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)
    lease_expires_at = models.DateTimeField()
    lease_seconds = models.IntegerField()
    reserved_tokens = models.BigIntegerField(db_default=0)
    tokens = models.BigIntegerField(null=True, help_text="Used, input and output; empty: not told.")
    model = models.TextField(db_default="")
    model_tier = models.TextField(db_default="")
    team = models.TextField(db_default="")
    cost_dimension = models.TextField(db_default="llm_api")
    user_id = models.TextField(db_default="")
    surface = models.TextField(db_default="")
    feature = models.TextField(db_default="")
    source_ip = models.GenericIPAddressField(null=True)
    idempotency_key = models.TextField(db_default="")
    usage = models.JSONField(null=True)
    sent_as = models.JSONField(
        null=True,
        help_text="Names as the program sent them, where that is another spelling: "
        "`agentName`, `userId`, `surface`, `feature`, `model`.",
    )
    finish_fingerprint = models.BinaryField(null=True)
    # No constraint in the database on the token: its check would lock the one token row that all
    # of a service's starts share, and turn it into the busiest row of the system.
    token = models.ForeignKey(
        "ServiceToken",
        on_delete=models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    charged_to = ArrayField(
        models.BigIntegerField(),
        db_default=models.Value([], ArrayField(models.BigIntegerField())),
        help_text="The counters this run was charged to, so that exactly those are corrected.",
    )

    class Meta:
        db_table = "work_order_runs"
        ordering = ("-started_at",)
        indexes = (
            models.Index(fields=("wo", "-started_at"), name="runs_by_work_order"),
            models.Index(
                fields=("lease_expires_at",),
                condition=models.Q(status="running"),
                name="runs_open_leases",
            ),
            models.Index(
                fields=("wo", "-finished_at"),
                include=("cost", "tokens", "status"),
                condition=models.Q(status__in=["success", "error"]),
                name="runs_settled",
            ),
            models.Index(fields=("-started_at", "id"), name="runs_newest"),
        )
        constraints = (
            models.CheckConstraint(
                condition=models.Q(reserved_usd__gte=0, reserved_tokens__gte=0)
                & (models.Q(cost=None) | models.Q(cost__gte=0))
                & (models.Q(tokens=None) | models.Q(tokens__gte=0)),
                name="runs_money_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(status="running", finished_at=None, cost=None)
                | (
                    ~models.Q(status="running")
                    & models.Q(finished_at__isnull=False, cost__isnull=False)
                ),
                name="runs_settled_when_ended",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["running", "success", "error", "expired", "cancelled"]
                ),
                name="runs_status",
            ),
            models.CheckConstraint(
                condition=models.Q(lease_seconds__gt=0), name="runs_lease_positive"
            ),
        )

    def __str__(self) -> str:
        return str(self.id)


class Scope(models.TextChoices):
    START = "start", "start: start, extend and finish runs"
    INGEST = "ingest", "ingest: send telemetry"
    READ = "read", "read: read work orders, runs and events"
    KILLSWITCH = "killswitch", "killswitch: stop an identity"
    REQUEST = "request", "request: ask for cap changes, which people decide"
    ADMIN = "admin", "admin: create work orders, finish any run"


class ServiceToken(models.Model):
    """What a service proves itself with: 256 random bits, of which only the SHA-256 is kept.

    The text is shown once, when it is made. A token acts in the name of its owner. Who made it may
    hold it too, so neither the owner nor the maker ever changes (a trigger refuses it): both are
    parties to what it asks for.

    Rotation makes a successor with the same owner and rights, and lets the predecessor expire after
    an overlap. All tokens of such a line share one `lineage`: runs, idempotency keys and kill
    switches belong to the line, not to one of its tokens.
    """

    name = models.TextField()
    prefix = models.TextField(editable=False, help_text="The visible beginning of the token.")
    digest = models.BinaryField(unique=True, editable=False)
    scopes = ArrayField(models.TextField(choices=Scope))
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="service_tokens"
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Who made it. Empty: it was made on the command line.",
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="UTC. Empty: never.")
    networks = ArrayField(
        NetworkField(),
        default=list,
        blank=True,
        db_default=models.Value([], ArrayField(NetworkField())),
        help_text="Networks that it may be used from, in CIDR notation. Empty: from anywhere.",
    )
    work_orders = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        db_default=models.Value([], ArrayField(models.TextField())),
        help_text="Ids of the work orders it may be used for. Empty: all.",
    )
    surface = models.TextField(
        blank=True, db_default="", help_text="Wins over what a request says. Empty: not pinned."
    )
    feature = models.TextField(
        blank=True, db_default="", help_text="Wins over what a request says. Empty: not pinned."
    )
    max_run_usd = models.DecimalField(
        "ceiling, $ a run",
        max_digits=12,
        decimal_places=2,
        default="100.00",
        db_default="100.00",
        editable=False,
        help_text="What a run or a call may cost by its word. More is taken from a token of scope "
        "admin only. It rises by an approved request.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    predecessor = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        editable=False,
        related_name="successor",
        help_text="The token that this one was rotated from. Empty: the first of its line.",
    )
    # Set by a trigger, so that nobody names a line that is not theirs.
    lineage = models.BigIntegerField(
        db_default=0, editable=False, db_index=True, help_text="Id of the first token of the line."
    )

    class Meta:
        db_table = "service_tokens"
        permissions = (("revoke_servicetoken", "Can revoke service tokens"),)
        ordering = ("name", "-created_at")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(
                    scopes__contained_by=[
                        "start",
                        "ingest",
                        "read",
                        "killswitch",
                        "request",
                        "admin",
                    ]
                ),
                name="service_tokens_scopes",
            ),
            models.CheckConstraint(
                condition=models.Q(scopes__len__gt=0), name="service_tokens_some_scope"
            ),
            models.CheckConstraint(
                condition=models.Q(max_run_usd__gt=0), name="service_tokens_ceiling_positive"
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class TokenUse(models.Model):
    """When and from where a token was last used, to the minute.

    A table of its own, written at most once a minute for each token, and never waited for: no start
    waits for another start of the same token.
    """

    token = models.OneToOneField(
        ServiceToken, primary_key=True, on_delete=models.CASCADE, related_name="use"
    )
    last_used_at = models.DateTimeField(null=True)
    last_address = models.GenericIPAddressField(null=True)

    class Meta:
        db_table = "token_uses"

    def __str__(self) -> str:
        return f"{self.token_id}: {self.last_used_at}"


class TokenPolicy(models.Model):
    """What holds for new tokens where nothing else is set. One row."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    lifetime_days = models.IntegerField(
        default=90, db_default=90, help_text="How long a new token lives, in days."
    )
    overlap_hours = models.IntegerField(
        default=24,
        db_default=24,
        help_text="How long a rotated token stays valid beside its successor, in hours.",
    )

    class Meta:
        db_table = "token_policy"
        verbose_name = "token policy"
        verbose_name_plural = "token policy"
        constraints = (
            models.CheckConstraint(condition=models.Q(id=1), name="token_policy_one_row"),
            models.CheckConstraint(
                condition=models.Q(lifetime_days__gte=1, lifetime_days__lte=36_500),
                name="token_policy_lifetime",
            ),
            models.CheckConstraint(
                condition=models.Q(overlap_hours__gte=0, overlap_hours__lte=720),
                name="token_policy_overlap",
            ),
        )

    def __str__(self) -> str:
        return f"{self.lifetime_days} days, {self.overlap_hours} hours of overlap"
