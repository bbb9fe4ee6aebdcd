"""Who reads events reads messages; administrators have them sent again.

For a database whose groups were made before there were messages. On a fresh one the migration that
makes the groups gives them these too, whichever of the two comes first.
"""

from typing import Any

from django.db import migrations


def grant(apps: Any, schema_editor: Any) -> None:
    using = schema_editor.connection.alias
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    ContentType = apps.get_model("contenttypes", "ContentType")
    messages, _ = ContentType.objects.using(using).get_or_create(
        app_label="opslog", model="outboxmessage"
    )
    view, retry = (
        Permission.objects.using(using).get_or_create(
            content_type=messages, codename=codename, defaults={"name": name}
        )[0]
        for codename, name in (
            ("view_outboxmessage", "Can view message"),
            ("retry_outboxmessage", "Can have a message sent again"),
        )
    )
    for group in Group.objects.using(using).filter(
        permissions__codename="view_operationsevent",
        permissions__content_type__app_label="opslog",
    ):
        group.permissions.add(view)
    for group in Group.objects.using(using).filter(name="administrator"):
        group.permissions.add(retry)


class Migration(migrations.Migration):
    dependencies = [
        ("opslog", "0003_outbox"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop, elidable=False)]
