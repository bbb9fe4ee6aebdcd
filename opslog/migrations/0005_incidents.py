"""An incident reopens and relapses: the phases before the present one stay with it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("opslog", "0004_spans"),
    ]

    operations = [
        # (Few rows: nobody waits for these indexes.)
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "-- squawk-ignore require-concurrent-index-deletion\n"
                    "DROP INDEX incident_entries_once;"
                )
            ],
            state_operations=[
                migrations.RemoveConstraint("incidententry", "incident_entries_once")
            ],
        ),
        migrations.AddField(
            model_name="incident",
            name="earlier",
            field=models.JSONField(
                db_default=models.Value([], models.JSONField()),
                default=list,
                help_text="The phases before the present one, oldest first.",
            ),
        ),
        migrations.AddField(
            model_name="incident",
            name="reopened_at",
            field=models.DateTimeField(help_text="The last time.", null=True),
        ),
        migrations.AddField(
            model_name="incident",
            name="reopenings",
            field=models.SmallIntegerField(
                db_default=0,
                default=0,
                help_text="How many times it was active again after it was closed.",
            ),
        ),
        migrations.AlterField(
            model_name="incidententry",
            name="kind",
            field=models.TextField(
                choices=[
                    ("detected", "detected"),
                    ("verdict", "triage"),
                    ("owner", "owner"),
                    ("severity", "severity"),
                    ("cause", "cause"),
                    ("note", "note"),
                    ("mitigation", "mitigation"),
                    ("escalation", "escalation"),
                    ("stabilised", "stabilised"),
                    ("relapse", "relapse"),
                    ("reopened", "reopened"),
                    ("review", "review"),
                    ("follow_up", "follow-up"),
                ]
            ),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "-- squawk-ignore require-concurrent-index-creation\n"
                    "CREATE UNIQUE INDEX incident_entries_detected_once"
                    " ON incident_entries (incident_id, kind) WHERE kind = 'detected';"
                )
            ],
            state_operations=[
                migrations.AddConstraint(
                    "incidententry",
                    models.UniqueConstraint(
                        condition=models.Q(("kind", "detected")),
                        fields=("incident", "kind"),
                        name="incident_entries_detected_once",
                    ),
                )
            ],
        ),
    ]
