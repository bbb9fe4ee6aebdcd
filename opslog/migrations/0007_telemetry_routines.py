from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("opslog", "0006_telemetry_tables")]

    operations = [
        migrations.RunSQL((SQL / name).read_text(encoding="utf-8"))
        for name in ("telemetry_ingest.sql", "telemetry_rollup.sql")
    ]
