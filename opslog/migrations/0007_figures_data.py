"""Which part of the hourly sums is governed: hours whose calls are still there are summed up again.

Of older hours nobody can know. Their calls count as governed, so that no month counts twice what runs
have settled.
"""

from django.db import migrations

STALE = """
INSERT INTO stale_hours (hour) SELECT DISTINCT hour FROM inference_hours
WHERE hour >= (SELECT date_trunc('hour', min(created_at), 'UTC') FROM inference_events)
"""

GOVERNED = """
UPDATE inference_hours SET governed_usd = cost_usd
WHERE hour < coalesce(
    (SELECT date_trunc('hour', min(created_at), 'UTC') FROM inference_events), 'infinity')
"""


class Migration(migrations.Migration):
    dependencies = (("opslog", "0006_figures"),)

    operations = (
        migrations.RunSQL(STALE, migrations.RunSQL.noop),
        migrations.RunSQL(GOVERNED, migrations.RunSQL.noop),
    )
