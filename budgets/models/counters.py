"""What was used of what, and the answers that were given: written by the stored routines only."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class Counter(models.Model):
    """What was used of something in one window, or in one slot of a rolling window.

    `window = open` has no beginning: its `open_runs` is what runs now. There is no reset job: a
    new day is a new row. A rolling window is the sum of its slots, of five seconds (rolling
    minute) or one minute (rolling hour). Every counter can be recomputed from the runs, their
    charges and the reported spend (`manage.py verify_counters`). Written by the stored routines
    in `budgets/sql` only.
    """

    id = models.BigAutoField(primary_key=True)
    key = models.TextField(unique=True, help_text="window:start:scope:subject, for one look-up.")
    scope = models.TextField()
    subject = models.TextField()
    window = models.TextField()
    starts_at = models.DateTimeField(help_text="1970-01-01 for the window `open`.")
    runs = models.BigIntegerField(
        db_default=0, help_text="Runs that were started, and direct calls whose spend was told."
    )
    open_runs = models.BigIntegerField(db_default=0)
    reserved_usd = models.DecimalField(max_digits=20, decimal_places=9, db_default=0)
    settled_usd = models.DecimalField(max_digits=20, decimal_places=9, db_default=0)
    reserved_tokens = models.BigIntegerField(db_default=0)
    settled_tokens = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "counters"
        constraints = (
            models.UniqueConstraint(
                fields=("scope", "subject", "window", "starts_at"), name="counters_once"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    runs__gte=0,
                    open_runs__gte=0,
                    reserved_usd__gte=0,
                    settled_usd__gte=0,
                    reserved_tokens__gte=0,
                    settled_tokens__gte=0,
                ),
                name="counters_not_negative",
            ),
        )
        indexes = (
            # What counts now, of all subjects of a scope; one day of all work orders.
            models.Index(fields=("scope", "window", "starts_at"), name="counters_by_window"),
            # The slots of one rolling window, by an expression that only a start's query has: no
            # session, however early it planned, takes the one above and reads the slots of all.
            models.Index(
                models.Func(
                    "scope",
                    "subject",
                    "window",
                    arg_joiner=" || ':' || ",
                    template="%(expressions)s",
                ),
                "starts_at",
                condition=models.Q(window__in=("rolling_minute", "rolling_hour")),
                name="counters_rolling",
            ),
        )

    def __str__(self) -> str:
        return f"{self.scope} {self.subject} {self.window} {self.starts_at:%Y-%m-%d %H:%M}"


class CostStatistic(models.Model):
    """What the runs of a work order really cost of late: the basis of missing and lifted estimates.

    Median and 95th percentile of the last 100 runs that are evidence of it
    (`tollgate.renew_statistics`), renewed when a run settles. No row: there is none.
    """

    wo = models.OneToOneField(
        "workorders.WorkOrder", primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    settled_runs = models.IntegerField()
    successful_runs = models.IntegerField(db_default=0)
    median_usd = models.DecimalField(max_digits=18, decimal_places=9)
    p95_usd = models.DecimalField(max_digits=18, decimal_places=9)
    p95_tokens = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "cost_statistics"

    def __str__(self) -> str:
        return f"{self.wo_id}: median {self.median_usd}, p95 {self.p95_usd}"


class RunCharge(models.Model):
    """Money that a run was given, or took, after its start: charged to the hour and the minute of
    its own moment, while the run's day (and month) is that of its start.

    `extension`: reserved more; settled in turn once the reservations before it are used up.
    `overrun`: what a finished run cost beyond everything it had reserved.
    """

    class Kind(models.TextChoices):
        EXTENSION = "extension", "extension"
        OVERRUN = "overrun", "overrun"

    run = models.ForeignKey("workorders.Run", on_delete=models.PROTECT, related_name="charges")
    kind = models.TextField(choices=Kind)
    at = models.DateTimeField()
    reserved_usd = models.DecimalField(max_digits=18, decimal_places=9)
    settled_usd = models.DecimalField(max_digits=18, decimal_places=9, null=True)
    charged_to = ArrayField(models.BigIntegerField())

    class Meta:
        db_table = "run_charges"
        ordering = ("id",)
        indexes = (models.Index(fields=("at",), name="run_charges_at"),)

    def __str__(self) -> str:
        return f"{self.kind} of {self.run_id}: {self.reserved_usd}"


class DirectSpend(models.Model):
    """What a program that calls a model by itself says that a call cost. It was spent, so it is
    recorded over any limit, and counts in every shared budget that covers it."""

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField()
    cost_usd = models.DecimalField("cost, $", max_digits=18, decimal_places=9)
    tokens = models.BigIntegerField(db_default=0)
    model = models.TextField(db_default="")
    usage = models.JSONField(null=True)
    sent_as = models.JSONField(
        null=True, help_text="Names as they were sent, where that is another spelling."
    )
    user_id = models.TextField(db_default="")
    surface = models.TextField(db_default="")
    feature = models.TextField(db_default="")
    agent_name = models.TextField(db_default="")
    source_ip = models.GenericIPAddressField(null=True)
    token = models.ForeignKey(
        "workorders.ServiceToken",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )

    class Meta:
        db_table = "direct_spend"
        verbose_name = "direct spend"
        verbose_name_plural = "direct spend"
        ordering = ("-at",)
        indexes = (models.Index(fields=("-at", "id"), name="direct_spend_newest"),)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(cost_usd__gte=0, tokens__gte=0), name="direct_spend_not_negative"
            ),
        )

    def __str__(self) -> str:
        return f"${self.cost_usd} for {self.model or 'a call'}"


class GovernedHour(models.Model):
    """What runs that started in an hour cost, and direct spend, by one of its names. Kept once the
    hour is over for good (`tollgate.keep_hour_v1`); of other hours the rows themselves are read."""

    pk = models.CompositePrimaryKey("kind", "hour", "name")
    kind = models.TextField(help_text="all, work_order, model, agent, token, user or feature.")
    hour = models.DateTimeField()
    name = models.TextField()
    usd = models.DecimalField(max_digits=20, decimal_places=9)
    runs = models.BigIntegerField()

    class Meta:
        db_table = "governed_hours"

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.hour:%Y-%m-%d %H:00}"


class IdempotencyRecord(models.Model):
    """The answer to an admitted ask, replayed for 48 hours to whoever sends the same ask again.

    Commits together with the effect: a crash leaves no key in limbo. A refusal is not stored.
    """

    pk = models.CompositePrimaryKey("token_id", "endpoint", "key")
    token_id = models.BigIntegerField(
        help_text="The lineage of the token: a key belongs to all tokens of its line."
    )
    endpoint = models.TextField()
    key = models.TextField()
    fingerprint = models.BinaryField()
    answer = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "idempotency_records"
        indexes = (models.Index(fields=("created_at",), name="idempotency_age"),)

    def __str__(self) -> str:
        return f"{self.endpoint} {self.key}"


class RefusalTally(models.Model):
    """What was recorded of the refusals of one line of tokens in one second: the guard against a
    flood of events. Written by `tollgate.record_refusal` only."""

    lineage = models.BigIntegerField(primary_key=True)
    second = models.DateTimeField()
    recorded = ArrayField(models.TextField(), help_text="Kinds with an event of their own.")
    grouped = models.BooleanField(help_text="Whether there may be groups of this line.")

    class Meta:
        db_table = "refusal_tallies"

    def __str__(self) -> str:
        return f"{self.lineage} {self.second}"


class RefusalGroup(models.Model):
    """Refusals of one line of tokens and kind that wait to become one event with a count.

    Committed with the refusal, and removed with the event that counts them, so none is lost or
    counted twice.
    """

    pk = models.CompositePrimaryKey("lineage", "name")
    lineage = models.BigIntegerField()
    name = models.TextField(help_text="What was asked, the work order, the denial.")
    kind = models.TextField()
    message = models.TextField()
    wo_id = models.TextField()
    wo_title = models.TextField()
    actor = models.TextField()
    request_id = models.TextField()
    meta = models.JSONField(help_text="Of the first one.")
    times = models.IntegerField()
    agents = models.JSONField(help_text="How often each other agent was refused.")
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        db_table = "refusal_groups"  # (no index but the key: each refusal changes the row)

    def __str__(self) -> str:
        return f"{self.name} x {self.times}"


class RefusedAsk(models.Model):
    """An ask that a cap refused, of a group: for what other caps would have admitted."""

    lineage = models.BigIntegerField()
    name = models.TextField()
    at = models.DateTimeField()
    agent_name = models.TextField()
    ask_key = models.TextField(null=True)
    estimated_usd = models.TextField()
    runs_today = models.TextField()
    usd_today = models.TextField()

    class Meta:
        db_table = "refused_asks"
        indexes = (models.Index(fields=("lineage", "name"), name="refused_asks_by_group"),)

    def __str__(self) -> str:
        return f"{self.agent_name} {self.at}"
