"""`caps` is kept by a trigger, which can say how caps change; a generated column cannot."""

from django.db import migrations, models
from django.db.models import Value


class Migration(migrations.Migration):
    dependencies = [("workorders", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "-- squawk-ignore ban-drop-generated-expression\n"
                    "ALTER TABLE work_orders ALTER COLUMN caps DROP EXPRESSION, "
                    "ALTER COLUMN caps SET DEFAULT '{}'::jsonb;"
                )
            ],
            state_operations=[
                migrations.RemoveField("workorder", "caps"),
                migrations.AddField(
                    "workorder",
                    "caps",
                    models.JSONField(db_default=Value({}, models.JSONField()), editable=False),
                ),
            ],
        )
    ]
