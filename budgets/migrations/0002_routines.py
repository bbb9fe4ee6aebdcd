from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("budgets", "0001_initial"), ("workorders", "0002_routines")]

    operations = [
        migrations.RunSQL((SQL / name).read_text(encoding="utf-8"))
        for name in (
            "foundations.sql",
            "guardrails.sql",
            "alerts.sql",
            "breaker.sql",
            "settlement.sql",
            "admission.sql",
            "extension.sql",
            "spending.sql",
        )
    ]
