from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0002_usage"),
    ]

    operations = [
        migrations.AddField(
            model_name="timedmitigation",
            name="kept_by",
            field=models.TextField(
                db_default="",
                default="",
                help_text="Who has set the same control meanwhile: it stays so.",
            ),
        ),
        migrations.AddField(
            model_name="timedmitigation",
            name="stuck_at",
            field=models.DateTimeField(help_text="When it could first not be put back.", null=True),
        ),
    ]
