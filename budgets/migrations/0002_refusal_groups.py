"""Refusals that share an event."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0001_initial"),
    ]

    operations = [
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
                (
                    "name",
                    models.TextField(help_text="What was asked, the work order, the denial."),
                ),
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
        migrations.AlterField(
            model_name="idempotencyrecord",
            name="token_id",
            field=models.BigIntegerField(
                help_text="The lineage of the token: a key belongs to all tokens of its line."
            ),
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
    ]
