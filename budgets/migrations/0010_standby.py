"""The index by which a start sums up a rolling window: of an expression that no other index has.

Not concurrently: a second first start waits for the advisory lock of migrations in a statement, and a
concurrent index would wait for that. Counters of minutes and hours are dropped after a day, so the
table is small.
"""

from django.db import migrations, models

from opslog.migrations._statements import of_statement


class Migration(migrations.Migration):
    dependencies = [("budgets", "0009_alert_permissions")]

    operations = [
        of_statement(
            "-- squawk-ignore require-concurrent-index-creation\n"
            "CREATE INDEX counters_rolling ON counters "
            "((scope || ':' || subject || ':' || \"window\"), starts_at) "
            "WHERE \"window\" IN ('rolling_minute', 'rolling_hour');",
            migrations.AddIndex(
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
        ),
        of_statement(
            "-- squawk-ignore require-concurrent-index-deletion\nDROP INDEX counters_slots;",
            migrations.RemoveIndex(model_name="counter", name="counters_slots"),
        ),
    ]
