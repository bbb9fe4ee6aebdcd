from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("opslog", "0014_seals")]

    operations = [migrations.RunSQL((SQL / "seals.sql").read_text(encoding="utf-8"))]
