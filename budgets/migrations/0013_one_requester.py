"""Who edits a request is its requester: what was edited has a revision beyond the first.

No release had the column; a process of the commit before, beside this one, cannot ask for a cap.
"""

from django.db import migrations

from opslog.migrations._statements import of_statement


class Migration(migrations.Migration):
    dependencies = [("budgets", "0012_no_latency_samples")]

    operations = [
        of_statement(
            "-- squawk-ignore ban-drop-column\n"
            "ALTER TABLE change_requests DROP COLUMN last_editor_id;",
            migrations.RemoveField("changerequest", "last_editor"),
        ),
    ]
