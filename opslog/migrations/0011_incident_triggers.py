from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("opslog", "0010_incidents")]

    operations = [migrations.RunSQL((SQL / "incidents.sql").read_text(encoding="utf-8"))]
