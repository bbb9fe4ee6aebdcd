from django.db import migrations, models

MEASURES = [
    ("runs_per_day", "runs/day"),
    ("usd_per_day", "USD/day"),
    ("max_concurrent_runs", "concurrent runs"),
    ("shared_limit", "shared limit"),
    ("feature_throttle", "throttle of a feature"),
    ("feature_cost_cap", "cost cap of a feature"),
]


class Migration(migrations.Migration):
    """More measures that a change is asked for: no statement is sent to the database."""

    dependencies = [("budgets", "0004_recording")]

    operations = [
        migrations.AlterField(model, "measure", models.TextField(choices=MEASURES))
        for model in ("approvalrule", "changeline", "grant")
    ]
