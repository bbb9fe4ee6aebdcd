"""The shipped cost preference, and the checks of 0002 on what was there before."""

from django.db import migrations

SHIPPED = "INSERT INTO cost_preference (id, wins) VALUES (1, 'computed')"
VALIDATE = (
    "ALTER TABLE inference_events VALIDATE CONSTRAINT inference_events_usage",
    "ALTER TABLE model_prices VALIDATE CONSTRAINT model_prices_special_not_negative",
)


class Migration(migrations.Migration):
    dependencies = [("opslog", "0002_usage")]

    operations = [migrations.RunSQL(text) for text in (SHIPPED, *VALIDATE)]
