from typing import Any

from django.db import migrations


def ship(apps: Any, schema_editor: Any) -> None:
    """Who signs for raising a shared limit that is not in dollars: a director."""
    using = schema_editor.connection.alias
    rule = (
        apps.get_model("budgets", "ApprovalRule")
        .objects.using(using)
        .create(measure="shared_limit", minimum=1, maximum=None)
    )
    director = apps.get_model("auth", "Group").objects.using(using).get(name="director")
    apps.get_model("budgets", "ApprovalSlot").objects.using(using).create(
        rule=rule, group=director, count=1
    )


class Migration(migrations.Migration):
    dependencies = [("budgets", "0005_shared_limit_measures")]

    operations = [migrations.RunPython(ship, migrations.RunPython.noop, elidable=False)]
