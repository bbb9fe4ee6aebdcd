from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0003_incidents"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="circuitbreaker",
            name="circuit_breakers_sane",
        ),
        migrations.RemoveConstraint(
            model_name="costrule",
            name="cost_rules_sane",
        ),
        migrations.AddField(
            model_name="circuitbreaker",
            name="probe_seconds",
            field=models.IntegerField(db_default=60, default=60),
        ),
        migrations.AddField(
            model_name="costrule",
            name="floor_runs",
            field=models.IntegerField(db_default=20, default=20),
        ),
        migrations.AddField(
            model_name="costrule",
            name="floor_usd",
            field=models.DecimalField(
                decimal_places=2,
                help_text="Empty: the work order's dollars a day ÷ runs a day.",
                max_digits=12,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="coststatistic",
            name="successful_runs",
            field=models.IntegerField(db_default=0),
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
                ]
            ),
        ),
        migrations.AddConstraint(
            model_name="circuitbreaker",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("open_seconds__gt", 0),
                    ("probe_seconds__gt", 0),
                    models.Q(
                        ("recent_runs", None), ("recent_runs__range", (2, 100)), _connector="OR"
                    ),
                    models.Q(
                        ("error_percent", None), ("error_percent__range", (1, 100)), _connector="OR"
                    ),
                ),
                name="circuit_breakers_sane",
            ),
        ),
        migrations.AddConstraint(
            model_name="costrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("alert_over_usd__gte", 0),
                    ("alert_times__gte", 1),
                    ("id", 1),
                    ("floor_runs__range", (1, 100)),
                    ("second_person_over_usd__gte", 0),
                    models.Q(("floor_usd", None), ("floor_usd__gt", 0), _connector="OR"),
                ),
                name="cost_rules_sane",
            ),
        ),
    ]
