"""Who decides since when, what a second administrator confirms, and how people get in."""

from typing import Any

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


def ship(apps: Any, schema_editor: Any) -> None:
    """Who is in a group now goes on counting; the people of break-glass are found by their names,
    once; everybody reads account changes."""
    using = schema_editor.connection.alias
    AccountRule = apps.get_model("budgets", "AccountRule")
    AccountRule.objects.using(using).create(waiting_hours=24, reason="As shipped", by="tollgate")
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO memberships (person_id, group_id, how, counts_from)"
            " SELECT user_id, group_id, 'before', now() FROM auth_user_groups"
        )
        cursor.execute("SELECT EXISTS (SELECT FROM cap_grants WHERE kind = 'break_glass')")
        if cursor.fetchone()[0]:
            cursor.execute("ALTER TABLE cap_grants DISABLE TRIGGER guard_grant")
            cursor.execute(
                "UPDATE cap_grants SET person_id = u.id FROM auth_user u"
                " WHERE kind = 'break_glass' AND u.username = granted_by"
            )
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE cap_grants ENABLE TRIGGER guard_grant")
    ContentType = apps.get_model("contenttypes", "ContentType")
    changes, _ = ContentType.objects.using(using).get_or_create(
        app_label="budgets", model="accountchange"
    )
    view, _ = (
        apps.get_model("auth", "Permission")
        .objects.using(using)
        .get_or_create(
            content_type=changes,
            codename="view_accountchange",
            defaults={"name": "Can view account change"},
        )
    )
    for group in apps.get_model("auth", "Group").objects.using(using).all():
        if group.permissions.filter(codename="view_changerequest").exists():
            group.permissions.add(view)


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("budgets", "0017_counters_slots"),
        ("workorders", "0002_routines"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
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
            ],
            options={
                "verbose_name": "account change",
                "db_table": "account_changes",
                "ordering": ("-id",),
                "default_permissions": ("view",),
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
            ],
            options={
                "db_table": "account_links",
                "default_permissions": (),
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
            ],
            options={
                "db_table": "failed_logins",
                "default_permissions": (),
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
            ],
            options={
                "db_table": "former_names",
                "default_permissions": (),
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
            ],
            options={
                "db_table": "memberships",
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="grant",
            name="person",
            field=models.ForeignKey(
                help_text="Who broke the glass. Names may change.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="accountchange",
            name="decided_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="accountchange",
            name="person",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="account_changes",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="accountchange",
            name="proposed_by",
            field=models.ForeignKey(
                help_text="Empty: single sign-on, by the groups it says the person is in.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="accountlink",
            name="person",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="account_links",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddConstraint(
            model_name="accountrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("waiting_hours__range", (0, 720)), models.Q(("reason", ""), _negated=True)
                ),
                name="account_rules_sane",
            ),
        ),
        migrations.AddField(
            model_name="failedlogins",
            name="person",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="formername",
            name="person",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="former_names",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="membership",
            name="group",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="memberships",
                to="auth.group",
            ),
        ),
        migrations.AddField(
            model_name="membership",
            name="person",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="memberships",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddConstraint(
            model_name="accountchange",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "pending")),
                fields=("person",),
                name="account_changes_one_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="accountchange",
            constraint=models.CheckConstraint(
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
        ),
        migrations.AddConstraint(
            model_name="accountchange",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ("pending", "confirmed", "refused", "expired", "stale"))
                ),
                name="account_changes_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="accountchange",
            constraint=models.CheckConstraint(
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
        ),
        migrations.AddConstraint(
            model_name="accountlink",
            constraint=models.UniqueConstraint(
                condition=models.Q(("replaced_at", None), ("used_at", None)),
                fields=("person",),
                name="account_links_one_live",
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
        migrations.RunPython(ship, migrations.RunPython.noop, elidable=False),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind", "approved"), ("person__isnull", False), _connector="OR"
                ),
                name="cap_grants_person",
            ),
        ),
    ]
