"""Lines of tokens, their use, and what holds for new ones."""

import django.db.models.deletion
from django.db import migrations, models

from workorders.migrations._tables import OPERATIONS as ROWS

MADE_BEFORE = """
UPDATE service_tokens SET lineage = id;
INSERT INTO token_uses (token_id) SELECT id FROM service_tokens;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("workorders", "0001_initial"),
    ]

    operations = [
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
        migrations.AddField(
            model_name="servicetoken",
            name="lineage",
            field=models.BigIntegerField(
                db_default=0,
                db_index=True,
                editable=False,
                help_text="Id of the first token of the line.",
            ),
        ),
        migrations.AddField(
            model_name="servicetoken",
            name="predecessor",
            field=models.OneToOneField(
                editable=False,
                help_text="The token that this one was rotated from. Empty: the first of its line.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="successor",
                to="workorders.servicetoken",
            ),
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
        migrations.RunSQL(MADE_BEFORE),
        *ROWS,
    ]
