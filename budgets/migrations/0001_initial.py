"""The tables of this app as they were first released: never edited."""

import datetime

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from budgets.migrations._shipped import OPERATIONS as SHIPPED
from budgets.migrations._tables import OPERATIONS as TABLES


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("opslog", "0001_initial"),
        ("workorders", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CostStatistic",
            fields=[
                (
                    "wo",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="workorders.workorder",
                    ),
                ),
                ("settled_runs", models.IntegerField()),
                ("median_usd", models.DecimalField(decimal_places=9, max_digits=18)),
                ("p95_usd", models.DecimalField(decimal_places=9, max_digits=18)),
                ("p95_tokens", models.BigIntegerField(db_default=0)),
            ],
            options={
                "db_table": "cost_statistics",
            },
        ),
        migrations.CreateModel(
            name="LatencySample",
            fields=[
                ("at", models.DateTimeField(primary_key=True, serialize=False)),
                (
                    "buckets",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
            ],
            options={
                "db_table": "latency_samples",
            },
        ),
        migrations.CreateModel(
            name="RefusalGroup",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "lineage",
                        "name",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("lineage", models.BigIntegerField()),
                ("name", models.TextField(help_text="What was asked, the work order, the denial.")),
                ("kind", models.TextField()),
                ("message", models.TextField()),
                ("wo_id", models.TextField()),
                ("wo_title", models.TextField()),
                ("actor", models.TextField()),
                ("request_id", models.TextField()),
                ("meta", models.JSONField(help_text="Of the first one.")),
                ("times", models.IntegerField()),
                ("agents", models.JSONField(help_text="How often each other agent was refused.")),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
            ],
            options={
                "db_table": "refusal_groups",
            },
        ),
        migrations.CreateModel(
            name="RefusalTally",
            fields=[
                ("lineage", models.BigIntegerField(primary_key=True, serialize=False)),
                ("second", models.DateTimeField()),
                (
                    "recorded",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        help_text="Kinds with an event of their own.",
                        size=None,
                    ),
                ),
                (
                    "grouped",
                    models.BooleanField(help_text="Whether there may be groups of this line."),
                ),
            ],
            options={
                "db_table": "refusal_tallies",
            },
        ),
        migrations.CreateModel(
            name="AccountRule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("waiting_hours", models.SmallIntegerField()),
                ("reason", models.TextField()),
                ("by", models.TextField()),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "db_table": "account_rules",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("waiting_hours__range", (0, 720)),
                            models.Q(("reason", ""), _negated=True),
                        ),
                        name="account_rules_sane",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Alert",
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
                            ("budget_threshold", "threshold of a budget"),
                            ("breaker_opened", "circuit breaker opened"),
                            ("breaker_half_open", "circuit breaker half-open"),
                            ("breaker_closed", "circuit breaker closed"),
                            ("feature_switched_off", "feature switched off"),
                            ("kill_switch", "kill switch"),
                            ("preflight", "pre-flight"),
                            ("rule", "alert rule"),
                            ("dimension_tier", "tier of a monthly budget"),
                            ("cost_surprise", "cost far above its reservation"),
                            ("cost_refused", "cost over what its token may report"),
                        ]
                    ),
                ),
                ("key", models.TextField(unique=True)),
                ("message", models.TextField()),
                ("owner_type", models.TextField(db_default="")),
                ("owner_id", models.TextField(db_default="")),
                ("actor", models.TextField(db_default="tollgate")),
                ("meta", models.JSONField(db_default=models.Value({}, models.JSONField()))),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("told_at", models.DateTimeField(editable=False, null=True)),
            ],
            options={
                "db_table": "alerts",
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("told_at", None)), fields=["id"], name="alerts_untold"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AlertRule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "check_name",
                    models.TextField(
                        choices=[
                            ("refusals", "refusals by a limit"),
                            ("error_rate", "runs that failed, % of those that ended"),
                            ("refusals_spread", "refusals across different work orders"),
                        ],
                        unique=True,
                        verbose_name="check",
                    ),
                ),
                (
                    "severity",
                    models.TextField(
                        choices=[("low", "low"), ("medium", "medium"), ("high", "high")]
                    ),
                ),
                ("over", models.DecimalField(decimal_places=2, max_digits=10)),
                ("minutes", models.IntegerField(help_text="How far it looks back.")),
                (
                    "at_least",
                    models.IntegerField(
                        default=1,
                        help_text="Ended runs, or different work orders, below which it says nothing.",
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("firing_since", models.DateTimeField(editable=False, null=True)),
            ],
            options={
                "db_table": "alert_rules",
                "ordering": ("id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("at_least__gte", 1), ("minutes__range", (1, 1440)), ("over__gte", 0)
                        ),
                        name="alert_rules_sane",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ApprovalLimit",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.TextField(
                        choices=[
                            ("break_glass_usd_per_day", "Break-glass: dollars a day"),
                            ("break_glass_runs_per_day", "Break-glass: runs a day"),
                            ("break_glass_max_concurrent_runs", "Break-glass: concurrent runs"),
                            ("all_glass_usd_per_day", "All break-glass: dollars a day"),
                            ("all_glass_runs_per_day", "All break-glass: runs a day"),
                            ("all_glass_max_concurrent_runs", "All break-glass: concurrent runs"),
                            ("token_open_requests", "One token: open cap change requests"),
                            ("token_requests_a_day", "One token: cap change requests a day (UTC)"),
                        ],
                        unique=True,
                    ),
                ),
                ("amount", models.DecimalField(decimal_places=2, max_digits=18)),
            ],
            options={
                "db_table": "approval_limits",
                "ordering": ("id",),
                "default_permissions": ("view", "change"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)), name="approval_limits_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "name__in",
                                (
                                    "break_glass_usd_per_day",
                                    "break_glass_runs_per_day",
                                    "break_glass_max_concurrent_runs",
                                    "all_glass_usd_per_day",
                                    "all_glass_runs_per_day",
                                    "all_glass_max_concurrent_runs",
                                    "token_open_requests",
                                    "token_requests_a_day",
                                ),
                            )
                        ),
                        name="approval_limits_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ApprovalRule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "measure",
                    models.TextField(
                        choices=[
                            ("runs_per_day", "runs/day"),
                            ("usd_per_day", "USD/day"),
                            ("max_concurrent_runs", "concurrent runs"),
                            ("shared_limit", "shared limit"),
                            ("feature_throttle", "throttle of a feature"),
                            ("feature_cost_cap", "cost cap of a feature"),
                            ("max_run_usd", "ceiling of a token, USD/run"),
                        ]
                    ),
                ),
                ("minimum", models.DecimalField(decimal_places=2, max_digits=18)),
                (
                    "maximum",
                    models.DecimalField(blank=True, decimal_places=2, max_digits=18, null=True),
                ),
            ],
            options={
                "db_table": "approval_rules",
                "ordering": ("measure", "minimum"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("measure", "minimum"), name="approval_rules_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("minimum__gt", 0),
                            models.Q(
                                ("maximum", None),
                                ("maximum__gte", models.F("minimum")),
                                _connector="OR",
                            ),
                        ),
                        name="approval_rules_interval",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AutomaticMitigation",
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
                        ],
                        unique=True,
                    ),
                ),
                ("enabled", models.BooleanField(db_default=False, default=False)),
                (
                    "minutes",
                    models.IntegerField(
                        db_default=60, default=60, help_text="Then it ends by itself."
                    ),
                ),
                (
                    "reason",
                    models.TextField(db_default="", default="", help_text="Of the last change."),
                ),
                ("changed_by", models.TextField(db_default="", default="")),
                ("changed_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "automatic_mitigations",
                "ordering": ("id",),
                "constraints": [
                    models.CheckConstraint(
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
                                ),
                            ),
                            ("minutes__range", (5, 1440)),
                        ),
                        name="automatic_mitigations_bounded",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="BillImport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("file_name", models.TextField()),
                ("sha256", models.TextField()),
                ("lines", models.IntegerField()),
                ("bad_lines", models.IntegerField()),
                ("billed_usd", models.DecimalField(decimal_places=9, max_digits=20)),
                (
                    "periods",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        help_text="Bill and month that it replaced.",
                        size=None,
                    ),
                ),
                ("imported_by", models.TextField()),
                (
                    "imported_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "db_table": "bill_imports",
                "ordering": ("-id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("bad_lines__gte", 0), ("lines__gte", 0)),
                        name="bill_imports_sane",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Budget",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "scope",
                    models.TextField(
                        choices=[
                            ("global", "everything"),
                            ("surface", "surface"),
                            ("feature", "feature"),
                            ("model", "model"),
                            ("model_tier", "model tier, in one work order"),
                            ("agent", "agent"),
                            ("user", "user"),
                            ("team", "team"),
                            ("cost_dimension", "cost dimension"),
                            ("address", "source address"),
                            ("work_order", "work order"),
                        ]
                    ),
                ),
                (
                    "subject",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Which one; * for each of them on its own; empty where the scope is everything.",
                    ),
                ),
                (
                    "window",
                    models.TextField(
                        choices=[
                            ("open", "at the same time"),
                            ("rolling_minute", "in any 60 seconds"),
                            ("minute", "a minute"),
                            ("rolling_hour", "in any 60 minutes"),
                            ("hour", "an hour (UTC)"),
                            ("day", "a day (UTC)"),
                            ("month", "a month (UTC)"),
                        ]
                    ),
                ),
                (
                    "measure",
                    models.TextField(
                        choices=[
                            ("usd", "US dollars"),
                            ("tokens", "tokens"),
                            ("requests", "requests"),
                            ("runs", "runs"),
                        ]
                    ),
                ),
                (
                    "amount",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        help_text="Empty: no limit.",
                        max_digits=18,
                        null=True,
                    ),
                ),
                (
                    "warning_amount",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        help_text="An alert is raised when use reaches this.",
                        max_digits=18,
                        null=True,
                    ),
                ),
                (
                    "alert_percents",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(),
                        blank=True,
                        db_default=models.Value(
                            [],
                            django.contrib.postgres.fields.ArrayField(
                                base_field=models.SmallIntegerField(), size=None
                            ),
                        ),
                        default=list,
                        help_text="Alerts are raised when use reaches these shares of the amount, in per cent.",
                        size=None,
                    ),
                ),
            ],
            options={
                "db_table": "budgets",
                "ordering": ("scope", "subject", "window", "measure"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("scope", "subject", "window", "measure"), name="budgets_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("amount", None), ("amount__gt", 0), _connector="OR"),
                            models.Q(
                                ("warning_amount", None), ("warning_amount__gt", 0), _connector="OR"
                            ),
                        ),
                        name="budgets_positive",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("scope", "global"), ("subject", "")),
                            models.Q(
                                models.Q(("scope", "global"), _negated=True),
                                models.Q(("subject", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="budgets_subject",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("measure", "runs"),
                                ("scope__in", ("global", "model_tier")),
                                ("window", "open"),
                            ),
                            models.Q(
                                ("amount", None),
                                ("measure__in", ("usd", "requests")),
                                ("scope", "work_order"),
                                ("subject", "*"),
                                ("warning_amount", None),
                                ("window", "day"),
                            ),
                            models.Q(
                                ("measure__in", ("usd", "tokens", "requests")),
                                (
                                    "scope__in",
                                    (
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
                                ),
                                (
                                    "window__in",
                                    (
                                        "rolling_minute",
                                        "minute",
                                        "rolling_hour",
                                        "hour",
                                        "day",
                                        "month",
                                    ),
                                ),
                            ),
                            _connector="OR",
                        ),
                        name="budgets_enforced",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ChangeRequest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("subject_type", models.TextField(db_default="work_order")),
                ("subject_id", models.TextField()),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("pending", "waiting for approval"),
                            ("applied", "applied"),
                            ("refused", "refused"),
                            ("cancelled", "cancelled"),
                            ("expired", "expired"),
                            ("stale", "stale"),
                            ("set_aside", "set aside"),
                        ],
                        default="pending",
                    ),
                ),
                ("justification", models.TextField()),
                ("expected_cost_impact", models.TextField(blank=True, db_default="")),
                (
                    "grant_from",
                    models.DateTimeField(
                        blank=True,
                        help_text="UTC. With the next: a raise for a time, not for good.",
                        null=True,
                    ),
                ),
                (
                    "grant_until",
                    models.DateTimeField(blank=True, help_text="UTC, not included.", null=True),
                ),
                (
                    "revision",
                    models.IntegerField(
                        default=1, help_text="A vote counts for one revision only."
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("expires_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(editable=False, null=True)),
                ("closing_note", models.TextField(db_default="", editable=False)),
                (
                    "reminders",
                    models.SmallIntegerField(
                        db_default=0,
                        editable=False,
                        help_text="How many of the three reminders were sent.",
                    ),
                ),
                (
                    "last_editor",
                    models.ForeignKey(
                        help_text="Empty: a program asked, and no person has edited it.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "requester",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="change_requests",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "token",
                    models.ForeignKey(
                        help_text="What a program asked with. Empty: a person asked.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="workorders.servicetoken",
                    ),
                ),
                (
                    "token_maker",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "token_owner",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "cap change request",
                "db_table": "change_requests",
                "ordering": ("-id",),
                "permissions": (
                    ("ask_changerequest", "Can request cap changes"),
                    ("decide_changerequest", "Can decide cap change requests"),
                ),
            },
        ),
        migrations.CreateModel(
            name="ChangeLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "measure",
                    models.TextField(
                        choices=[
                            ("runs_per_day", "runs/day"),
                            ("usd_per_day", "USD/day"),
                            ("max_concurrent_runs", "concurrent runs"),
                            ("shared_limit", "shared limit"),
                            ("feature_throttle", "throttle of a feature"),
                            ("feature_cost_cap", "cost cap of a feature"),
                            ("max_run_usd", "ceiling of a token, USD/run"),
                        ]
                    ),
                ),
                ("old", models.DecimalField(decimal_places=2, max_digits=18)),
                ("new", models.DecimalField(decimal_places=2, max_digits=18)),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="budgets.changerequest",
                    ),
                ),
            ],
            options={
                "db_table": "change_lines",
            },
        ),
        migrations.CreateModel(
            name="CapChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("old_runs_per_day", models.IntegerField()),
                ("new_runs_per_day", models.IntegerField()),
                ("old_usd_per_day", models.DecimalField(decimal_places=2, max_digits=12)),
                ("new_usd_per_day", models.DecimalField(decimal_places=2, max_digits=12)),
                (
                    "old_max_concurrent_runs",
                    models.IntegerField(help_text="Empty: not changed.", null=True),
                ),
                (
                    "new_max_concurrent_runs",
                    models.IntegerField(help_text="Empty: not changed.", null=True),
                ),
                ("reason", models.TextField()),
                ("by", models.TextField()),
                (
                    "applied_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "applied_xid",
                    models.DecimalField(
                        db_default=0, decimal_places=0, editable=False, max_digits=20
                    ),
                ),
                (
                    "wo",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="cap_changes",
                        to="workorders.workorder",
                    ),
                ),
                (
                    "request",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="budgets.changerequest",
                    ),
                ),
            ],
            options={
                "db_table": "cap_changes",
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="CircuitBreaker",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "scope",
                    models.TextField(
                        choices=[("global", "everything"), ("work_order", "work order")]
                    ),
                ),
                ("subject", models.TextField(blank=True, db_default="", default="")),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("closed", "closed (runs start)"),
                            ("open", "open (nothing starts)"),
                            ("half_open", "half-open (one run probes)"),
                        ],
                        db_default="closed",
                        default="closed",
                    ),
                ),
                ("open_seconds", models.IntegerField(db_default=300, default=300)),
                ("recent_runs", models.IntegerField(blank=True, null=True)),
                ("error_percent", models.SmallIntegerField(blank=True, null=True)),
                ("reason", models.TextField(blank=True, db_default="", default="")),
                ("changed_at", models.DateTimeField(null=True)),
                ("half_open_at", models.DateTimeField(null=True)),
                ("probe_run_id", models.UUIDField(null=True)),
            ],
            options={
                "verbose_name": "circuit breaker",
                "db_table": "circuit_breakers",
                "ordering": ("scope", "subject"),
                "permissions": (("switch_circuitbreaker", "Can trip and reset circuit breakers"),),
                "indexes": [
                    models.Index(
                        condition=models.Q(("probe_run_id__isnull", False)),
                        fields=["probe_run_id"],
                        name="circuit_breakers_probe",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("scope", "subject"), name="circuit_breakers_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("half_open_at", None), ("probe_run_id", None), ("state", "closed")
                            ),
                            models.Q(
                                ("half_open_at__isnull", False),
                                ("probe_run_id", None),
                                ("state", "open"),
                            ),
                            models.Q(("probe_run_id__isnull", False), ("state", "half_open")),
                            _connector="OR",
                        ),
                        name="circuit_breakers_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("open_seconds__gt", 0),
                            models.Q(
                                ("recent_runs", None),
                                ("recent_runs__range", (2, 100)),
                                _connector="OR",
                            ),
                            models.Q(
                                ("error_percent", None),
                                ("error_percent__range", (1, 100)),
                                _connector="OR",
                            ),
                        ),
                        name="circuit_breakers_sane",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Contact",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "topic",
                    models.TextField(
                        choices=[
                            ("caps", "caps and refusals"),
                            ("large_caps", "large cap changes"),
                            ("breach", "a budget that is used up"),
                            ("abuse", "suspicious activity"),
                            ("provider", "the provider of models"),
                            ("platform", "Tollgate itself"),
                        ]
                    ),
                ),
                (
                    "position",
                    models.SmallIntegerField(default=1, help_text="Who is called first has 1."),
                ),
                ("name", models.TextField(help_text="A role, a team, a company.")),
                (
                    "reach",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="A number, an address, a channel.",
                    ),
                ),
                (
                    "hours",
                    models.TextField(
                        blank=True, db_default="", default="", help_text="When, in UTC."
                    ),
                ),
                ("active", models.BooleanField(db_default=True, default=True)),
                (
                    "group",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="auth.group",
                    ),
                ),
            ],
            options={
                "db_table": "contacts",
                "ordering": ("topic", "position", "id"),
            },
        ),
        migrations.CreateModel(
            name="CostCorrection",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "of",
                    models.TextField(choices=[("run", "run"), ("direct_spend", "direct spend")]),
                ),
                ("subject_id", models.UUIDField()),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("pending", "waiting for a second person"),
                            ("applied", "applied"),
                            ("refused", "refused"),
                            ("stale", "stale"),
                        ]
                    ),
                ),
                (
                    "old_usd",
                    models.DecimalField(
                        decimal_places=9, max_digits=18, verbose_name="cost before, $"
                    ),
                ),
                (
                    "new_usd",
                    models.DecimalField(
                        decimal_places=9, max_digits=18, verbose_name="true cost, $"
                    ),
                ),
                ("reason", models.TextField()),
                (
                    "asked_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("decided_at", models.DateTimeField(null=True)),
                ("note", models.TextField(db_default="")),
                (
                    "asked_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "cost correction",
                "db_table": "cost_corrections",
                "ordering": ("-id",),
                "permissions": (("correct_cost", "Can correct what a run or a call cost"),),
            },
        ),
        migrations.CreateModel(
            name="CostRule",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("alert_times", models.IntegerField(db_default=20, default=20)),
                (
                    "alert_over_usd",
                    models.DecimalField(
                        db_default="10.00", decimal_places=2, default="10.00", max_digits=12
                    ),
                ),
                (
                    "second_person_over_usd",
                    models.DecimalField(
                        db_default="50.00",
                        decimal_places=2,
                        default="50.00",
                        help_text="A correction of more than this is confirmed by a second person.",
                        max_digits=12,
                    ),
                ),
            ],
            options={
                "db_table": "cost_rules",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("alert_over_usd__gte", 0),
                            ("alert_times__gte", 1),
                            ("id", 1),
                            ("second_person_over_usd__gte", 0),
                        ),
                        name="cost_rules_sane",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Counter",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "key",
                    models.TextField(
                        help_text="window:start:scope:subject, for one look-up.", unique=True
                    ),
                ),
                ("scope", models.TextField()),
                ("subject", models.TextField()),
                ("window", models.TextField()),
                ("starts_at", models.DateTimeField(help_text="1970-01-01 for the window `open`.")),
                (
                    "runs",
                    models.BigIntegerField(
                        db_default=0,
                        help_text="Runs that were started, and direct calls whose spend was told.",
                    ),
                ),
                ("open_runs", models.BigIntegerField(db_default=0)),
                (
                    "reserved_usd",
                    models.DecimalField(db_default=0, decimal_places=9, max_digits=20),
                ),
                ("settled_usd", models.DecimalField(db_default=0, decimal_places=9, max_digits=20)),
                ("reserved_tokens", models.BigIntegerField(db_default=0)),
                ("settled_tokens", models.BigIntegerField(db_default=0)),
            ],
            options={
                "db_table": "counters",
                "indexes": [
                    models.Index(
                        fields=["scope", "window", "starts_at"], name="counters_by_window"
                    ),
                    models.Index(
                        condition=models.Q(("window__in", ("rolling_minute", "rolling_hour"))),
                        fields=["scope", "subject", "window", "starts_at"],
                        name="counters_slots",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("scope", "subject", "window", "starts_at"), name="counters_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("open_runs__gte", 0),
                            ("reserved_tokens__gte", 0),
                            ("reserved_usd__gte", 0),
                            ("runs__gte", 0),
                            ("settled_tokens__gte", 0),
                            ("settled_usd__gte", 0),
                        ),
                        name="counters_not_negative",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="DailyReport",
            fields=[
                ("day", models.DateField(primary_key=True, serialize=False)),
                (
                    "told_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("work_orders", models.IntegerField()),
                ("blocked", models.IntegerField()),
                ("near", models.IntegerField()),
                ("idle", models.IntegerField()),
                ("runs", models.BigIntegerField()),
                ("usd", models.DecimalField(decimal_places=9, max_digits=20)),
            ],
            options={
                "db_table": "daily_reports",
                "ordering": ("-day",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("blocked__gte", 0),
                            ("idle__gte", 0),
                            ("near__gte", 0),
                            ("runs__gte", 0),
                            ("work_orders__gte", 0),
                        ),
                        name="daily_reports_not_negative",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Deployment",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("environment", models.TextField()),
                (
                    "stamped_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "db_table": "deployment",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="deployment_one_row")
                ],
            },
        ),
        migrations.CreateModel(
            name="DimensionBudget",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "dimension",
                    models.TextField(
                        choices=[
                            ("llm_api", "LLM API"),
                            ("compute", "compute"),
                            ("storage", "storage"),
                            ("logging", "logging"),
                            ("network", "network"),
                            ("ci_cd", "CI/CD"),
                        ],
                        unique=True,
                    ),
                ),
                (
                    "monthly_usd",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        help_text="Empty: none is set.",
                        max_digits=14,
                        null=True,
                        verbose_name="budget, $ a month",
                    ),
                ),
                (
                    "tiers",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(),
                        default=list,
                        help_text="People are told once at each, in per cent of the budget.",
                        size=None,
                    ),
                ),
                (
                    "covers",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="What belongs to it, in a sentence.",
                    ),
                ),
                (
                    "aws_services",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=list,
                        help_text="The cost filter of the Terraform export: services as AWS bills name them.",
                        size=None,
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="auth.group",
                    ),
                ),
            ],
            options={
                "verbose_name": "monthly budget",
                "db_table": "dimension_budgets",
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="DirectSpend",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                (
                    "cost_usd",
                    models.DecimalField(decimal_places=9, max_digits=18, verbose_name="cost, $"),
                ),
                ("tokens", models.BigIntegerField(db_default=0)),
                ("model", models.TextField(db_default="")),
                ("usage", models.JSONField(null=True)),
                (
                    "sent_as",
                    models.JSONField(
                        help_text="Names as they were sent, where that is another spelling.",
                        null=True,
                    ),
                ),
                ("user_id", models.TextField(db_default="")),
                ("surface", models.TextField(db_default="")),
                ("feature", models.TextField(db_default="")),
                ("agent_name", models.TextField(db_default="")),
                ("source_ip", models.GenericIPAddressField(null=True)),
                (
                    "token",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="workorders.servicetoken",
                    ),
                ),
            ],
            options={
                "verbose_name": "direct spend",
                "verbose_name_plural": "direct spend",
                "db_table": "direct_spend",
                "ordering": ("-at",),
            },
        ),
        migrations.CreateModel(
            name="FailedLogins",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("address", models.TextField(blank=True)),
                ("since", models.DateTimeField()),
                ("count", models.IntegerField()),
                ("recorded", models.IntegerField(help_text="How many of them events tell of.")),
                ("locked_out", models.BooleanField(default=False)),
                (
                    "person",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "failed_logins",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="FeatureControl",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("feature", models.TextField(unique=True)),
                ("enabled", models.BooleanField(db_default=True, default=True)),
                (
                    "requests_per_period",
                    models.IntegerField(
                        blank=True,
                        help_text="Empty: no throttle.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(1000000),
                        ],
                    ),
                ),
                (
                    "period",
                    models.TextField(
                        choices=[
                            ("rolling_minute", "in any 60 seconds"),
                            ("rolling_hour", "in any 60 minutes"),
                            ("day", "a day (UTC)"),
                        ],
                        db_default="rolling_hour",
                        default="rolling_hour",
                    ),
                ),
                (
                    "cost_cap_usd",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        help_text="Reaching it switches the feature off. Empty: no cap.",
                        max_digits=12,
                        null=True,
                        verbose_name="cost cap, $ in any 60 minutes",
                    ),
                ),
                (
                    "max_rounds",
                    models.IntegerField(
                        db_default=5,
                        default=5,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(50),
                        ],
                    ),
                ),
                (
                    "max_context_messages",
                    models.IntegerField(
                        db_default=10,
                        default=10,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                    ),
                ),
                (
                    "max_tool_retries",
                    models.IntegerField(
                        db_default=2,
                        default=2,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(20),
                        ],
                    ),
                ),
                (
                    "auto_save_interval_ms",
                    models.IntegerField(
                        db_default=30000,
                        default=30000,
                        validators=[
                            django.core.validators.MinValueValidator(1000),
                            django.core.validators.MaxValueValidator(3600000),
                        ],
                    ),
                ),
                (
                    "undo_rate_limit",
                    models.IntegerField(
                        db_default=3,
                        default=3,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                    ),
                ),
                (
                    "undo_rate_period",
                    models.TextField(
                        choices=[("minute", "a minute"), ("hour", "an hour")],
                        db_default="minute",
                        default="minute",
                    ),
                ),
                (
                    "tool_timeout_ms",
                    models.IntegerField(
                        db_default=30000,
                        default=30000,
                        validators=[
                            django.core.validators.MinValueValidator(100),
                            django.core.validators.MaxValueValidator(600000),
                        ],
                    ),
                ),
                (
                    "round_timeout_ms",
                    models.IntegerField(
                        db_default=60000,
                        default=60000,
                        validators=[
                            django.core.validators.MinValueValidator(100),
                            django.core.validators.MaxValueValidator(3600000),
                        ],
                    ),
                ),
                (
                    "max_tool_result_bytes",
                    models.IntegerField(
                        db_default=8192,
                        default=8192,
                        validators=[
                            django.core.validators.MinValueValidator(256),
                            django.core.validators.MaxValueValidator(1048576),
                        ],
                    ),
                ),
                (
                    "tool_breaker_failures",
                    models.IntegerField(
                        db_default=3,
                        default=3,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100),
                        ],
                    ),
                ),
                (
                    "tool_breaker_seconds",
                    models.IntegerField(
                        db_default=60,
                        default=60,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(3600),
                        ],
                    ),
                ),
                (
                    "substitute_model",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Use this model instead. Empty: as asked.",
                    ),
                ),
                (
                    "mock_provider",
                    models.BooleanField(
                        db_default=False, default=False, help_text="Answer from a mock, at no cost."
                    ),
                ),
                (
                    "clarification",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="Ask back before a vague request is worked on.",
                    ),
                ),
                (
                    "reason",
                    models.TextField(db_default="", default="", help_text="Of the last change."),
                ),
                ("changed_by", models.TextField(db_default="", default="")),
                ("changed_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "feature control",
                "db_table": "feature_flags",
                "ordering": ("feature",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("feature", ""), _negated=True),
                        name="feature_flags_named",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("period__in", ("rolling_minute", "rolling_hour", "day")),
                            models.Q(
                                ("requests_per_period", None),
                                ("requests_per_period__gt", 0),
                                _connector="OR",
                            ),
                            models.Q(
                                ("cost_cap_usd", None), ("cost_cap_usd__gt", 0), _connector="OR"
                            ),
                        ),
                        name="feature_flags_throttle",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("auto_save_interval_ms__range", (1000, 3600000)),
                            ("max_context_messages__range", (1, 1000)),
                            ("max_rounds__range", (1, 50)),
                            ("max_tool_result_bytes__range", (256, 1048576)),
                            ("max_tool_retries__range", (0, 20)),
                            ("round_timeout_ms__range", (100, 3600000)),
                            ("tool_breaker_failures__range", (1, 100)),
                            ("tool_breaker_seconds__range", (1, 3600)),
                            ("tool_timeout_ms__range", (100, 600000)),
                            ("undo_rate_limit__range", (1, 1000)),
                            ("undo_rate_period__in", ("minute", "hour")),
                        ),
                        name="feature_flags_levers",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="FormerName",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.TextField()),
                (
                    "until",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="former_names",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "former_names",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Grant",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "measure",
                    models.TextField(
                        choices=[
                            ("runs_per_day", "runs/day"),
                            ("usd_per_day", "USD/day"),
                            ("max_concurrent_runs", "concurrent runs"),
                            ("shared_limit", "shared limit"),
                            ("feature_throttle", "throttle of a feature"),
                            ("feature_cost_cap", "cost cap of a feature"),
                            ("max_run_usd", "ceiling of a token, USD/run"),
                        ]
                    ),
                ),
                ("value", models.DecimalField(decimal_places=2, max_digits=18)),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                (
                    "kind",
                    models.TextField(
                        choices=[("approved", "approved"), ("break_glass", "break-glass")],
                        default="approved",
                    ),
                ),
                ("granted_by", models.TextField()),
                ("reason", models.TextField()),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("reviewed_at", models.DateTimeField(null=True)),
                ("review", models.TextField(db_default="")),
                (
                    "person",
                    models.ForeignKey(
                        help_text="Who broke the glass. Names may change.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="grants",
                        to="budgets.changerequest",
                    ),
                ),
                (
                    "reviewed_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "wo",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="grants",
                        to="workorders.workorder",
                    ),
                ),
            ],
            options={
                "db_table": "cap_grants",
                "ordering": ("-starts_at",),
                "permissions": (("break_glass", "Can raise a cap at once in an emergency"),),
            },
        ),
        migrations.CreateModel(
            name="Hotspot",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.TextField(unique=True)),
                (
                    "feature",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="As telemetry names it; * for all; empty where no telemetry tells of it.",
                    ),
                ),
                (
                    "dimension",
                    models.TextField(
                        choices=[
                            ("llm_api", "LLM API"),
                            ("compute", "compute"),
                            ("storage", "storage"),
                            ("logging", "logging"),
                            ("network", "network"),
                            ("ci_cd", "CI/CD"),
                        ],
                        verbose_name="cost dimension",
                    ),
                ),
                (
                    "scaling",
                    models.TextField(
                        choices=[
                            ("constant", "constant"),
                            ("linear", "linear"),
                            ("superlinear", "faster than linear"),
                            ("stepped", "in steps"),
                            ("growing", "grows with time"),
                        ]
                    ),
                ),
                (
                    "scaling_note",
                    models.TextField(
                        blank=True, db_default="", default="", help_text="What makes it grow."
                    ),
                ),
                (
                    "levers",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="What can be done, one a line, the cheapest first. Ours are linked too.",
                    ),
                ),
                (
                    "typed_month_low",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        max_digits=14,
                        null=True,
                        verbose_name="typed, $ a month, from",
                    ),
                ),
                (
                    "typed_month_high",
                    models.DecimalField(
                        blank=True, decimal_places=2, max_digits=14, null=True, verbose_name="to"
                    ),
                ),
                (
                    "typed_request_low",
                    models.DecimalField(
                        blank=True,
                        decimal_places=9,
                        max_digits=14,
                        null=True,
                        verbose_name="typed, $ a request, from",
                    ),
                ),
                (
                    "typed_request_high",
                    models.DecimalField(
                        blank=True, decimal_places=9, max_digits=14, null=True, verbose_name="to"
                    ),
                ),
                ("typed_at", models.DateField(editable=False, null=True)),
                (
                    "measured_month_low",
                    models.DecimalField(decimal_places=9, editable=False, max_digits=20, null=True),
                ),
                (
                    "measured_month_high",
                    models.DecimalField(decimal_places=9, editable=False, max_digits=20, null=True),
                ),
                (
                    "measured_request_low",
                    models.DecimalField(decimal_places=9, editable=False, max_digits=20, null=True),
                ),
                (
                    "measured_request_high",
                    models.DecimalField(decimal_places=9, editable=False, max_digits=20, null=True),
                ),
                (
                    "measured_days",
                    models.IntegerField(
                        editable=False, help_text="Complete days that the ranges are of.", null=True
                    ),
                ),
                ("measured_at", models.DateTimeField(editable=False, null=True)),
                (
                    "confirm_days",
                    models.IntegerField(
                        db_default=90,
                        default=90,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(3650),
                        ],
                        verbose_name="stale after so many days",
                    ),
                ),
                ("confirmed_at", models.DateTimeField(editable=False, null=True)),
                ("confirmed_by", models.TextField(db_default="", default="", editable=False)),
                ("confirmation", models.TextField(db_default="", default="", editable=False)),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="auth.group",
                    ),
                ),
            ],
            options={
                "db_table": "hotspots",
                "ordering": ("dimension", "name"),
            },
        ),
        migrations.CreateModel(
            name="IdempotencyRecord",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "token_id",
                        "endpoint",
                        "key",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "token_id",
                    models.BigIntegerField(
                        help_text="The lineage of the token: a key belongs to all tokens of its line."
                    ),
                ),
                ("endpoint", models.TextField()),
                ("key", models.TextField()),
                ("fingerprint", models.BinaryField()),
                ("answer", models.JSONField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "idempotency_records",
                "indexes": [models.Index(fields=["created_at"], name="idempotency_age")],
            },
        ),
        migrations.CreateModel(
            name="KillSwitch",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "scope",
                    models.TextField(
                        choices=[
                            ("Global", "everything"),
                            ("Surface", "one surface"),
                            ("Identity", "one identity"),
                        ]
                    ),
                ),
                (
                    "target",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The surface; or user:…, agent:… or token:… (its prefix); empty for everything.",
                    ),
                ),
                (
                    "enabled",
                    models.BooleanField(default=True, help_text="On: what it names is stopped."),
                ),
                ("reason", models.TextField()),
                ("changed_by", models.TextField()),
                ("changed_at", models.DateTimeField()),
                (
                    "set_by_person",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "set_by_token",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="workorders.servicetoken",
                    ),
                ),
            ],
            options={
                "verbose_name": "kill switch",
                "verbose_name_plural": "kill switches",
                "db_table": "kill_switches",
                "ordering": ("-enabled", "scope", "target"),
                "permissions": (
                    (
                        "stop_everything",
                        "Can switch the kill switches of everything and of surfaces",
                    ),
                    ("stop_identity", "Can switch the kill switches of identities"),
                ),
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "how",
                    models.TextField(
                        choices=[
                            ("confirmed", "confirmed by a second administrator"),
                            ("command", "by command, without a second administrator"),
                            ("free", "the group only reads"),
                            ("before", "before memberships were recorded, or with the demo"),
                        ]
                    ),
                ),
                (
                    "since",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("counts_from", models.DateTimeField()),
                (
                    "group",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="memberships",
                        to="auth.group",
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "memberships",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="MonthlyReview",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("month", models.DateField(help_text="Its first day.", unique=True)),
                (
                    "status",
                    models.TextField(
                        choices=[("open", "open"), ("closed", "closed")], default="open"
                    ),
                ),
                ("figures", models.JSONField()),
                ("figures_at", models.DateTimeField()),
                (
                    "opened_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("closed_at", models.DateTimeField(editable=False, null=True)),
                ("closed_state", models.TextField(db_default="", default="", editable=False)),
            ],
            options={
                "verbose_name": "monthly review",
                "db_table": "monthly_reviews",
                "ordering": ("-month",),
                "permissions": (("sign_monthlyreview", "Can sign monthly reviews"),),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("month__day", 1)), name="monthly_reviews_first"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("closed_at", None), ("closed_state", ""), ("status", "open")),
                            models.Q(
                                ("closed_at__isnull", False),
                                ("status", "closed"),
                                models.Q(("closed_state", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="monthly_reviews_status",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PreflightRule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "check_name",
                    models.TextField(
                        choices=[
                            ("tasks", "number of tasks"),
                            ("test_data", "names that look like test data"),
                            ("estimated_cost", "estimated cost, $"),
                            ("budget_left", "estimate above the budget left, $"),
                            ("limits", "tasks that a limit would refuse"),
                            ("environment", "environments that disagree"),
                        ],
                        unique=True,
                        verbose_name="check",
                    ),
                ),
                (
                    "warning_over",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        help_text="Empty: never.",
                        max_digits=18,
                        null=True,
                    ),
                ),
                (
                    "error_over",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        help_text="Empty: never.",
                        max_digits=18,
                        null=True,
                    ),
                ),
                (
                    "alert",
                    models.BooleanField(
                        default=False, help_text="Tell people when it does not pass."
                    ),
                ),
            ],
            options={
                "verbose_name": "pre-flight check",
                "db_table": "preflight_rules",
                "ordering": ("id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("warning_over", None), ("warning_over__gte", 0), _connector="OR"
                            ),
                            models.Q(("error_over", None), ("error_over__gte", 0), _connector="OR"),
                        ),
                        name="preflight_rules_sane",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RefusedAsk",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("lineage", models.BigIntegerField()),
                ("name", models.TextField()),
                ("at", models.DateTimeField()),
                ("agent_name", models.TextField()),
                ("ask_key", models.TextField(null=True)),
                ("estimated_usd", models.TextField()),
                ("runs_today", models.TextField()),
                ("usd_today", models.TextField()),
            ],
            options={
                "db_table": "refused_asks",
                "indexes": [models.Index(fields=["lineage", "name"], name="refused_asks_by_group")],
            },
        ),
        migrations.CreateModel(
            name="ReviewCheck",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("position", models.SmallIntegerField()),
                ("text", models.TextField()),
                ("done_by", models.TextField(db_default="", default="")),
                ("done_at", models.DateTimeField(null=True)),
                ("note", models.TextField(db_default="", default="")),
                (
                    "review",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="checks",
                        to="budgets.monthlyreview",
                    ),
                ),
            ],
            options={
                "db_table": "review_checks",
                "ordering": ("position",),
            },
        ),
        migrations.CreateModel(
            name="ReviewDecision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("text", models.TextField()),
                ("who", models.TextField(blank=True, db_default="", default="")),
                ("due", models.DateField(blank=True, null=True)),
                ("by", models.TextField()),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "review",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="decisions",
                        to="budgets.monthlyreview",
                    ),
                ),
            ],
            options={
                "db_table": "review_decisions",
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="ReviewSignature",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("state", models.TextField()),
                ("comment", models.TextField()),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "review",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="signatures",
                        to="budgets.monthlyreview",
                    ),
                ),
            ],
            options={
                "db_table": "review_signatures",
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="RunCharge",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.TextField(choices=[("extension", "extension"), ("overrun", "overrun")]),
                ),
                ("at", models.DateTimeField()),
                ("reserved_usd", models.DecimalField(decimal_places=9, max_digits=18)),
                ("settled_usd", models.DecimalField(decimal_places=9, max_digits=18, null=True)),
                (
                    "charged_to",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="charges",
                        to="workorders.run",
                    ),
                ),
            ],
            options={
                "db_table": "run_charges",
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="ServiceMapping",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "service_category",
                    models.TextField(help_text="As FOCUS names it: Compute, Storage, …"),
                ),
                (
                    "service_name",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Empty: every service of the category.",
                    ),
                ),
                (
                    "dimension",
                    models.TextField(
                        choices=[
                            ("llm_api", "LLM API"),
                            ("compute", "compute"),
                            ("storage", "storage"),
                            ("logging", "logging"),
                            ("network", "network"),
                            ("ci_cd", "CI/CD"),
                        ]
                    ),
                ),
            ],
            options={
                "db_table": "service_mappings",
                "ordering": ("service_category", "service_name"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("service_category", "service_name"), name="service_mappings_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("service_category", ""), _negated=True),
                            (
                                "dimension__in",
                                ["llm_api", "compute", "storage", "logging", "network", "ci_cd"],
                            ),
                        ),
                        name="service_mappings_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TimedMitigation",
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
                ("feature", models.TextField()),
                ("before", models.JSONField()),
                ("applied", models.JSONField()),
                ("until", models.DateTimeField()),
                ("applied_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.TextField(db_default="", default="")),
                ("outcome", models.TextField(db_default="", default="")),
                (
                    "mitigation",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="timed",
                        to="opslog.mitigation",
                    ),
                ),
            ],
            options={
                "db_table": "timed_mitigations",
                "ordering": ("-id",),
                "permissions": (("end_timedmitigation", "Can end an automatic mitigation"),),
            },
        ),
        migrations.CreateModel(
            name="Vote",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("revision", models.IntegerField()),
                ("group", models.TextField(db_default="", help_text="The groups it can sign for.")),
                (
                    "decision",
                    models.TextField(choices=[("approve", "approve"), ("refuse", "refuse")]),
                ),
                ("comment", models.TextField()),
                ("evidence", models.JSONField(default=dict)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="votes",
                        to="budgets.changerequest",
                    ),
                ),
                (
                    "voter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="votes",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "change_votes",
            },
        ),
        migrations.CreateModel(
            name="AccountChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "wanted",
                    models.JSONField(
                        help_text="Any of groups (names to join), is_active, is_staff, is_superuser, email, link."
                    ),
                ),
                ("seen_username", models.TextField()),
                ("seen_email", models.TextField(blank=True)),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("pending", "waiting for a second administrator"),
                            ("confirmed", "confirmed"),
                            ("refused", "refused"),
                            ("expired", "expired"),
                            ("stale", "stale"),
                        ],
                        default="pending",
                    ),
                ),
                (
                    "proposed_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("expires_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(editable=False, null=True)),
                ("closing_note", models.TextField(db_default="", editable=False)),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="account_changes",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "proposed_by",
                    models.ForeignKey(
                        help_text="Empty: single sign-on, by the groups it says the person is in.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "account change",
                "db_table": "account_changes",
                "ordering": ("-id",),
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("status", "pending")),
                        fields=("person",),
                        name="account_changes_one_open",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_at", None), ("status", "pending")),
                            models.Q(
                                models.Q(("status", "pending"), _negated=True),
                                ("decided_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="account_changes_decided",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ("pending", "confirmed", "refused", "expired", "stale"))
                        ),
                        name="account_changes_status",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "confirmed"), _negated=True),
                            ("decided_by", None),
                            models.Q(
                                models.Q(("decided_by", models.F("proposed_by")), _negated=True),
                                models.Q(("decided_by", models.F("person")), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="account_changes_four_eyes",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AccountLink",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sent_to", models.TextField(blank=True, help_text="Empty: printed by a command.")),
                ("issued_by", models.TextField()),
                (
                    "issued_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("expires_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(null=True)),
                ("replaced_at", models.DateTimeField(null=True)),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="account_links",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "account_links",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("replaced_at", None), ("used_at", None)),
                        fields=("person",),
                        name="account_links_one_live",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ApprovalSlot",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("count", models.SmallIntegerField(default=1)),
                (
                    "group",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="auth.group",
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="slots",
                        to="budgets.approvalrule",
                    ),
                ),
            ],
            options={
                "db_table": "approval_slots",
                "constraints": [
                    models.UniqueConstraint(fields=("rule", "group"), name="approval_slots_once"),
                    models.CheckConstraint(
                        condition=models.Q(("count__gt", 0)), name="approval_slots_positive"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BilledCost",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("bill", models.TextField(help_text="Provider and billing account.")),
                ("billing_period", models.DateField(help_text="The first day of it.")),
                ("day", models.DateField()),
                ("service_category", models.TextField()),
                ("service_name", models.TextField()),
                ("charge_category", models.TextField(db_default="")),
                ("billed_usd", models.DecimalField(decimal_places=9, max_digits=20)),
                ("lines", models.IntegerField()),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="costs",
                        to="budgets.billimport",
                    ),
                ),
            ],
            options={
                "db_table": "billed_costs",
                "ordering": ("day", "service_category", "service_name"),
                "indexes": [models.Index(fields=["day"], name="billed_costs_day")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=(
                            "bill",
                            "billing_period",
                            "day",
                            "service_category",
                            "service_name",
                            "charge_category",
                        ),
                        name="billed_costs_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("service_category", ""), _negated=True), ("lines__gt", 0)
                        ),
                        name="billed_costs_sane",
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="changerequest",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "pending")),
                fields=("subject_type", "subject_id"),
                name="change_requests_one_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="changerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at", None), ("status", "pending")),
                    models.Q(
                        models.Q(("status", "pending"), _negated=True),
                        ("decided_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="change_requests_decided",
            ),
        ),
        migrations.AddConstraint(
            model_name="changerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(("justification", ""), _negated=True),
                name="change_requests_justified",
            ),
        ),
        migrations.AddConstraint(
            model_name="changerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("grant_from", None), ("grant_until", None)),
                    ("grant_until__gt", models.F("grant_from")),
                    _connector="OR",
                ),
                name="change_requests_grant",
            ),
        ),
        migrations.AddConstraint(
            model_name="changerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("token", None), ("token_maker", None), ("token_owner", None)),
                    models.Q(("token__isnull", False), ("token_owner__isnull", False)),
                    _connector="OR",
                ),
                name="change_requests_token",
            ),
        ),
        migrations.AddConstraint(
            model_name="changeline",
            constraint=models.UniqueConstraint(
                fields=("request", "measure"), name="change_lines_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="changeline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("new__gt", 0), models.Q(("new", models.F("old")), _negated=True)
                ),
                name="change_lines_change",
            ),
        ),
        migrations.AddIndex(
            model_name="capchange",
            index=models.Index(fields=["applied_at"], name="cap_changes_applied"),
        ),
        migrations.AddConstraint(
            model_name="capchange",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason", ""), _negated=True), name="cap_changes_reason"
            ),
        ),
        migrations.AddConstraint(
            model_name="contact",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", ""), _negated=True), name="contacts_named"
            ),
        ),
        migrations.AddConstraint(
            model_name="contact",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("topic__in", ["caps", "large_caps", "breach", "abuse", "provider", "platform"])
                ),
                name="contacts_topic",
            ),
        ),
        migrations.AddConstraint(
            model_name="contact",
            constraint=models.CheckConstraint(
                condition=models.Q(("position__gt", 0)), name="contacts_position"
            ),
        ),
        migrations.AddIndex(
            model_name="costcorrection",
            index=models.Index(fields=["of", "subject_id"], name="cost_corrections_of"),
        ),
        migrations.AddConstraint(
            model_name="costcorrection",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "pending")),
                fields=("of", "subject_id"),
                name="cost_corrections_one_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="costcorrection",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("new_usd__gte", 0),
                    models.Q(("new_usd", models.F("old_usd")), _negated=True),
                    models.Q(("reason", ""), _negated=True),
                ),
                name="cost_corrections_correct",
            ),
        ),
        migrations.AddConstraint(
            model_name="costcorrection",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at", None), ("status", "pending")),
                    models.Q(
                        models.Q(("status", "pending"), _negated=True),
                        ("decided_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="cost_corrections_decided",
            ),
        ),
        migrations.AddConstraint(
            model_name="dimensionbudget",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "dimension__in",
                        ["llm_api", "compute", "storage", "logging", "network", "ci_cd"],
                    )
                ),
                name="dimension_budgets_dimension",
            ),
        ),
        migrations.AddConstraint(
            model_name="dimensionbudget",
            constraint=models.CheckConstraint(
                condition=models.Q(("monthly_usd", None), ("monthly_usd__gt", 0), _connector="OR"),
                name="dimension_budgets_positive",
            ),
        ),
        migrations.AddConstraint(
            model_name="dimensionbudget",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("tiers__len__gt", 0),
                    (
                        "tiers__contained_by",
                        [
                            1,
                            2,
                            3,
                            4,
                            5,
                            6,
                            7,
                            8,
                            9,
                            10,
                            11,
                            12,
                            13,
                            14,
                            15,
                            16,
                            17,
                            18,
                            19,
                            20,
                            21,
                            22,
                            23,
                            24,
                            25,
                            26,
                            27,
                            28,
                            29,
                            30,
                            31,
                            32,
                            33,
                            34,
                            35,
                            36,
                            37,
                            38,
                            39,
                            40,
                            41,
                            42,
                            43,
                            44,
                            45,
                            46,
                            47,
                            48,
                            49,
                            50,
                            51,
                            52,
                            53,
                            54,
                            55,
                            56,
                            57,
                            58,
                            59,
                            60,
                            61,
                            62,
                            63,
                            64,
                            65,
                            66,
                            67,
                            68,
                            69,
                            70,
                            71,
                            72,
                            73,
                            74,
                            75,
                            76,
                            77,
                            78,
                            79,
                            80,
                            81,
                            82,
                            83,
                            84,
                            85,
                            86,
                            87,
                            88,
                            89,
                            90,
                            91,
                            92,
                            93,
                            94,
                            95,
                            96,
                            97,
                            98,
                            99,
                            100,
                            101,
                            102,
                            103,
                            104,
                            105,
                            106,
                            107,
                            108,
                            109,
                            110,
                            111,
                            112,
                            113,
                            114,
                            115,
                            116,
                            117,
                            118,
                            119,
                            120,
                            121,
                            122,
                            123,
                            124,
                            125,
                            126,
                            127,
                            128,
                            129,
                            130,
                            131,
                            132,
                            133,
                            134,
                            135,
                            136,
                            137,
                            138,
                            139,
                            140,
                            141,
                            142,
                            143,
                            144,
                            145,
                            146,
                            147,
                            148,
                            149,
                            150,
                            151,
                            152,
                            153,
                            154,
                            155,
                            156,
                            157,
                            158,
                            159,
                            160,
                            161,
                            162,
                            163,
                            164,
                            165,
                            166,
                            167,
                            168,
                            169,
                            170,
                            171,
                            172,
                            173,
                            174,
                            175,
                            176,
                            177,
                            178,
                            179,
                            180,
                            181,
                            182,
                            183,
                            184,
                            185,
                            186,
                            187,
                            188,
                            189,
                            190,
                            191,
                            192,
                            193,
                            194,
                            195,
                            196,
                            197,
                            198,
                            199,
                            200,
                        ],
                    ),
                ),
                name="dimension_budgets_tiers",
            ),
        ),
        migrations.AddIndex(
            model_name="directspend",
            index=models.Index(fields=["-at", "id"], name="direct_spend_newest"),
        ),
        migrations.AddConstraint(
            model_name="directspend",
            constraint=models.CheckConstraint(
                condition=models.Q(("cost_usd__gte", 0), ("tokens__gte", 0)),
                name="direct_spend_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="failedlogins",
            constraint=models.UniqueConstraint(
                fields=("person", "address"), name="failed_logins_once", nulls_distinct=False
            ),
        ),
        migrations.AddConstraint(
            model_name="failedlogins",
            constraint=models.CheckConstraint(
                condition=models.Q(("count__gte", models.F("recorded")), ("recorded__gte", 0)),
                name="failed_logins_counts",
            ),
        ),
        migrations.AddIndex(
            model_name="grant",
            index=models.Index(fields=["wo", "measure", "ends_at"], name="cap_grants_live"),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(("value__gt", 0), models.Q(("reason", ""), _negated=True)),
                name="cap_grants_sane",
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(("ends_at__gte", models.F("starts_at"))),
                name="cap_grants_interval",
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind", "break_glass"), ("request__isnull", False), _connector="OR"
                ),
                name="cap_grants_approved",
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["approved", "break_glass"])),
                name="cap_grants_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "break_glass"), _negated=True),
                    (
                        "ends_at__lte",
                        django.db.models.expressions.CombinedExpression(
                            models.F("starts_at"),
                            "+",
                            models.Value(datetime.timedelta(seconds=3600)),
                        ),
                    ),
                    _connector="OR",
                ),
                name="cap_grants_break_glass",
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind", "approved"), ("person__isnull", False), _connector="OR"
                ),
                name="cap_grants_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("reviewed_by", None),
                    models.Q(("reviewed_by", models.F("person")), _negated=True),
                    ("person", None),
                    _connector="OR",
                ),
                name="cap_grants_other_reviewer",
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("review", ""), ("reviewed_at", None)),
                    models.Q(
                        ("reviewed_at__isnull", False), models.Q(("review", ""), _negated=True)
                    ),
                    _connector="OR",
                ),
                name="cap_grants_reviewed",
            ),
        ),
        migrations.AddConstraint(
            model_name="hotspot",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", ""), _negated=True), name="hotspots_named"
            ),
        ),
        migrations.AddConstraint(
            model_name="hotspot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "dimension__in",
                        ["llm_api", "compute", "storage", "logging", "network", "ci_cd"],
                    )
                ),
                name="hotspots_dimension",
            ),
        ),
        migrations.AddConstraint(
            model_name="hotspot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("scaling__in", ["constant", "linear", "superlinear", "stepped", "growing"])
                ),
                name="hotspots_scaling",
            ),
        ),
        migrations.AddConstraint(
            model_name="hotspot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("typed_month_high", None), ("typed_month_low", None)),
                        models.Q(
                            ("typed_month_high__gte", models.F("typed_month_low")),
                            ("typed_month_high__isnull", False),
                            ("typed_month_low__gte", 0),
                        ),
                        _connector="OR",
                    ),
                    models.Q(
                        models.Q(("typed_request_high", None), ("typed_request_low", None)),
                        models.Q(
                            ("typed_request_high__gte", models.F("typed_request_low")),
                            ("typed_request_high__isnull", False),
                            ("typed_request_low__gte", 0),
                        ),
                        _connector="OR",
                    ),
                    models.Q(
                        models.Q(("typed_month_low", None), ("typed_request_low", None)),
                        ("typed_at__isnull", False),
                        _connector="OR",
                    ),
                ),
                name="hotspots_typed",
            ),
        ),
        migrations.AddConstraint(
            model_name="hotspot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("measured_at", None),
                        ("measured_days", None),
                        ("measured_month_high", None),
                        ("measured_month_low", None),
                        ("measured_request_high", None),
                        ("measured_request_low", None),
                    ),
                    models.Q(
                        ("measured_at__isnull", False),
                        ("measured_days__gt", 0),
                        ("measured_days__isnull", False),
                        ("measured_month_high__gte", models.F("measured_month_low")),
                        ("measured_month_high__isnull", False),
                        ("measured_month_low__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="hotspots_measured",
            ),
        ),
        migrations.AddConstraint(
            model_name="hotspot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("confirm_days__range", (1, 3650)),
                    models.Q(
                        models.Q(("confirmed_at", None), ("confirmed_by", "")),
                        models.Q(
                            ("confirmed_at__isnull", False),
                            models.Q(("confirmed_by", ""), _negated=True),
                        ),
                        _connector="OR",
                    ),
                ),
                name="hotspots_confirmed",
            ),
        ),
        migrations.AddConstraint(
            model_name="killswitch",
            constraint=models.UniqueConstraint(
                fields=("scope", "target"), name="kill_switches_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="killswitch",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("scope", "Global"), ("target", "")),
                    models.Q(("scope", "Surface"), models.Q(("target", ""), _negated=True)),
                    models.Q(("scope", "Identity"), ("target__regex", "^(user|agent|token):.")),
                    _connector="OR",
                ),
                name="kill_switches_target",
            ),
        ),
        migrations.AddConstraint(
            model_name="killswitch",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason", ""), _negated=True), name="kill_switches_reason"
            ),
        ),
        migrations.AddConstraint(
            model_name="killswitch",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("set_by_person", None), ("set_by_token", None)),
                    models.Q(("enabled", True), ("set_by_person", None)),
                    models.Q(("enabled", True), ("set_by_token", None)),
                    _connector="OR",
                ),
                name="kill_switches_set_by",
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.UniqueConstraint(fields=("person", "group"), name="memberships_once"),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(("how__in", ("confirmed", "command", "free", "before"))),
                name="memberships_how",
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewcheck",
            constraint=models.UniqueConstraint(
                fields=("review", "position"), name="review_checks_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewcheck",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("done_at", None), ("done_by", "")),
                    models.Q(models.Q(("done_by", ""), _negated=True), ("done_at__isnull", False)),
                    _connector="OR",
                ),
                name="review_checks_done",
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewdecision",
            constraint=models.CheckConstraint(
                condition=models.Q(("text", ""), _negated=True), name="review_decisions_text"
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewsignature",
            constraint=models.UniqueConstraint(
                fields=("review", "state", "person"), name="review_signatures_once_a_person"
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewsignature",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", ""), _negated=True), models.Q(("comment", ""), _negated=True)
                ),
                name="review_signatures_said",
            ),
        ),
        migrations.AddIndex(
            model_name="runcharge",
            index=models.Index(fields=["at"], name="run_charges_at"),
        ),
        migrations.AddConstraint(
            model_name="timedmitigation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None)),
                fields=("feature", "lever"),
                name="timed_mitigations_one_live",
            ),
        ),
        migrations.AddConstraint(
            model_name="timedmitigation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("until__gt", models.F("applied_at")),
                    models.Q(
                        models.Q(("ended_at", None), ("ended_by", "")),
                        models.Q(
                            ("ended_at__isnull", False), models.Q(("ended_by", ""), _negated=True)
                        ),
                        _connector="OR",
                    ),
                ),
                name="timed_mitigations_bounded",
            ),
        ),
        migrations.AddConstraint(
            model_name="vote",
            constraint=models.UniqueConstraint(
                fields=("request", "revision", "voter"), name="change_votes_once_a_person"
            ),
        ),
        migrations.AddConstraint(
            model_name="vote",
            constraint=models.CheckConstraint(
                condition=models.Q(("comment", ""), _negated=True), name="change_votes_comment"
            ),
        ),
        *TABLES,
        *SHIPPED,
    ]
