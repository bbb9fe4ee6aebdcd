import django.db.models.functions.datetime
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the table of counters is written by every start: its index is made beside them

    dependencies = [("budgets", "0008_shipped_levers")]

    operations = [
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
        AddIndexConcurrently(
            model_name="counter",
            index=models.Index(fields=["scope", "window", "starts_at"], name="counters_by_window"),
        ),
        AddIndexConcurrently(
            model_name="capchange",
            index=models.Index(fields=["applied_at"], name="cap_changes_applied"),
        ),
    ]
