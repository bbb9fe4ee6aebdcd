"""How long admissions take is in `/metrics`, as a histogram; nothing keeps samples of it any more.

The table goes with its rows. What the release before runs beside this one misses it in a chart and in
a job, never in a decision.
"""

from django.db import migrations

from opslog.migrations._statements import of_statement


class Migration(migrations.Migration):
    dependencies = [("budgets", "0011_governed_hours")]

    operations = [
        of_statement(
            "-- squawk-ignore ban-drop-table\nDROP TABLE latency_samples;",
            migrations.DeleteModel(name="LatencySample"),
        ),
    ]
