"""Which part of the hourly sums is settled already: calls of runs and of direct spend."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("opslog", "0005_incidents"),)

    operations = (
        migrations.AddField(
            model_name="inferencehour",
            name="governed_usd",
            field=models.DecimalField(
                db_default=0,
                decimal_places=9,
                help_text="The part of the cost that a run or direct spend has settled already.",
                max_digits=20,
            ),
        ),
    )
