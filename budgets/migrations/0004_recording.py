from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    """After the shipped rows: what nobody changed is no event."""

    dependencies = [("budgets", "0003_shipped_rows")]

    operations = [migrations.RunSQL((SQL / "recording.sql").read_text(encoding="utf-8"))]
