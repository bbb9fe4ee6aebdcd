"""Who reads which cost of a reported call counts, and who changes it."""

from typing import Any

from django.db import migrations

READ, CHANGE = "view_costpreference", "change_costpreference"
READERS = ("operations", "director", "finance", "vp", "auditor", "administrator")


def grant(apps: Any, schema_editor: Any) -> None:
    from django.apps import apps as live_apps
    from django.contrib.auth.management import create_permissions
    from django.contrib.contenttypes.management import create_contenttypes

    using = schema_editor.connection.alias
    # Permissions are otherwise made only after all migrations.
    config = live_apps.get_app_config("opslog")
    create_contenttypes(config, verbosity=0, using=using)
    create_permissions(config, verbosity=0, using=using)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    for group in apps.get_model("auth", "Group").objects.using(using).filter(name__in=READERS):
        wanted = [READ, CHANGE] if group.name == "administrator" else [READ]
        group.permissions.add(
            *permissions.filter(content_type__app_label="opslog", codename__in=wanted)
        )


class Migration(migrations.Migration):
    dependencies = [("budgets", "0001_initial"), ("opslog", "0003_usage_rows")]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop, elidable=False)]
