from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("budgets", "0011_reviews")]

    operations = [migrations.RunSQL((SQL / "reviews.sql").read_text(encoding="utf-8"))]
