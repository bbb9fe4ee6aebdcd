from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("opslog", "0001_initial")]

    # The columns are made in `_tables.py`.
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField(
                    "inferenceevent", "sender_id", models.BigIntegerField(db_default=0)
                ),
                migrations.AddField(
                    "inferenceevent",
                    "sent_model",
                    models.TextField(
                        db_default="", help_text="As it was sent, where that differs."
                    ),
                ),
                migrations.AddField("toolcall", "sender_id", models.BigIntegerField(db_default=0)),
            ]
        )
    ]
