"""Refusals that share an event."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="RefusalTally",
            fields=[
                ("lineage", models.BigIntegerField(primary_key=True, serialize=False)),
                ("second", models.DateTimeField()),
                (
                    "recorded",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        help_text="Kinds with an event of their own, in order.",
                        size=None,
                    ),
                ),
                (
                    "alone",
                    models.BooleanField(
                        help_text="Whether the last refusal has an event of its own."
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
                    models.TextField(help_text="What was asked, the work order, and the denial."),
                ),
                ("kind", models.TextField()),
                ("message", models.TextField()),
                ("wo_id", models.TextField()),
                ("wo_title", models.TextField()),
                ("actor", models.TextField()),
                ("request_id", models.TextField()),
                ("meta", models.JSONField(help_text="Of the last one.")),
                ("times", models.IntegerField()),
                ("agents", models.JSONField(help_text="How often each agent was refused.")),
                ("asks", models.JSONField(help_text="Of a cap: each ask, for the what-if.")),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
            ],
            options={
                "db_table": "refusal_groups",
                "indexes": [models.Index(fields=["last_at"], name="refusal_groups_over")],
            },
        ),
    ]
