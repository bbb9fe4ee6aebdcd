"""Automatic mitigation is off for every lever, as shipped."""

from typing import Any

from django.db import migrations

LEVERS = (
    "undo_rate",
    "auto_save",
    "context_messages",
    "tool_retries",
    "tool_breaker",
    "substitute_model",
    "throttle",
    "cost_cap",
    "feature_off",
)


def ship(apps: Any, schema_editor: Any) -> None:
    rows = apps.get_model("budgets", "AutomaticMitigation").objects.using(
        schema_editor.connection.alias
    )
    for lever in LEVERS:
        rows.create(lever=lever)


class Migration(migrations.Migration):
    dependencies = [("budgets", "0007_mitigations")]

    operations = [migrations.RunPython(ship, migrations.RunPython.noop, elidable=False)]
