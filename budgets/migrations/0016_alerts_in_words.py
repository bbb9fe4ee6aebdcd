"""The routines of alerts once more: for databases in which an alert still says a row of numbers."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql" / "alerts.sql"


class Migration(migrations.Migration):
    dependencies = [("budgets", "0015_shipped_alert_rules")]

    operations = [
        migrations.RunSQL(SQL.read_text(encoding="utf-8"), migrations.RunSQL.noop),
    ]
