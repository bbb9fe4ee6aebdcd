"""The tables of this app as they were first released: never edited."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import django.db.models.lookups
from django.conf import settings
from django.db import migrations, models

from opslog.migrations._tables import OPERATIONS as TABLES


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "heartbeats",
            },
        ),
        # Partitioned: made in SQL, see `_tables.py`.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="InferenceEvent",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("event_id", models.TextField()),
                        ("created_at", models.DateTimeField(help_text="When the call was made.")),
                        (
                            "received_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                        ("sender_id", models.BigIntegerField(db_default=0)),
                        (
                            "source",
                            models.TextField(
                                choices=[
                                    ("api", "ingest endpoint"),
                                    ("otlp", "OpenTelemetry"),
                                    ("litellm", "LiteLLM callback"),
                                    ("run", "a settled run"),
                                    ("spend", "direct spend"),
                                    ("import", "imported file"),
                                ],
                                db_default="api",
                            ),
                        ),
                        ("user_id", models.TextField(db_default="")),
                        ("feature", models.TextField(db_default="")),
                        ("model", models.TextField(db_default="")),
                        (
                            "sent_model",
                            models.TextField(
                                db_default="", help_text="As it was sent, where that differs."
                            ),
                        ),
                        ("trigger_type", models.TextField(db_default="user_request")),
                        ("input_tokens", models.BigIntegerField(db_default=0)),
                        ("cached_input_tokens", models.BigIntegerField(db_default=0)),
                        ("cache_write_tokens", models.BigIntegerField(db_default=0)),
                        ("output_tokens", models.BigIntegerField(db_default=0)),
                        ("reasoning_tokens", models.BigIntegerField(db_default=0)),
                        (
                            "cost_usd",
                            models.DecimalField(decimal_places=9, max_digits=20, null=True),
                        ),
                        ("success", models.BooleanField(db_default=True)),
                        ("run_id", models.UUIDField(null=True)),
                        ("wo_id", models.TextField(db_default="")),
                        ("agent_name", models.TextField(db_default="")),
                        ("session_id", models.TextField(db_default="")),
                        ("surface", models.TextField(db_default="")),
                        ("user_agent", models.TextField(db_default="")),
                    ],
                    options={
                        "verbose_name": "inference event",
                        "db_table": "inference_events",
                        "ordering": ("-created_at", "-id"),
                    },
                ),
            ]
        ),
        # Partitioned: made in SQL, see `_tables.py`.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="OperationsEvent",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("kind", models.TextField()),
                        ("message", models.TextField(db_default="")),
                        ("owner_type", models.TextField(db_default="")),
                        ("owner_id", models.TextField(db_default="")),
                        ("owner_label", models.TextField(db_default="")),
                        ("actor", models.TextField(db_default="")),
                        ("meta", models.JSONField(db_default=models.Value({}, models.JSONField()))),
                        ("request_id", models.TextField(db_default="")),
                        ("db_user", models.TextField(db_default="", editable=False)),
                        (
                            "xact",
                            models.BigIntegerField(
                                db_default=0,
                                editable=False,
                                help_text="The transaction that wrote it: events of one act.",
                            ),
                        ),
                        (
                            "created_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "event",
                        "db_table": "operations_events",
                        "ordering": ("-created_at", "-id"),
                        "get_latest_by": "id",
                    },
                ),
            ]
        ),
        migrations.CreateModel(
            name="Seal",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "previous",
                    models.BinaryField(
                        help_text="The hash of the seal before; zeros in the first."
                    ),
                ),
                ("hash", models.BinaryField(unique=True)),
                ("root", models.BinaryField(verbose_name="Merkle root")),
                ("event_count", models.IntegerField(verbose_name="events")),
                ("first_id", models.BigIntegerField(null=True)),
                ("last_id", models.BigIntegerField(null=True)),
                ("events_from", models.DateTimeField(null=True)),
                ("events_to", models.DateTimeField(null=True)),
                ("sealed_at", models.DateTimeField()),
                ("snapshot", models.TextField()),
                ("after_id", models.BigIntegerField(default=0)),
                ("encoding", models.SmallIntegerField()),
                ("signature", models.BinaryField()),
            ],
            options={
                "verbose_name": "seal",
                "db_table": "seals",
                "ordering": ("-number",),
            },
        ),
        # Partitioned: made in SQL, see `_tables.py`.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="ToolCall",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("event_id", models.TextField()),
                        ("created_at", models.DateTimeField(help_text="When the call was made.")),
                        (
                            "received_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                        ("sender_id", models.BigIntegerField(db_default=0)),
                        ("tool_name", models.TextField()),
                        ("success", models.BooleanField(db_default=True)),
                        (
                            "retries",
                            models.IntegerField(
                                db_default=0, help_text="Attempts before this one."
                            ),
                        ),
                        ("duration_ms", models.BigIntegerField(null=True)),
                        ("inference_event_id", models.TextField(db_default="")),
                        ("run_id", models.UUIDField(null=True)),
                        ("wo_id", models.TextField(db_default="")),
                        ("user_id", models.TextField(db_default="")),
                        ("feature", models.TextField(db_default="")),
                        ("agent_name", models.TextField(db_default="")),
                        ("session_id", models.TextField(db_default="")),
                    ],
                    options={
                        "verbose_name": "tool call",
                        "db_table": "tool_calls",
                        "ordering": ("-created_at", "-id"),
                    },
                ),
            ]
        ),
        migrations.CreateModel(
            name="ChangeMarker",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("deploy", "deploy"),
                            ("prompt_template", "prompt template"),
                            ("model_version", "model version"),
                            ("ux_change", "UX change"),
                            ("campaign", "campaign"),
                            ("other", "other"),
                        ]
                    ),
                ),
                ("happened_at", models.DateTimeField(help_text="When it took effect.")),
                ("what", models.TextField()),
                (
                    "feature",
                    models.TextField(blank=True, db_default="", help_text="Empty: all features."),
                ),
                (
                    "key",
                    models.TextField(
                        editable=False,
                        help_text="Told by a program that may tell again.",
                        null=True,
                        unique=True,
                    ),
                ),
                ("recorded_by", models.TextField(editable=False)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "verbose_name": "change",
                "db_table": "change_markers",
                "ordering": ("-happened_at", "-id"),
                "indexes": [models.Index(models.F("happened_at"), name="change_markers_happened")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "kind__in",
                                (
                                    "deploy",
                                    "prompt_template",
                                    "model_version",
                                    "ux_change",
                                    "campaign",
                                    "other",
                                ),
                            )
                        ),
                        name="change_markers_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("what", ""), _negated=True), name="change_markers_what"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("recorded_by", ""), _negated=True),
                        name="change_markers_recorded_by",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("key", ""), _negated=True), name="change_markers_key"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Incident",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("detected", "detected"),
                            ("triaged", "triaged"),
                            ("mitigating", "mitigating"),
                            ("stabilised", "stabilised"),
                            ("reviewed", "reviewed"),
                        ],
                        default="detected",
                    ),
                ),
                (
                    "severity",
                    models.TextField(
                        choices=[("minor", "minor"), ("major", "major"), ("critical", "critical")]
                    ),
                ),
                (
                    "severity_by_hand",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="A person set it: the triage leaves it alone.",
                    ),
                ),
                ("started_at", models.DateTimeField(help_text="When the spike began.")),
                (
                    "detected_at",
                    models.DateTimeField(help_text="When the triage first confirmed it."),
                ),
                (
                    "judged_until",
                    models.DateTimeField(help_text="Cost was last looked at up to this hour."),
                ),
                (
                    "cause",
                    models.TextField(
                        choices=[
                            ("none", "not known yet"),
                            ("traffic_growth", "more traffic"),
                            ("feature_dominance", "one feature takes over"),
                            ("hidden_recompute", "hidden recompute"),
                            ("context_bloat", "context grows"),
                            ("output_growth", "longer answers"),
                            ("price_or_model_switch", "dearer model or price"),
                            ("tool_failure_storm", "tool fails and is retried"),
                        ],
                        default="none",
                    ),
                ),
                ("cause_by_hand", models.BooleanField(db_default=False, default=False)),
                (
                    "confidence",
                    models.DecimalField(decimal_places=4, help_text="0 to 1.", max_digits=5),
                ),
                ("feature", models.TextField(db_default="", default="")),
                ("tool", models.TextField(db_default="", default="")),
                (
                    "traffic",
                    models.TextField(
                        db_default="", default="", help_text="bot, abuse or campaign."
                    ),
                ),
                ("baseline_usd_per_hour", models.DecimalField(decimal_places=9, max_digits=20)),
                ("cost_usd_per_hour", models.DecimalField(decimal_places=9, max_digits=20)),
                ("excess_usd_total", models.DecimalField(decimal_places=9, max_digits=20)),
                ("sentences", models.JSONField(default=list)),
                ("contributions", models.JSONField(default=list)),
                ("ranked_causes", models.JSONField(default=list)),
                ("evidence", models.JSONField(default=list)),
                ("changes", models.JSONField(default=list)),
                (
                    "mitigated_at",
                    models.DateTimeField(help_text="The last time one was applied.", null=True),
                ),
                ("escalation", models.SmallIntegerField(db_default=0, default=0)),
                ("escalated_at", models.DateTimeField(null=True)),
                ("checks_told", models.JSONField(default=dict, help_text="What the job last saw.")),
                ("stabilised_at", models.DateTimeField(null=True)),
                ("root_cause", models.TextField(db_default="", default="")),
                ("mitigation", models.TextField(db_default="", default="")),
                ("alert_created", models.BooleanField(null=True)),
                ("follow_up_on", models.DateField(null=True)),
                ("reviewed_at", models.DateTimeField(null=True)),
                ("reviewed_by", models.TextField(db_default="", default="")),
                ("reminded_at", models.DateTimeField(help_text="Of the follow-up.", null=True)),
                (
                    "owner",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="incidents",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "incidents",
                "ordering": ("-id",),
                "permissions": (
                    ("handle_incident", "Can own, judge, escalate and stabilise incidents"),
                    ("review_incident", "Can review incidents"),
                    ("run_triage", "Can have the triage run now"),
                ),
            },
        ),
        migrations.CreateModel(
            name="IncidentEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("detected", "detected"),
                            ("verdict", "triage"),
                            ("owner", "owner"),
                            ("severity", "severity"),
                            ("cause", "cause"),
                            ("note", "note"),
                            ("mitigation", "mitigation"),
                            ("escalation", "escalation"),
                            ("stabilised", "stabilised"),
                            ("relapse", "relapse"),
                            ("review", "review"),
                            ("follow_up", "follow-up"),
                        ]
                    ),
                ),
                ("text", models.TextField()),
                ("actor", models.TextField()),
                ("at", models.DateTimeField()),
                ("data", models.JSONField(default=dict)),
                (
                    "recorded_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="entries",
                        to="opslog.incident",
                    ),
                ),
            ],
            options={
                "verbose_name": "entry of an incident",
                "verbose_name_plural": "entries of incidents",
                "db_table": "incident_entries",
                "ordering": ("at", "id"),
            },
        ),
        migrations.CreateModel(
            name="InferenceHour",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("hour", models.DateTimeField()),
                ("feature", models.TextField()),
                ("model", models.TextField()),
                ("trigger_type", models.TextField()),
                ("requests", models.BigIntegerField()),
                ("failed", models.BigIntegerField()),
                ("unpriced", models.BigIntegerField()),
                (
                    "users",
                    models.BigIntegerField(help_text="Different user ids, those that were told."),
                ),
                ("input_tokens", models.BigIntegerField()),
                ("cached_input_tokens", models.BigIntegerField()),
                ("output_tokens", models.BigIntegerField()),
                ("reasoning_tokens", models.BigIntegerField()),
                ("cost_usd", models.DecimalField(decimal_places=9, max_digits=20)),
                ("input_squares", models.FloatField()),
                ("output_squares", models.FloatField()),
                ("cost_squares", models.FloatField()),
                (
                    "input_buckets",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
                (
                    "output_buckets",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
            ],
            options={
                "db_table": "inference_hours",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("hour", "feature", "model", "trigger_type"),
                        name="inference_hours_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Mitigation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "lever",
                    models.TextField(
                        choices=[
                            ("undo_rate", "rate limit on undo"),
                            ("auto_save", "auto-save interval"),
                            ("context_messages", "context limit"),
                            ("tool_retries", "tool retries"),
                            ("tool_breaker", "breaker of a tool"),
                            ("substitute_model", "another model"),
                            ("throttle", "throttle"),
                            ("cost_cap", "cost cap of a feature"),
                            ("feature_off", "switch the feature off"),
                            ("kill_switch", "kill switch"),
                            ("lower_cap", "lower the cap of a work order"),
                        ]
                    ),
                ),
                ("rank", models.SmallIntegerField(help_text="The order of effect.")),
                ("label", models.TextField()),
                ("why", models.TextField(db_default="", default="")),
                ("saving_usd_per_hour", models.DecimalField(decimal_places=9, max_digits=20)),
                ("feature", models.TextField(db_default="", default="")),
                ("target", models.TextField(db_default="", default="")),
                ("values", models.JSONField(default=dict, help_text="What the control is set to.")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("proposed", "proposed"),
                            ("applied", "applied"),
                            ("dismissed", "dismissed"),
                            ("withdrawn", "withdrawn"),
                        ],
                        default="proposed",
                    ),
                ),
                ("applied_at", models.DateTimeField(null=True)),
                ("applied_by", models.TextField(db_default="", default="")),
                ("applied_values", models.JSONField(default=dict)),
                ("reason", models.TextField(db_default="", default="")),
                ("automatic", models.BooleanField(db_default=False, default=False)),
                ("until", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="mitigations",
                        to="opslog.incident",
                    ),
                ),
            ],
            options={
                "db_table": "incident_mitigations",
                "ordering": ("rank", "id"),
            },
        ),
        migrations.CreateModel(
            name="ModelPrice",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("model", models.TextField(help_text="The name that programs send.")),
                ("provider", models.TextField(blank=True, db_default="")),
                (
                    "source",
                    models.TextField(
                        choices=[("own", "own price"), ("genai-prices", "genai-prices")],
                        default="own",
                    ),
                ),
                ("effective_from", models.DateTimeField()),
                (
                    "input_per_mtok",
                    models.DecimalField(
                        decimal_places=9, max_digits=18, verbose_name="input, $/M tokens"
                    ),
                ),
                (
                    "output_per_mtok",
                    models.DecimalField(
                        decimal_places=9, max_digits=18, verbose_name="output, $/M tokens"
                    ),
                ),
                (
                    "cached_input_per_mtok",
                    models.DecimalField(
                        blank=True,
                        decimal_places=9,
                        max_digits=18,
                        null=True,
                        verbose_name="cached input, $/M tokens",
                    ),
                ),
                (
                    "cache_write_per_mtok",
                    models.DecimalField(
                        blank=True,
                        decimal_places=9,
                        help_text="Empty: as input.",
                        max_digits=18,
                        null=True,
                        verbose_name="cache write, $/M tokens",
                    ),
                ),
                (
                    "reasoning_per_mtok",
                    models.DecimalField(
                        blank=True,
                        decimal_places=9,
                        help_text="Empty: as output.",
                        max_digits=18,
                        null=True,
                        verbose_name="reasoning output, $/M tokens",
                    ),
                ),
                (
                    "tiers",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text='Prices from a number of input tokens on: [{"above_input_tokens": 200000, "input_per_mtok": "6", "output_per_mtok": "22.5"}]',
                    ),
                ),
                (
                    "match",
                    models.JSONField(
                        blank=True,
                        help_text='Which other names mean this model: {"starts_with": "gpt-4o"}, {"or": [...]}, {"equals": ...}. Empty: the exact name only.',
                        null=True,
                    ),
                ),
                (
                    "provider_match",
                    models.JSONField(
                        blank=True,
                        help_text="Imported prices only: which bare names belong to this provider.",
                        null=True,
                    ),
                ),
                (
                    "tier",
                    models.TextField(
                        choices=[("small", "small"), ("middle", "middle"), ("largest", "largest")],
                        default="middle",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "verbose_name": "model price",
                "db_table": "model_prices",
                "ordering": ("model", "-effective_from"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("provider", "model", "source", "effective_from"),
                        name="model_prices_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("input_per_mtok__gte", 0),
                            ("output_per_mtok__gte", 0),
                            models.Q(
                                ("cached_input_per_mtok", None),
                                ("cached_input_per_mtok__gte", 0),
                                _connector="OR",
                            ),
                            models.Q(
                                ("cache_write_per_mtok", None),
                                ("cache_write_per_mtok__gte", 0),
                                _connector="OR",
                            ),
                            models.Q(
                                ("reasoning_per_mtok", None),
                                ("reasoning_per_mtok__gte", 0),
                                _connector="OR",
                            ),
                        ),
                        name="model_prices_not_negative",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="OutboxMessage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "recipient_type",
                    models.TextField(
                        choices=[
                            ("person", "person"),
                            ("channel", "channel"),
                            ("address", "address"),
                        ],
                        verbose_name="kind of recipient",
                    ),
                ),
                (
                    "recipient",
                    models.TextField(
                        help_text="The id of a user, a fingerprint of a channel's address, or an email address."
                    ),
                ),
                (
                    "recipient_label",
                    models.TextField(
                        help_text="A username, or the service of a channel: never a credential.",
                        verbose_name="recipient",
                    ),
                ),
                ("topic", models.TextField()),
                ("key", models.TextField()),
                ("subject", models.TextField()),
                ("text", models.TextField()),
                ("link", models.TextField(help_text="A path of this service.")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("waiting", "waiting"),
                            ("sent", "sent"),
                            ("skipped", "skipped"),
                            ("failed", "failed"),
                        ],
                        default="waiting",
                    ),
                ),
                ("attempts", models.SmallIntegerField(default=0)),
                (
                    "due_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="Not before.",
                    ),
                ),
                ("claimed_until", models.DateTimeField(editable=False, null=True)),
                ("sent_at", models.DateTimeField(null=True)),
                ("error", models.TextField(db_default="", verbose_name="last error")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "verbose_name": "message",
                "db_table": "outbox_messages",
                "ordering": ("-id",),
                "permissions": (("retry_outboxmessage", "Can have a message sent again"),),
                "indexes": [
                    models.Index(
                        models.F("due_at"),
                        models.F("id"),
                        condition=models.Q(("state", "waiting")),
                        name="outbox_messages_due",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("recipient_type", "recipient", "topic", "key"),
                        name="outbox_messages_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("sent_at__isnull", False), ("state", "sent")),
                            models.Q(models.Q(("state", "sent"), _negated=True), ("sent_at", None)),
                            _connector="OR",
                        ),
                        name="outbox_messages_sent_at",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state", "waiting"), ("claimed_until", None), _connector="OR"
                        ),
                        name="outbox_messages_claimed_while_waiting",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ("waiting", "sent", "skipped", "failed")),
                            ("recipient_type__in", ("person", "channel", "address")),
                            ("attempts__range", (0, 10)),
                        ),
                        name="outbox_messages_known_states",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("link__startswith", "/"),
                            models.Q(("link__startswith", "//"), _negated=True),
                        ),
                        name="outbox_messages_link_is_a_path",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PriceBookVersion",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("version", models.BigIntegerField(default=1)),
            ],
            options={
                "db_table": "price_book_version",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="price_book_version_one_row"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SavedView",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("person", models.TextField(help_text="The id of a user.")),
                ("person_label", models.TextField(db_default="", verbose_name="kept by")),
                ("name", models.TextField()),
                (
                    "query",
                    models.TextField(db_default="", help_text="The filters, as in the address."),
                ),
                ("shared", models.BooleanField(db_default=False, help_text="Shown to everybody.")),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "verbose_name": "saved view",
                "db_table": "saved_views",
                "ordering": ("name", "id"),
                "constraints": [
                    models.UniqueConstraint(fields=("person", "name"), name="saved_views_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("name__regex", "^\\S(.{0,78}\\S)?$"),
                            models.Q(("person", ""), _negated=True),
                        ),
                        name="saved_views_named",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("query__regex", "^[A-Za-z0-9_.~*=&%+-]*$"),
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length("query"), 4000
                            ),
                        ),
                        name="saved_views_query_is_encoded",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SealMembers",
            fields=[
                (
                    "seal",
                    models.OneToOneField(
                        db_column="seal",
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="members",
                        serialize=False,
                        to="opslog.seal",
                    ),
                ),
                (
                    "event_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
                ("leaf_hashes", models.BinaryField()),
            ],
            options={
                "verbose_name": "members of a seal",
                "verbose_name_plural": "members of seals",
                "db_table": "seal_members",
            },
        ),
        migrations.CreateModel(
            name="SealKey",
            fields=[
                ("generation", models.IntegerField(primary_key=True, serialize=False)),
                (
                    "key_id",
                    models.TextField(
                        help_text="First 16 digits of the public key's SHA-256.", unique=True
                    ),
                ),
                ("public_key", models.BinaryField()),
                ("introduced_at", models.DateTimeField()),
                ("endorsed_by", models.TextField()),
                ("endorsement", models.BinaryField()),
            ],
            options={
                "verbose_name": "seal key",
                "db_table": "seal_keys",
                "ordering": ("-generation",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("generation__gte", 1)), name="seal_keys_generation"
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="seal",
            name="key",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="seals",
                to="opslog.sealkey",
                to_field="key_id",
            ),
        ),
        migrations.CreateModel(
            name="EventTombstone",
            fields=[
                ("month", models.DateField(primary_key=True, serialize=False)),
                ("partition", models.TextField()),
                ("event_count", models.BigIntegerField(verbose_name="events")),
                ("seal_count", models.BigIntegerField(verbose_name="seals")),
                (
                    "seals_digest",
                    models.BinaryField(help_text="SHA-256 over the hashes of the month's seals."),
                ),
                ("reason", models.TextField()),
                ("by", models.TextField()),
                ("expired_at", models.DateTimeField()),
                ("signature", models.BinaryField()),
                (
                    "key",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tombstones",
                        to="opslog.sealkey",
                        to_field="key_id",
                    ),
                ),
            ],
            options={
                "verbose_name": "expired month",
                "db_table": "event_tombstones",
                "ordering": ("-month",),
            },
        ),
        migrations.CreateModel(
            name="SignInTries",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("tries", models.IntegerField(db_default=1)),
                (
                    "not_before",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="No try counts before this.",
                    ),
                ),
                (
                    "expires_at",
                    models.DateTimeField(help_text="The row means nothing from then on."),
                ),
            ],
            options={
                "verbose_name": "tries to sign in",
                "db_table": "sign_in_tries",
                "indexes": [models.Index(fields=["expires_at"], name="sign_in_tries_expiry")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("tries__gte", 0)), name="sign_in_tries_counted"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="StaleHour",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("hour", models.DateTimeField()),
            ],
            options={
                "db_table": "stale_hours",
                "indexes": [models.Index(models.F("hour"), name="stale_hours_hour")],
            },
        ),
        migrations.CreateModel(
            name="ToolHour",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("hour", models.DateTimeField()),
                ("feature", models.TextField()),
                ("tool_name", models.TextField()),
                ("calls", models.BigIntegerField()),
                ("failures", models.BigIntegerField()),
                ("retries", models.BigIntegerField()),
                ("retry_requests", models.BigIntegerField()),
                ("retry_cost_usd", models.DecimalField(decimal_places=9, max_digits=20)),
                ("retry_hidden_requests", models.BigIntegerField()),
                ("retry_hidden_cost_usd", models.DecimalField(decimal_places=9, max_digits=20)),
            ],
            options={
                "db_table": "tool_hours",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("hour", "feature", "tool_name"), name="tool_hours_once"
                    )
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ("detected", "triaged", "mitigating"))),
                fields=("feature",),
                name="incidents_one_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "cause__in",
                        (
                            "none",
                            "traffic_growth",
                            "feature_dominance",
                            "hidden_recompute",
                            "context_bloat",
                            "output_growth",
                            "price_or_model_switch",
                            "tool_failure_storm",
                        ),
                    ),
                    ("confidence__range", (0, 1)),
                    ("detected_at__gte", models.F("started_at")),
                    ("escalation__range", (0, 3)),
                    ("severity__in", ("minor", "major", "critical")),
                    ("state__in", ("detected", "triaged", "mitigating", "stabilised", "reviewed")),
                ),
                name="incidents_known_values",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("cost_usd_per_hour__gt", models.F("baseline_usd_per_hour")),
                    ("baseline_usd_per_hour__gte", 0),
                ),
                name="incidents_cost_is_up",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("mitigated_at__isnull", False), ("state", "mitigating")),
                    models.Q(("state", "mitigating"), _negated=True),
                    _connector="OR",
                ),
                name="incidents_mitigated",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("stabilised_at__isnull", False), ("state__in", ("stabilised", "reviewed"))
                    ),
                    models.Q(
                        ("stabilised_at", None),
                        ("state__in", ("detected", "triaged", "mitigating")),
                    ),
                    _connector="OR",
                ),
                name="incidents_stabilised",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("alert_created__isnull", False),
                        ("follow_up_on__isnull", False),
                        ("reviewed_at__isnull", False),
                        ("state", "reviewed"),
                        models.Q(("root_cause", ""), _negated=True),
                        models.Q(("mitigation", ""), _negated=True),
                        models.Q(("reviewed_by", ""), _negated=True),
                    ),
                    models.Q(models.Q(("state", "reviewed"), _negated=True), ("reviewed_at", None)),
                    _connector="OR",
                ),
                name="incidents_reviewed",
            ),
        ),
        migrations.AddConstraint(
            model_name="incidententry",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind__in", ("detected", "review", "follow_up"))),
                fields=("incident", "kind"),
                name="incident_entries_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="incidententry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("text", ""), _negated=True), models.Q(("actor", ""), _negated=True)
                ),
                name="incident_entries_told",
            ),
        ),
        migrations.AddConstraint(
            model_name="mitigation",
            constraint=models.UniqueConstraint(
                fields=("incident", "lever", "feature", "target"), name="incident_mitigations_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="mitigation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "lever__in",
                        (
                            "undo_rate",
                            "auto_save",
                            "context_messages",
                            "tool_retries",
                            "tool_breaker",
                            "substitute_model",
                            "throttle",
                            "cost_cap",
                            "feature_off",
                            "kill_switch",
                            "lower_cap",
                        ),
                    ),
                    ("saving_usd_per_hour__gte", 0),
                    ("state__in", ("proposed", "applied", "dismissed", "withdrawn")),
                ),
                name="incident_mitigations_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="mitigation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("applied_at__isnull", False),
                        ("state", "applied"),
                        models.Q(("applied_by", ""), _negated=True),
                    ),
                    models.Q(
                        models.Q(("state", "applied"), _negated=True),
                        ("applied_at", None),
                        ("applied_by", ""),
                        ("ended_at", None),
                    ),
                    _connector="OR",
                ),
                name="incident_mitigations_applied",
            ),
        ),
        migrations.AddConstraint(
            model_name="mitigation",
            constraint=models.CheckConstraint(
                condition=models.Q(("automatic", False), ("until__isnull", False), _connector="OR"),
                name="incident_mitigations_automatic_ends",
            ),
        ),
        migrations.AddConstraint(
            model_name="seal",
            constraint=models.CheckConstraint(
                condition=models.Q(("event_count__gte", 0), ("number__gte", 1)),
                name="seals_positive",
            ),
        ),
        migrations.AddConstraint(
            model_name="seal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("event_count", 0),
                        ("events_from", None),
                        ("events_to", None),
                        ("first_id", None),
                        ("last_id", None),
                    ),
                    models.Q(
                        ("event_count__gt", 0),
                        ("events_from__isnull", False),
                        ("events_to__gte", models.F("events_from")),
                        ("first_id__isnull", False),
                        ("last_id__gte", models.F("first_id")),
                    ),
                    _connector="OR",
                ),
                name="seals_range",
            ),
        ),
        *TABLES,
    ]
