"""One person alone who signs twice, and the time-outs of tools as the levers name them."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models.functions import Now

FACTOR = "When a solo operator, whose {} this is, showed their second factor."


def second_factor(model: str, what: str) -> migrations.AddField:
    return migrations.AddField(
        model,
        "second_factor_at",
        models.DateTimeField(editable=False, help_text=FACTOR.format(what), null=True),
    )


class Migration(migrations.Migration):
    dependencies = [("budgets", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="SoloOperatorRule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("enabled", models.BooleanField()),
                ("waiting_minutes", models.SmallIntegerField()),
                ("reason", models.TextField()),
                ("by", models.TextField()),
                ("at", models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={
                "db_table": "solo_operator_rules",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("waiting_minutes__range", (15, 1200)),
                            models.Q(("reason", ""), _negated=True),
                        ),
                        name="solo_operator_rules_sane",
                    )
                ],
            },
        ),
        migrations.AddField(
            "changerequest",
            "revised_at",
            models.DateTimeField(
                db_default=Now(),
                editable=False,
                help_text="When this revision was asked for. By a trigger.",
            ),
        ),
        second_factor("vote", "signature"),
        second_factor("grant", "review"),
        second_factor("reviewsignature", "signature"),
        second_factor("costcorrection", "confirmation"),
        migrations.RemoveConstraint("grant", "cap_grants_other_reviewer"),
        AddConstraintNotValid(
            "grant",
            models.CheckConstraint(
                condition=models.Q(
                    ("reviewed_by", None),
                    models.Q(("reviewed_by", models.F("person")), _negated=True),
                    ("person", None),
                    ("second_factor_at__isnull", False),
                    _connector="OR",
                ),
                name="cap_grants_reviewer",
            ),
        ),
        migrations.RemoveConstraint("reviewsignature", "review_signatures_once_a_person"),
        migrations.AddConstraint(
            "reviewsignature",
            models.UniqueConstraint(
                condition=models.Q(("second_factor_at", None)),
                fields=("review", "state", "person"),
                name="review_signatures_once",
            ),
        ),
        migrations.AddConstraint(
            "reviewsignature",
            models.UniqueConstraint(
                condition=models.Q(("second_factor_at__isnull", False)),
                fields=("review", "state", "person"),
                name="review_signatures_once_more",
            ),
        ),
        migrations.RenameField("featurecontrol", "round_timeout_ms", "total_timeout_ms"),
        migrations.RenameField("featurecontrol", "tool_timeout_ms", "round_timeout_ms"),
        # In the database the constraint follows its columns.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint("featurecontrol", "feature_flags_levers"),
                migrations.AddConstraint(
                    "featurecontrol",
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_rounds__range", (1, 50)),
                            ("max_context_messages__range", (1, 1000)),
                            ("max_tool_retries__range", (0, 20)),
                            ("auto_save_interval_ms__range", (1000, 3600000)),
                            ("undo_rate_limit__range", (1, 1000)),
                            ("undo_rate_period__in", ("minute", "hour")),
                            ("round_timeout_ms__range", (100, 600000)),
                            ("total_timeout_ms__range", (100, 3600000)),
                            ("max_tool_result_bytes__range", (256, 1048576)),
                            ("tool_breaker_failures__range", (1, 100)),
                            ("tool_breaker_seconds__range", (1, 3600)),
                        ),
                        name="feature_flags_levers",
                    ),
                ),
            ]
        ),
    ]
