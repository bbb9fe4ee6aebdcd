"""The tables of this app as they were first released: never edited."""

import uuid

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import workorders.fields
import workorders.models
from workorders.migrations._tables import OPERATIONS as TABLES


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ServiceToken",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.TextField()),
                (
                    "prefix",
                    models.TextField(
                        editable=False, help_text="The visible beginning of the token."
                    ),
                ),
                ("digest", models.BinaryField(unique=True)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(
                            choices=[
                                ("start", "start: start, extend and finish runs"),
                                ("ingest", "ingest: send telemetry"),
                                ("read", "read: read work orders, runs and events"),
                                ("killswitch", "killswitch: stop an identity"),
                                ("request", "request: ask for cap changes, which people decide"),
                                ("admin", "admin: create work orders, finish any run"),
                            ]
                        ),
                        size=None,
                    ),
                ),
                (
                    "expires_at",
                    models.DateTimeField(blank=True, help_text="UTC. Empty: never.", null=True),
                ),
                (
                    "networks",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=workorders.fields.NetworkField(),
                        blank=True,
                        db_default=models.Value(
                            [],
                            django.contrib.postgres.fields.ArrayField(
                                base_field=workorders.fields.NetworkField(), size=None
                            ),
                        ),
                        default=list,
                        help_text="Networks that it may be used from, in CIDR notation. Empty: from anywhere.",
                        size=None,
                    ),
                ),
                (
                    "work_orders",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        db_default=models.Value(
                            [],
                            django.contrib.postgres.fields.ArrayField(
                                base_field=models.TextField(), size=None
                            ),
                        ),
                        default=list,
                        help_text="Ids of the work orders it may be used for. Empty: all.",
                        size=None,
                    ),
                ),
                (
                    "surface",
                    models.TextField(
                        blank=True,
                        db_default="",
                        help_text="Wins over what a request says. Empty: not pinned.",
                    ),
                ),
                (
                    "feature",
                    models.TextField(
                        blank=True,
                        db_default="",
                        help_text="Wins over what a request says. Empty: not pinned.",
                    ),
                ),
                (
                    "max_run_usd",
                    models.DecimalField(
                        db_default="100.00",
                        decimal_places=2,
                        default="100.00",
                        editable=False,
                        help_text="What a run or a call may cost by its word. More is taken from a token of scope admin only. It rises by an approved request.",
                        max_digits=12,
                        verbose_name="ceiling, $ a run",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("revoked_at", models.DateTimeField(editable=False, null=True)),
                (
                    "lineage",
                    models.BigIntegerField(
                        db_default=0,
                        db_index=True,
                        editable=False,
                        help_text="Id of the first token of the line.",
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        editable=False,
                        help_text="Who made it. Empty: it was made on the command line.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="service_tokens",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "predecessor",
                    models.OneToOneField(
                        editable=False,
                        help_text="The token that this one was rotated from. Empty: the first of its line.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="successor",
                        to="workorders.servicetoken",
                    ),
                ),
            ],
            options={
                "db_table": "service_tokens",
                "ordering": ("name", "-created_at"),
                "permissions": (("revoke_servicetoken", "Can revoke service tokens"),),
            },
        ),
        migrations.CreateModel(
            name="Agent",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                (
                    "label",
                    models.TextField(
                        db_default="",
                        default="",
                        editable=False,
                        help_text="The name as it was first written.",
                    ),
                ),
                ("description", models.TextField(blank=True, db_default="")),
                (
                    "is_active",
                    models.BooleanField(
                        db_default=True, default=True, help_text="Off: treated as unknown."
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
                "db_table": "agents",
                "ordering": ("name",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("name", ""), _negated=True), name="agents_named"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="TokenUse",
            fields=[
                (
                    "token",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="use",
                        serialize=False,
                        to="workorders.servicetoken",
                    ),
                ),
                ("last_used_at", models.DateTimeField(null=True)),
                ("last_address", models.GenericIPAddressField(null=True)),
            ],
            options={
                "db_table": "token_uses",
            },
        ),
        migrations.CreateModel(
            name="TokenPolicy",
            fields=[
                (
                    "id",
                    models.SmallIntegerField(
                        default=1, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "lifetime_days",
                    models.IntegerField(
                        db_default=90, default=90, help_text="How long a new token lives, in days."
                    ),
                ),
                (
                    "overlap_hours",
                    models.IntegerField(
                        db_default=24,
                        default=24,
                        help_text="How long a rotated token stays valid beside its successor, in hours.",
                    ),
                ),
            ],
            options={
                "verbose_name": "token policy",
                "verbose_name_plural": "token policy",
                "db_table": "token_policy",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="token_policy_one_row"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("lifetime_days__gte", 1), ("lifetime_days__lte", 36500)
                        ),
                        name="token_policy_lifetime",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("overlap_hours__gte", 0), ("overlap_hours__lte", 720)),
                        name="token_policy_overlap",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="WorkOrder",
            fields=[
                (
                    "id",
                    models.TextField(
                        primary_key=True,
                        serialize=False,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$",
                                "Letters, digits and . _ : - only, 100 at most.",
                            )
                        ],
                    ),
                ),
                ("title", models.TextField()),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("draft", "draft (working)"),
                            ("suspended", "suspended"),
                            ("archived", "archived"),
                        ],
                        db_default="draft",
                        default="draft",
                    ),
                ),
                (
                    "runs_per_day",
                    models.IntegerField(
                        db_default=100,
                        default=100,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="runs/day",
                    ),
                ),
                (
                    "usd_per_day",
                    models.DecimalField(
                        db_default="2.00",
                        decimal_places=2,
                        default="2.00",
                        max_digits=12,
                        verbose_name="USD/day",
                    ),
                ),
                (
                    "caps",
                    models.GeneratedField(
                        db_persist=True,
                        expression=workorders.models.CapsExpression(
                            models.F("runs_per_day"), models.F("usd_per_day")
                        ),
                        output_field=models.JSONField(),
                    ),
                ),
                (
                    "max_concurrent_runs",
                    models.IntegerField(
                        db_default=2,
                        default=2,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "team",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Whose budget it belongs to, if any.",
                    ),
                ),
                (
                    "cost_dimension",
                    models.TextField(
                        choices=[
                            ("llm_api", "LLM API"),
                            ("compute", "compute"),
                            ("storage", "storage"),
                            ("logging", "logging"),
                            ("network", "network"),
                            ("ci_cd", "CI/CD"),
                        ],
                        db_default="llm_api",
                        default="llm_api",
                        help_text="What kind of bill its runs end up on.",
                    ),
                ),
                (
                    "refuse_unknown_agents",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="Refuse runs of agents that are not registered. Off: admitted, and flagged.",
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
                "db_table": "work_orders",
                "ordering": ("id",),
                "permissions": (("suspend_workorder", "Can suspend and resume work orders"),),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("runs_per_day__gt", 0), ("usd_per_day__gt", 0)),
                        name="work_orders_caps_positive",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("max_concurrent_runs__gt", 0)),
                        name="work_orders_concurrency_positive",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["draft", "suspended", "archived"])),
                        name="work_orders_status",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("id__regex", "^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$")),
                        name="work_orders_id",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "cost_dimension__in",
                                ["llm_api", "compute", "storage", "logging", "network", "ci_cd"],
                            )
                        ),
                        name="work_orders_cost_dimension",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("id__in", ("preflight", "runs", "start")), _negated=True
                        ),
                        name="work_orders_id_not_reserved",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("title__regex", "[\\u0001-\\u001f\\u007f-\\u009f]"), _negated=True
                        ),
                        name="work_orders_title_printable",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("agent_name", models.TextField()),
                ("agent_known", models.BooleanField(db_default=True, default=True)),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("running", "running"),
                            ("success", "success"),
                            ("error", "error"),
                            ("expired", "expired"),
                            ("cancelled", "cancelled"),
                        ],
                        db_default="running",
                        default="running",
                    ),
                ),
                (
                    "reserved_usd",
                    models.DecimalField(
                        decimal_places=9, max_digits=18, verbose_name="reserved, $"
                    ),
                ),
                (
                    "cost",
                    models.DecimalField(
                        decimal_places=9, max_digits=18, null=True, verbose_name="cost, $"
                    ),
                ),
                (
                    "cost_note",
                    models.TextField(
                        db_default="",
                        help_text="How the cost was found where it was not told: `unpriced`, `lease_expired`.",
                    ),
                ),
                ("day", models.DateField()),
                (
                    "started_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("finished_at", models.DateTimeField(null=True)),
                ("lease_expires_at", models.DateTimeField()),
                ("lease_seconds", models.IntegerField()),
                ("reserved_tokens", models.BigIntegerField(db_default=0)),
                (
                    "tokens",
                    models.BigIntegerField(
                        help_text="Used, input and output; empty: not told.", null=True
                    ),
                ),
                ("model", models.TextField(db_default="")),
                ("model_tier", models.TextField(db_default="")),
                ("team", models.TextField(db_default="")),
                ("cost_dimension", models.TextField(db_default="llm_api")),
                ("user_id", models.TextField(db_default="")),
                ("surface", models.TextField(db_default="")),
                ("feature", models.TextField(db_default="")),
                ("source_ip", models.GenericIPAddressField(null=True)),
                ("idempotency_key", models.TextField(db_default="")),
                ("usage", models.JSONField(null=True)),
                (
                    "sent_as",
                    models.JSONField(
                        help_text="Names as the program sent them, where that is another spelling: `agentName`, `userId`, `surface`, `feature`, `model`.",
                        null=True,
                    ),
                ),
                ("finish_fingerprint", models.BinaryField(null=True)),
                (
                    "charged_to",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(),
                        db_default=models.Value(
                            [],
                            django.contrib.postgres.fields.ArrayField(
                                base_field=models.BigIntegerField(), size=None
                            ),
                        ),
                        help_text="The counters this run was charged to, so that exactly those are corrected.",
                        size=None,
                    ),
                ),
                (
                    "token",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="workorders.servicetoken",
                    ),
                ),
                (
                    "wo",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="runs",
                        to="workorders.workorder",
                    ),
                ),
            ],
            options={
                "db_table": "work_order_runs",
                "ordering": ("-started_at",),
            },
        ),
        migrations.AddConstraint(
            model_name="servicetoken",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "scopes__contained_by",
                        ["start", "ingest", "read", "killswitch", "request", "admin"],
                    )
                ),
                name="service_tokens_scopes",
            ),
        ),
        migrations.AddConstraint(
            model_name="servicetoken",
            constraint=models.CheckConstraint(
                condition=models.Q(("scopes__len__gt", 0)), name="service_tokens_some_scope"
            ),
        ),
        migrations.AddConstraint(
            model_name="servicetoken",
            constraint=models.CheckConstraint(
                condition=models.Q(("max_run_usd__gt", 0)), name="service_tokens_ceiling_positive"
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["wo", "-started_at"], name="runs_by_work_order"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("status", "running")),
                fields=["lease_expires_at"],
                name="runs_open_leases",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("status__in", ["success", "error"])),
                fields=["wo", "-finished_at"],
                include=("cost", "tokens", "status"),
                name="runs_settled",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["-started_at", "id"], name="runs_newest"),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("reserved_tokens__gte", 0),
                    ("reserved_usd__gte", 0),
                    models.Q(("cost", None), ("cost__gte", 0), _connector="OR"),
                    models.Q(("tokens", None), ("tokens__gte", 0), _connector="OR"),
                ),
                name="runs_money_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("cost", None), ("finished_at", None), ("status", "running")),
                    models.Q(
                        models.Q(("status", "running"), _negated=True),
                        ("cost__isnull", False),
                        ("finished_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="runs_settled_when_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["running", "success", "error", "expired", "cancelled"])
                ),
                name="runs_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(("lease_seconds__gt", 0)), name="runs_lease_positive"
            ),
        ),
        *TABLES,
    ]
