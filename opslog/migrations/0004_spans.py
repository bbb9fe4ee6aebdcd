"""What is remembered of exported spans: how they are nested, which responses they were of, and
which were not understood."""

import django.contrib.postgres.fields
import django.db.models.functions.datetime
from django.db import migrations, models

NOW = django.db.models.functions.datetime.Now()


class Migration(migrations.Migration):
    dependencies = [("opslog", "0003_usage_rows")]

    operations = [
        migrations.CreateModel(
            name="TelemetryTrace",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("sender_id", models.BigIntegerField()),
                ("trace_id", models.TextField()),
                ("changed_at", models.DateTimeField(db_default=NOW)),
                ("nodes", models.BinaryField(db_default=b"")),
                ("held", models.JSONField(db_default={}, default=dict)),
            ],
            options={
                "db_table": "telemetry_traces",
                "indexes": [models.Index("changed_at", name="telemetry_traces_changed")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("sender_id", "trace_id"), name="telemetry_traces_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="TelemetryResponse",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("sender_id", models.BigIntegerField()),
                ("response_id", models.TextField()),
                ("event_id", models.TextField()),
                ("detail", models.IntegerField()),
                ("seen_at", models.DateTimeField(db_default=NOW)),
            ],
            options={
                "db_table": "telemetry_responses",
                "indexes": [
                    models.Index("sender_id", "event_id", name="telemetry_responses_event"),
                    models.Index("seen_at", name="telemetry_responses_seen"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("sender_id", "response_id"), name="telemetry_responses_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="UnreadSpan",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("sender_id", models.BigIntegerField()),
                ("digest", models.TextField()),
                ("scope", models.TextField(verbose_name="instrumentation")),
                ("span_name", models.TextField(verbose_name="span")),
                (
                    "names",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        size=None,
                        verbose_name="attributes that are not read",
                    ),
                ),
                ("spans", models.BigIntegerField()),
                ("lost", models.BigIntegerField(verbose_name="not counted")),
                ("first_seen", models.DateTimeField(db_default=NOW)),
                ("last_seen", models.DateTimeField(db_default=NOW)),
            ],
            options={
                "verbose_name": "unread span",
                "db_table": "telemetry_unread",
                "ordering": ("-last_seen", "-id"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("sender_id", "digest"), name="telemetry_unread_once"
                    )
                ],
            },
        ),
    ]
