"""The levers of the shipped hotspots name the control that does them; lines that people wrote
stay as they are."""

from typing import Any

from django.db import migrations

FEATURE, LIMIT, SURFACE = " | feature", " | limit", " | surface"
# The line as it was shipped → what it leads to. What is not here is done outside Tollgate.
CONTROLS = {
    "Fewer rounds of tools": FEATURE,
    "A smaller context: fewer messages, shorter results of tools": FEATURE,
    "A cheaper model, or the mock provider for a while": FEATURE,
    "A throttle for each user": FEATURE,
    "Ask back before a vague request is worked on": FEATURE,
    "Stop one surface": SURFACE,
    "Send changes together": FEATURE,
    "Shorter results of tools": FEATURE,
    "Fewer retries, and a breaker for a tool that fails": FEATURE,
    "A shorter timeout": FEATURE,
}
# Of the bills that Tollgate does not count itself.
OTHERS = ("logging", "storage", "compute", "ci_cd", "network")
HELD = f"Refuse what would spend more on it: a limit{LIMIT}"
SHIPPED = (
    "Model calls",
    "Logs and telemetry",
    "Database storage",
    "Live connections",
    "Build pipelines",
    "Tool servers (MCP)",
)


def name_controls(apps: Any, schema_editor: Any) -> None:
    using = schema_editor.connection.alias
    hotspots = apps.get_model("budgets", "Hotspot").objects.using(using)
    for hotspot in hotspots.filter(name__in=SHIPPED):
        lines = [line + CONTROLS.get(line, "") for line in hotspot.levers.splitlines()]
        if hotspot.dimension in OTHERS:
            lines.append(HELD)
        hotspots.filter(pk=hotspot.pk).update(levers="\n".join(lines))


class Migration(migrations.Migration):
    dependencies = [("budgets", "0015_shipped_alert_rules")]

    operations = [migrations.RunPython(name_controls, migrations.RunPython.noop, elidable=False)]
