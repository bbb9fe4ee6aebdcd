import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("workorders", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="servicetoken",
            name="service_tokens_scopes",
        ),
        migrations.AddField(
            model_name="servicetoken",
            name="created_by",
            field=models.ForeignKey(
                editable=False,
                help_text="Who made it. Empty: it was made on the command line.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="servicetoken",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(
                    choices=[
                        ("start", "start: start, extend and finish runs"),
                        ("ingest", "ingest: send telemetry"),
                        ("read", "read: read work orders, runs and events"),
                        ("killswitch", "killswitch: stop an identity"),
                        ("request", "request: ask for cap changes, which people decide"),
                        ("admin", "admin: create work orders, finish any run"),
                    ]
                ),
                size=None,
            ),
        ),
        migrations.AddConstraint(
            model_name="servicetoken",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "scopes__contained_by",
                        ["start", "ingest", "read", "killswitch", "request", "admin"],
                    )
                ),
                name="service_tokens_scopes",
            ),
        ),
    ]
