"""One person alone who signs twice, and the time-outs of tools as the levers name them."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models.functions import Now

from opslog.migrations._statements import of_statement

FACTOR = "When a solo operator, whose {} this is, showed their second factor."


def second_factor(model: str, what: str) -> migrations.AddField:
    return migrations.AddField(
        model,
        "second_factor_at",
        models.DateTimeField(editable=False, help_text=FACTOR.format(what), null=True),
    )


class Migration(migrations.Migration):
    dependencies = [("budgets", "0005_admission_checked")]

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
                editable=False,
                help_text="When this revision was asked for, by a trigger. Empty: as it was made.",
                null=True,
            ),
        ),
        second_factor("vote", "signature"),
        second_factor("grant", "review"),
        second_factor("reviewsignature", "signature"),
        second_factor("costcorrection", "confirmation"),
        of_statement(
            "-- squawk-ignore ban-drop-constraint\n"
            "ALTER TABLE cap_grants DROP CONSTRAINT cap_grants_other_reviewer;",
            migrations.RemoveConstraint("grant", "cap_grants_other_reviewer"),
        ),
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
        of_statement(
            "-- squawk-ignore ban-drop-constraint\n"
            "ALTER TABLE review_signatures DROP CONSTRAINT review_signatures_once_a_person;",
            migrations.RemoveConstraint("reviewsignature", "review_signatures_once_a_person"),
        ),
        # Two or three rows a month: nobody waits for an index.
        of_statement(
            "-- squawk-ignore require-concurrent-index-creation\n"
            "CREATE UNIQUE INDEX review_signatures_once ON review_signatures "
            "(review_id, state, person_id) WHERE second_factor_at IS NULL;",
            migrations.AddConstraint(
                "reviewsignature",
                models.UniqueConstraint(
                    condition=models.Q(("second_factor_at", None)),
                    fields=("review", "state", "person"),
                    name="review_signatures_once",
                ),
            ),
        ),
        of_statement(
            "-- squawk-ignore require-concurrent-index-creation\n"
            "CREATE UNIQUE INDEX review_signatures_once_more ON review_signatures "
            "(review_id, state, person_id) WHERE second_factor_at IS NOT NULL;",
            migrations.AddConstraint(
                "reviewsignature",
                models.UniqueConstraint(
                    condition=models.Q(("second_factor_at__isnull", False)),
                    fields=("review", "state", "person"),
                    name="review_signatures_once_more",
                ),
            ),
        ),
        # Nothing is released that reads these columns. The constraint on them follows by itself.
        of_statement(
            "-- squawk-ignore renaming-column\n"
            "ALTER TABLE feature_flags RENAME COLUMN round_timeout_ms TO total_timeout_ms;",
            migrations.RenameField("featurecontrol", "round_timeout_ms", "total_timeout_ms"),
        ),
        of_statement(
            "-- squawk-ignore renaming-column\n"
            "ALTER TABLE feature_flags RENAME COLUMN tool_timeout_ms TO round_timeout_ms;",
            migrations.RenameField("featurecontrol", "tool_timeout_ms", "round_timeout_ms"),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint("featurecontrol", "feature_flags_levers"),
                migrations.AddConstraint(
                    "featurecontrol",
                    models.CheckConstraint(
                        condition=models.Q(
                            ("auto_save_interval_ms__range", (1000, 3600000)),
                            ("max_context_messages__range", (1, 1000)),
                            ("max_rounds__range", (1, 50)),
                            ("max_tool_result_bytes__range", (256, 1048576)),
                            ("max_tool_retries__range", (0, 20)),
                            ("round_timeout_ms__range", (100, 600000)),
                            ("tool_breaker_failures__range", (1, 100)),
                            ("tool_breaker_seconds__range", (1, 3600)),
                            ("total_timeout_ms__range", (100, 3600000)),
                            ("undo_rate_limit__range", (1, 1000)),
                            ("undo_rate_period__in", ("minute", "hour")),
                        ),
                        name="feature_flags_levers",
                    ),
                ),
            ]
        ),
    ]
