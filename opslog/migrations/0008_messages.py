"""Messages have a place in an order, a severity and a thread; how each person wants them, and the
ceiling of an hour."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

from opslog.migrations._statements import of_statement


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("opslog", "0007_figures_data"),
    ]

    operations = [
        migrations.CreateModel(
            name="MessagePolicy",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                (
                    "per_person_hour",
                    models.IntegerField(
                        default=30,
                        help_text="What is over it becomes one digest at the end of the hour. What needs somebody's signature is always sent.",
                        verbose_name="messages per person and hour",
                    ),
                ),
                (
                    "refusals_minutes",
                    models.IntegerField(
                        default=15,
                        help_text="For each work order, or shared limit, at most one report in this time.",
                        verbose_name="minutes between reports of refusals",
                    ),
                ),
            ],
            options={
                "verbose_name": "message policy",
                "verbose_name_plural": "message policy",
                "db_table": "message_policy",
            },
        ),
        migrations.CreateModel(
            name="NotificationPreference",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "channel",
                    models.TextField(
                        default="email",
                        help_text="`email`, `none`, or the fingerprint of a channel's address.",
                    ),
                ),
                (
                    "least_severity",
                    models.TextField(
                        choices=[
                            ("info", "info"),
                            ("warning", "warning"),
                            ("error", "error"),
                            ("critical", "critical"),
                        ],
                        default="info",
                        verbose_name="minimum severity",
                    ),
                ),
                ("quiet_from", models.TimeField(blank=True, null=True)),
                ("quiet_until", models.TimeField(blank=True, null=True)),
                ("time_zone", models.TextField(default="UTC")),
                (
                    "changed_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "verbose_name": "notification preference",
                "db_table": "notification_preferences",
            },
        ),
        # (Its successor knows more states, and takes its place below.)
        of_statement(
            "-- squawk-ignore ban-drop-constraint\n"
            "ALTER TABLE outbox_messages DROP CONSTRAINT outbox_messages_known_states;",
            migrations.RemoveConstraint("outboxmessage", "outbox_messages_known_states"),
        ),
        # Messages wait meanwhile, and nobody waits for them: no need to go about it concurrently.
        of_statement(
            "-- squawk-ignore require-concurrent-index-deletion\nDROP INDEX outbox_messages_due;",
            migrations.RemoveIndex("outboxmessage", "outbox_messages_due"),
        ),
        migrations.AddField(
            model_name="heartbeat",
            name="silent_since",
            field=models.DateTimeField(
                help_text="People have been notified that it is silent (`opslog.liveness`).",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="outboxmessage",
            name="line",
            field=models.TextField(
                db_default="", default="", help_text="All of it in one line, for a digest."
            ),
        ),
        migrations.AddField(
            model_name="outboxmessage",
            name="mandatory",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Needs the recipient's signature, or is about their account: sent by mail at once, whatever they prefer.",
            ),
        ),
        migrations.AddField(
            model_name="outboxmessage",
            name="merge_key",
            field=models.TextField(
                db_default="",
                default="",
                help_text="Messages with the same key are merged for a while.",
            ),
        ),
        # now() is evaluated once: no rewrite.
        of_statement(
            "-- squawk-ignore adding-field-with-default\n"
            "ALTER TABLE outbox_messages ADD COLUMN ready_at timestamptz NOT NULL "
            "DEFAULT statement_timestamp();",
            migrations.AddField(
                model_name="outboxmessage",
                name="ready_at",
                field=models.DateTimeField(
                    db_default=django.db.models.functions.datetime.Now(),
                    help_text="Its place in the order.",
                ),
            ),
        ),
        migrations.AddField(
            model_name="outboxmessage",
            name="severity",
            field=models.TextField(
                choices=[
                    ("info", "info"),
                    ("warning", "warning"),
                    ("error", "error"),
                    ("critical", "critical"),
                ],
                db_default="info",
                default="info",
            ),
        ),
        migrations.AddField(
            model_name="outboxmessage",
            name="thread",
            field=models.TextField(
                db_default="", default="", help_text="Mails of one thread are shown together."
            ),
        ),
        migrations.AlterField(
            model_name="outboxmessage",
            name="due_at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                help_text="The next attempt is not before.",
            ),
        ),
        migrations.AlterField(
            model_name="outboxmessage",
            name="state",
            field=models.TextField(
                choices=[
                    ("waiting", "waiting"),
                    ("sent", "sent"),
                    ("unconfirmed", "sent, not confirmed"),
                    ("digested", "in a digest"),
                    ("skipped", "skipped"),
                    ("failed", "failed"),
                ],
                default="waiting",
            ),
        ),
        of_statement(
            "-- squawk-ignore require-concurrent-index-creation\n"
            "CREATE INDEX outbox_messages_in_order ON outbox_messages "
            "(recipient_type, recipient, ready_at, id) WHERE state = 'waiting';",
            migrations.AddIndex(
                "outboxmessage",
                models.Index(
                    models.F("recipient_type"),
                    models.F("recipient"),
                    models.F("ready_at"),
                    models.F("id"),
                    condition=models.Q(("state", "waiting")),
                    name="outbox_messages_in_order",
                ),
            ),
        ),
        of_statement(
            "-- squawk-ignore require-concurrent-index-creation\n"
            "CREATE INDEX outbox_messages_merged ON outbox_messages "
            "(merge_key, recipient, ready_at) WHERE NOT (merge_key = '');",
            migrations.AddIndex(
                "outboxmessage",
                models.Index(
                    condition=models.Q(("merge_key", ""), _negated=True),
                    fields=["merge_key", "recipient", "ready_at"],
                    name="outbox_messages_merged",
                ),
            ),
        ),
        AddConstraintNotValid(
            model_name="outboxmessage",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        ("waiting", "sent", "unconfirmed", "digested", "skipped", "failed"),
                    ),
                    ("recipient_type__in", ("person", "channel", "address")),
                    ("severity__in", ("info", "warning", "error", "critical")),
                    ("attempts__gte", 0),
                ),
                name="outbox_messages_states",
            ),
        ),
        migrations.AddConstraint(
            model_name="messagepolicy",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("id", 1),
                    ("per_person_hour__range", (1, 1000)),
                    ("refusals_minutes__range", (15, 1440)),
                ),
                name="message_policy_sane",
            ),
        ),
        migrations.AddConstraint(
            model_name="notificationpreference",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("quiet_from", None), ("quiet_until", None)),
                    models.Q(
                        ("quiet_from__isnull", False),
                        ("quiet_until__isnull", False),
                        models.Q(("quiet_from", models.F("quiet_until")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="notification_preferences_quiet_hours",
            ),
        ),
        migrations.AddConstraint(
            model_name="notificationpreference",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("least_severity__in", ("info", "warning", "error", "critical")),
                    models.Q(("channel", ""), _negated=True),
                    models.Q(("time_zone", ""), _negated=True),
                ),
                name="notification_preferences_known",
            ),
        ),
    ]
