"""Hours whose calls are still there are summed up again: which part is governed is not known yet."""

from django.db import migrations

STALE = """
INSERT INTO stale_hours (hour) SELECT DISTINCT hour FROM inference_hours
WHERE hour >= (SELECT date_trunc('hour', min(created_at), 'UTC') FROM inference_events)
"""


class Migration(migrations.Migration):
    dependencies = (("opslog", "0006_figures"),)

    operations = (migrations.RunSQL(STALE, migrations.RunSQL.noop),)
