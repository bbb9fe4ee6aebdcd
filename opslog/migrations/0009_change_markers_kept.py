from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("opslog", "0008_change_markers")]

    operations = [migrations.RunSQL((SQL / "changes.sql").read_text(encoding="utf-8"))]
