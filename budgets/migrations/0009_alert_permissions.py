from typing import Any

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations

GROUPS = {
    "operations": ("budgets.add_alertrule", "budgets.change_alertrule"),
    "administrator": ("budgets.add_alertrule", "opslog.change_messagepolicy"),
}
READ = ("opslog.view_messagepolicy",)
READERS = ("operations", "director", "finance", "vp", "auditor", "administrator")


def grant(apps: Any, schema_editor: Any) -> None:
    from django.apps import apps as live_apps
    from django.contrib.auth.management import create_permissions
    from django.contrib.contenttypes.management import create_contenttypes

    using = schema_editor.connection.alias
    for label in ("opslog", "budgets"):
        # Permissions are otherwise made only after all migrations.
        config = live_apps.get_app_config(label)
        create_contenttypes(config, verbosity=0, using=using)
        create_permissions(config, verbosity=0, using=using)
    groups = apps.get_model("auth", "Group").objects.using(using)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    for name in READERS:
        group = groups.filter(name=name).first()
        if group is None:  # an installation may have its own
            continue
        for label in (*READ, *GROUPS.get(name, ())):
            app_label, codename = label.split(".")
            group.permissions.add(
                permissions.get(content_type__app_label=app_label, codename=codename)
            )


class Migration(migrations.Migration):
    dependencies = [("budgets", "0008_alerts"), ("opslog", "0009_message_policy")]

    operations = [
        ValidateConstraint("alertrule", "alert_rules_limit"),
        ValidateConstraint("alertrule", "alert_rules_feature"),
        migrations.RunPython(grant, migrations.RunPython.noop, elidable=False),
    ]
