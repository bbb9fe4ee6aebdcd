"""The index by which a start sums up a rolling window: of an expression that no other index has."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("budgets", "0009_alert_permissions")]

    operations = [
        AddIndexConcurrently(
            model_name="counter",
            index=models.Index(
                models.Func(
                    "scope",
                    "subject",
                    "window",
                    arg_joiner=" || ':' || ",
                    template="%(expressions)s",
                ),
                "starts_at",
                condition=models.Q(("window__in", ("rolling_minute", "rolling_hour"))),
                name="counters_rolling",
            ),
        ),
        RemoveIndexConcurrently(model_name="counter", name="counters_slots"),
    ]
