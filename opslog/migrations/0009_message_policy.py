from typing import Any

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


def ship(apps: Any, schema_editor: Any) -> None:
    policy = apps.get_model("opslog", "MessagePolicy")
    policy.objects.using(schema_editor.connection.alias).get_or_create(pk=1)


class Migration(migrations.Migration):
    dependencies = [("opslog", "0008_messages")]

    operations = [
        ValidateConstraint("outboxmessage", "outbox_messages_states"),
        migrations.RunPython(ship, migrations.RunPython.noop, elidable=False),
    ]
