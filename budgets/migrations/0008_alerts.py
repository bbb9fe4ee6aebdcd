"""Alert rules that people make. There is a handful of rows: nobody waits for a lock here."""

import django.db.models.deletion
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

from opslog.migrations._statements import of_statement


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("budgets", "0007_solo_operator_rows"),
    ]

    operations = [
        of_statement(
            "-- squawk-ignore adding-foreign-key-constraint\n"
            "ALTER TABLE alert_rules ADD COLUMN budget_id bigint NULL "
            "REFERENCES budgets (id) DEFERRABLE INITIALLY DEFERRED;",
            migrations.AddField(
                model_name="alertrule",
                name="budget",
                field=models.ForeignKey(
                    blank=True,
                    db_index=False,
                    null=True,
                    on_delete=django.db.models.deletion.CASCADE,
                    to="budgets.budget",
                    verbose_name="limit",
                ),
            ),
        ),
        migrations.AddField(
            model_name="alertrule",
            name="feature",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="Of the spend; empty: all features.",
            ),
        ),
        of_statement(
            "-- squawk-ignore adding-foreign-key-constraint\n"
            "ALTER TABLE alert_rules ADD COLUMN group_id integer NULL "
            "REFERENCES auth_group (id) DEFERRABLE INITIALLY DEFERRED;",
            migrations.AddField(
                model_name="alertrule",
                name="group",
                field=models.ForeignKey(
                    blank=True,
                    db_index=False,
                    help_text="Empty: operations.",
                    null=True,
                    on_delete=django.db.models.deletion.SET_NULL,
                    related_name="+",
                    to="auth.group",
                    verbose_name="who is notified",
                ),
            ),
        ),
        migrations.AddField(
            model_name="alertrule",
            name="incident",
            field=models.BigIntegerField(
                blank=True,
                editable=False,
                help_text="The incident that it was made for.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="alertrule",
            name="name",
            field=models.TextField(
                blank=True, db_default="", default="", help_text="Empty: the check."
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.TextField(
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
                    ("cost_unpriced", "usage without a price"),
                    ("refusals", "refusals by a limit"),
                    ("month_projection", "month projected over its budget"),
                ]
            ),
        ),
        # There can be several rules of one check.
        of_statement(
            "-- squawk-ignore ban-drop-constraint\n"
            "ALTER TABLE alert_rules DROP CONSTRAINT alert_rules_check_name_key;\n"
            "-- squawk-ignore require-concurrent-index-deletion\n"
            "DROP INDEX alert_rules_check_name_a364edcf_like;",
            migrations.AlterField(
                model_name="alertrule",
                name="check_name",
                field=models.TextField(
                    choices=[
                        ("refusals", "refusals by a limit"),
                        ("error_rate", "runs that failed, % of those that ended"),
                        ("refusals_spread", "refusals across different work orders"),
                        ("limit_use", "use of one limit, % of its amount"),
                        ("spend", "spend in dollars"),
                    ],
                    verbose_name="check",
                ),
            ),
        ),
        AddConstraintNotValid(
            model_name="alertrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("budget__isnull", False), ("check_name", "limit_use")),
                    models.Q(
                        models.Q(("check_name", "limit_use"), _negated=True), ("budget", None)
                    ),
                    _connector="OR",
                ),
                name="alert_rules_limit",
            ),
        ),
        AddConstraintNotValid(
            model_name="alertrule",
            constraint=models.CheckConstraint(
                condition=models.Q(("feature", ""), ("check_name", "spend"), _connector="OR"),
                name="alert_rules_feature",
            ),
        ),
    ]
