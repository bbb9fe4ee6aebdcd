"""What programs report of their model calls and tool calls, and its sums by the hour.

Telemetry is never a budget's business: it explains what was spent, it does not decide what may be.
Both tables are partitioned by week on `created_at` (see `opslog/sql/telemetry.sql`), so their
primary keys in the database are (id, created_at).
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class TriggerType(models.TextChoices):
    """Why a call was made. Others are taken as they come; these mean something to the triage."""

    USER_REQUEST = "user_request", "user request"
    TOOL_RESULT = "tool_result", "tool result"
    UNDO = "undo", "undo"
    RETRY = "retry", "retry"
    AUTO_SAVE = "auto_save", "auto-save"
    SCHEDULED = "scheduled", "scheduled"


class InferenceEvent(models.Model):
    """One call of a model, as it was reported. The same sender may send the same event again.

    Event ids are the sender's own: `sender_id` is the id of the person who owns the token, 0 where
    Tollgate itself wrote the event (of a run, of direct spend) or imported it.

    Tokens are as in `opslog.pricing.Usage`; `units` holds the audio and image tokens and the
    calls of priced tools, by their names in the API, without those that are zero.

    `cost_usd` is the cost that counts. It is null where no cost is known: unknown is not free.
    `sender_cost_usd` is what the sender says, `computed_cost_usd` what the price book says where
    the sender says something, too.
    """

    class Source(models.TextChoices):
        API = "api", "ingest endpoint"
        OTLP = "otlp", "OpenTelemetry"
        LITELLM = "litellm", "LiteLLM callback"
        RUN = "run", "a settled run"
        SPEND = "spend", "direct spend"
        IMPORT = "import", "imported file"

    id = models.BigAutoField(primary_key=True)
    event_id = models.TextField()
    created_at = models.DateTimeField(help_text="When the call was made.")
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    sender_id = models.BigIntegerField(db_default=0)
    source = models.TextField(choices=Source, db_default="api")
    user_id = models.TextField(db_default="")
    feature = models.TextField(db_default="")
    model = models.TextField(db_default="")
    sent_model = models.TextField(db_default="", help_text="As it was sent, where that differs.")
    trigger_type = models.TextField(db_default="user_request")
    input_tokens = models.BigIntegerField(db_default=0)
    cached_input_tokens = models.BigIntegerField(db_default=0)
    cache_write_tokens = models.BigIntegerField(db_default=0)
    output_tokens = models.BigIntegerField(db_default=0)
    reasoning_tokens = models.BigIntegerField(db_default=0)
    cache_write_1h_tokens = models.BigIntegerField(db_default=0)
    units = models.JSONField(db_default={}, default=dict)
    service_tier = models.TextField(db_default="", help_text="Empty: standard.")
    cost_usd = models.DecimalField(max_digits=20, decimal_places=9, null=True)
    sender_cost_usd = models.DecimalField(max_digits=20, decimal_places=9, null=True)
    computed_cost_usd = models.DecimalField(max_digits=20, decimal_places=9, null=True)
    success = models.BooleanField(db_default=True)
    run_id = models.UUIDField(null=True)
    wo_id = models.TextField(db_default="")
    agent_name = models.TextField(db_default="")
    session_id = models.TextField(db_default="")
    surface = models.TextField(db_default="")
    user_agent = models.TextField(db_default="")

    class Meta:
        db_table = "inference_events"
        verbose_name = "inference event"
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return f"{self.model} {self.created_at:%Y-%m-%d %H:%M:%S}"


class CostPreference(models.Model):
    """One row: which cost of a reported call counts, where both the sender and the price book have
    one. An event that gives `costUsd` itself (the API, an imported file) has decided."""

    class Wins(models.TextChoices):
        COMPUTED = "computed", "The cost computed by the price book, where it has a price"
        SENDER = "sender", "The sender's cost, where it is given"

    id = models.SmallIntegerField(primary_key=True, default=1)
    wins = models.TextField("cost that counts", choices=Wins, db_default=Wins.COMPUTED.value)

    class Meta:
        db_table = "cost_preference"
        verbose_name = verbose_name_plural = "cost preference"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(id=1, wins__in=("computed", "sender")),
                name="cost_preference_one_row",
            ),
        )

    def __str__(self) -> str:
        return self.Wins(self.wins).label


class ToolCall(models.Model):
    """One call of a tool by a model, with the attempts that were made before it gave up or worked.

    `inference_event_id` is the `event_id` of the model call that asked for it, where reported:
    of the same sender, or of a run.
    """

    id = models.BigAutoField(primary_key=True)
    event_id = models.TextField()
    created_at = models.DateTimeField(help_text="When the call was made.")
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    sender_id = models.BigIntegerField(db_default=0)
    tool_name = models.TextField()
    success = models.BooleanField(db_default=True)
    retries = models.IntegerField(db_default=0, help_text="Attempts before this one.")
    duration_ms = models.BigIntegerField(null=True)
    inference_event_id = models.TextField(db_default="")
    run_id = models.UUIDField(null=True)
    wo_id = models.TextField(db_default="")
    user_id = models.TextField(db_default="")
    feature = models.TextField(db_default="")
    agent_name = models.TextField(db_default="")
    session_id = models.TextField(db_default="")

    class Meta:
        db_table = "tool_calls"
        verbose_name = "tool call"
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return f"{self.tool_name} {self.created_at:%Y-%m-%d %H:%M:%S}"


class InferenceHour(models.Model):
    """Sums of one hour × feature × model × trigger, recomputed from the events of that hour.

    The 24 buckets hold how many calls had a number of tokens n with so many binary digits: none,
    one (n = 1), two (2 and 3), three (4 to 7), …; the last one holds 2^22 and more. Sums of squares
    are of tokens² and dollars² over the calls: with them it is known how sure an average is.
    """

    id = models.BigAutoField(primary_key=True)
    hour = models.DateTimeField()
    feature = models.TextField()
    model = models.TextField()
    trigger_type = models.TextField()
    requests = models.BigIntegerField()
    failed = models.BigIntegerField()
    unpriced = models.BigIntegerField(help_text="Calls whose cost is unknown.")
    differing = models.BigIntegerField(
        db_default=0, help_text="Calls whose sender and the price book differ by more than 5 %."
    )
    users = models.BigIntegerField(help_text="Different user ids, those that were told.")
    input_tokens = models.BigIntegerField()
    cached_input_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField(db_default=0)
    cache_write_1h_tokens = models.BigIntegerField(db_default=0)
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    cost_usd = models.DecimalField(max_digits=20, decimal_places=9)
    governed_usd = models.DecimalField(
        max_digits=20,
        decimal_places=9,
        db_default=0,
        help_text="The part of the cost that a run or direct spend has settled already.",
    )
    input_squares = models.FloatField()
    output_squares = models.FloatField()
    cost_squares = models.FloatField()
    input_buckets = ArrayField(models.BigIntegerField())
    output_buckets = ArrayField(models.BigIntegerField())

    class Meta:
        db_table = "inference_hours"
        constraints = (
            models.UniqueConstraint(
                fields=("hour", "feature", "model", "trigger_type"), name="inference_hours_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.feature} {self.model} {self.trigger_type}"


class ToolHour(models.Model):
    """Sums of one hour × feature × tool.

    `calls`, `failures` and `retries` (calls that were not the first attempt) are of the calls made
    in that hour. The others are of the *model calls* of that hour and feature that asked for such
    a further attempt, each counted once for a tool: what trying again cost. The hidden ones among
    them have a trigger that nobody asked for (undo, retry, auto-save).
    """

    id = models.BigAutoField(primary_key=True)
    hour = models.DateTimeField()
    feature = models.TextField()
    tool_name = models.TextField()
    calls = models.BigIntegerField()
    failures = models.BigIntegerField()
    retries = models.BigIntegerField()
    retry_requests = models.BigIntegerField()
    retry_cost_usd = models.DecimalField(max_digits=20, decimal_places=9)
    retry_hidden_requests = models.BigIntegerField()
    retry_hidden_cost_usd = models.DecimalField(max_digits=20, decimal_places=9)

    class Meta:
        db_table = "tool_hours"
        constraints = (
            models.UniqueConstraint(
                fields=("hour", "feature", "tool_name"), name="tool_hours_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.feature} {self.tool_name}"


class StaleHour(models.Model):
    """An hour whose sums must be computed again: one row a batch that was written into it.

    Whoever refreshes deletes the rows that it sees and sums up the hour in the same transaction. A
    batch that commits later leaves its own row behind, so nothing is missed and nobody waits.
    """

    id = models.BigAutoField(primary_key=True)
    hour = models.DateTimeField()

    class Meta:
        db_table = "stale_hours"
        indexes = (models.Index("hour", name="stale_hours_hour"),)

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00}"


class TelemetryTrace(models.Model):
    """How the spans of a trace are nested, as far as they were sent: what a later export shows may
    change which of them are calls. Kept for as long as spans are taken.

    `nodes` is as `opslog.telemetry.structure` packs it. `held`: drafts of calls of unknown cost
    that are inside of a sum that counts, by span; they count if it turns out that it is none.
    """

    id = models.BigAutoField(primary_key=True)
    sender_id = models.BigIntegerField()
    trace_id = models.TextField()
    changed_at = models.DateTimeField(db_default=Now())
    nodes = models.BinaryField(db_default=b"")
    held = models.JSONField(db_default={}, default=dict)

    class Meta:
        db_table = "telemetry_traces"
        constraints = (
            models.UniqueConstraint(fields=("sender_id", "trace_id"), name="telemetry_traces_once"),
        )
        indexes = (models.Index("changed_at", name="telemetry_traces_changed"),)

    def __str__(self) -> str:
        return self.trace_id


class TelemetryResponse(models.Model):
    """Which event holds a provider's response: another span with its id is the same call.

    `detail`: how much that span reported; one that says more replaces it.
    """

    id = models.BigAutoField(primary_key=True)
    sender_id = models.BigIntegerField()
    response_id = models.TextField()
    event_id = models.TextField()
    detail = models.IntegerField()
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "telemetry_responses"
        constraints = (
            models.UniqueConstraint(
                fields=("sender_id", "response_id"), name="telemetry_responses_once"
            ),
        )
        indexes = (
            models.Index("sender_id", "event_id", name="telemetry_responses_event"),
            models.Index("seen_at", name="telemetry_responses_seen"),
        )

    def __str__(self) -> str:
        return self.response_id


class UnreadSpan(models.Model):
    """Spans that look like model calls, or have usage, and are not understood: one row for each
    sender, instrumentation and set of attributes. `lost`: those of which nothing is counted."""

    id = models.BigAutoField(primary_key=True)
    sender_id = models.BigIntegerField()
    digest = models.TextField()
    scope = models.TextField("instrumentation")
    span_name = models.TextField("span")
    names = ArrayField(models.TextField(), verbose_name="attributes that are not read")
    spans = models.BigIntegerField()
    lost = models.BigIntegerField("not counted")
    first_seen = models.DateTimeField(db_default=Now())
    last_seen = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "telemetry_unread"
        verbose_name = "unread span"
        ordering = ("-last_seen", "-id")
        constraints = (
            models.UniqueConstraint(fields=("sender_id", "digest"), name="telemetry_unread_once"),
        )

    def __str__(self) -> str:
        return f"{self.scope or 'unknown instrumentation'}: {self.span_name}"
