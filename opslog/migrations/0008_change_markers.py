import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("opslog", "0007_telemetry_routines"),
    ]

    operations = [
        migrations.CreateModel(
            name="ChangeMarker",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("deploy", "deploy"),
                            ("prompt_template", "prompt template"),
                            ("model_version", "model version"),
                            ("ux_change", "UX change"),
                            ("campaign", "campaign"),
                            ("other", "other"),
                        ]
                    ),
                ),
                ("happened_at", models.DateTimeField(help_text="When it took effect.")),
                ("what", models.TextField()),
                (
                    "feature",
                    models.TextField(blank=True, db_default="", help_text="Empty: all features."),
                ),
                (
                    "key",
                    models.TextField(
                        editable=False,
                        help_text="Told by a program that may tell again.",
                        null=True,
                        unique=True,
                    ),
                ),
                ("recorded_by", models.TextField(editable=False)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "verbose_name": "change",
                "db_table": "change_markers",
                "ordering": ("-happened_at", "-id"),
                "indexes": [models.Index(models.F("happened_at"), name="change_markers_happened")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "kind__in",
                                (
                                    "deploy",
                                    "prompt_template",
                                    "model_version",
                                    "ux_change",
                                    "campaign",
                                    "other",
                                ),
                            )
                        ),
                        name="change_markers_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("what", ""), _negated=True), name="change_markers_what"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("recorded_by", ""), _negated=True),
                        name="change_markers_recorded_by",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("key", ""), _negated=True), name="change_markers_key"
                    ),
                ],
            },
        ),
    ]
