import datetime
from decimal import Decimal
from typing import Any

import django.db.models.deletion
import django.db.models.expressions
from django.conf import settings
from django.db import migrations, models

SHIPPED = (
    ("break_glass_usd_per_day", "50.00"),
    ("break_glass_runs_per_day", "5000"),
    ("break_glass_max_concurrent_runs", "10"),
    ("all_glass_usd_per_day", "100.00"),
    ("all_glass_runs_per_day", "10000"),
    ("all_glass_max_concurrent_runs", "20"),
    ("token_open_requests", "10"),
    ("token_requests_a_day", "40"),
)


def ship_limits(apps: Any, schema_editor: Any) -> None:
    rows = apps.get_model("budgets", "ApprovalLimit").objects.using(schema_editor.connection.alias)
    for name, amount in SHIPPED:
        rows.create(name=name, amount=Decimal(amount))


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0001_initial"),
        ("workorders", "0002_token_makers"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
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
            },
        ),
        migrations.RemoveConstraint(
            model_name="grant",
            name="cap_grants_break_glass",
        ),
        migrations.AddField(
            model_name="changerequest",
            name="token",
            field=models.ForeignKey(
                help_text="What a program asked with. Empty: a person asked.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="workorders.servicetoken",
            ),
        ),
        migrations.AddField(
            model_name="changerequest",
            name="token_maker",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="changerequest",
            name="token_owner",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
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
            model_name="killswitch",
            name="set_by_person",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="killswitch",
            name="set_by_token",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="workorders.servicetoken",
            ),
        ),
        migrations.AlterField(
            model_name="changerequest",
            name="last_editor",
            field=models.ForeignKey(
                help_text="Empty: a program asked, and no person has edited it.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="changerequest",
            name="status",
            field=models.TextField(
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
            model_name="approvallimit",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0)), name="approval_limits_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="approvallimit",
            constraint=models.CheckConstraint(
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
        ),
        migrations.RunPython(ship_limits, migrations.RunPython.noop, elidable=False),
    ]
