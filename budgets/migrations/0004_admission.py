from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0003_incidents"),
    ]

    operations = [
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
        AddConstraintNotValid(
            model_name="circuitbreaker",
            constraint=models.CheckConstraint(
                condition=models.Q(("probe_seconds__gt", 0)),
                name="circuit_breakers_probe_seconds",
            ),
        ),
        AddConstraintNotValid(
            model_name="costrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("floor_runs__range", (1, 100)),
                    models.Q(("floor_usd", None), ("floor_usd__gt", 0), _connector="OR"),
                ),
                name="cost_rules_floor",
            ),
        ),
    ]
