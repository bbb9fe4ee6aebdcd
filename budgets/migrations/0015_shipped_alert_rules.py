"""The alert rules that Tollgate is shipped with."""

from typing import Any

from django.db import migrations

# check, severity, over, minutes, at least
RULES = [
    ("refusals", "low", "10", 10, 1),
    ("error_rate", "medium", "1", 60, 20),
    ("refusals_spread", "high", "10", 10, 2),
]


def ship(apps: Any, schema_editor: Any) -> None:
    AlertRule = apps.get_model("budgets", "AlertRule")
    for check, severity, over, minutes, at_least in RULES:
        AlertRule.objects.using(schema_editor.connection.alias).create(
            check_name=check, severity=severity, over=over, minutes=minutes, at_least=at_least
        )


class Migration(migrations.Migration):
    dependencies = [("budgets", "0014_alert_rules")]

    operations = [migrations.RunPython(ship, migrations.RunPython.noop)]
