from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the table of counters is written by every start: its index is made beside them

    dependencies = [("budgets", "0016_lever_controls")]

    operations = [
        AddIndexConcurrently(
            model_name="counter",
            index=models.Index(
                fields=["scope", "subject", "window", "starts_at"],
                condition=models.Q(window__in=["rolling_minute", "rolling_hour"]),
                name="counters_slots",
            ),
        ),
    ]
