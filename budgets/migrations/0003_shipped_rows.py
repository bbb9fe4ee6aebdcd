"""The rows that Tollgate is shipped with: limits, approval rules, groups with their permissions."""

from typing import Any

from django.db import migrations

LIMITS = [
    ("global", "open", "runs", "20"),
    ("global", "day", "usd", "50.00"),
    ("address", "minute", "runs", "600"),
]
RULES = [
    ("usd_per_day", "0.01", "9.99", ["operations"]),
    ("usd_per_day", "10.00", "50.00", ["director"]),
    ("usd_per_day", "50.01", None, ["finance", "vp"]),
    ("runs_per_day", "1", "999", ["operations"]),
    ("runs_per_day", "1000", None, ["director"]),
    ("max_concurrent_runs", "1", None, ["director"]),
]
ASK = ["budgets.ask_changerequest"]
DECIDE = ["budgets.decide_changerequest"]
BREAK_GLASS = ["budgets.break_glass"]
SUSPEND = ["workorders.suspend_workorder", "workorders.revoke_servicetoken"]
REGISTER = [
    "workorders.add_workorder",
    "workorders.change_workorder",
    "workorders.add_agent",
    "workorders.change_agent",
]
ADMINISTER = [
    "workorders.add_servicetoken",
    "budgets.change_approvalrule",
    "opslog.add_modelprice",
    "opslog.change_modelprice",
    "opslog.retry_outboxmessage",
    "auth.add_user",
    "auth.change_user",
]
# Everybody reads everything of ours; the auditor does nothing else.
GROUPS: dict[str, list[str]] = {
    "operations": ASK + DECIDE + SUSPEND + REGISTER + BREAK_GLASS,
    "director": ASK + DECIDE + SUSPEND + BREAK_GLASS,
    "finance": ASK + DECIDE,
    "vp": ASK + DECIDE + SUSPEND,
    "auditor": [],
    "administrator": ASK + SUSPEND + REGISTER + ADMINISTER,
}


def ship(apps: Any, schema_editor: Any) -> None:
    from django.apps import apps as live_apps
    from django.contrib.auth.management import create_permissions
    from django.contrib.contenttypes.management import create_contenttypes

    using = schema_editor.connection.alias
    for label in ("auth", "opslog", "workorders", "budgets"):
        # Permissions are otherwise made only after all migrations.
        config = live_apps.get_app_config(label)
        create_contenttypes(config, verbosity=0, using=using)
        create_permissions(config, verbosity=0, using=using)

    Limit = apps.get_model("budgets", "Limit")
    for scope, window, measure, amount in LIMITS:
        Limit.objects.using(using).create(
            scope=scope, window=window, measure=measure, amount=amount
        )
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    readable = Permission.objects.using(using).filter(
        content_type__app_label__in=("opslog", "workorders", "budgets"),
        codename__startswith="view_",
    )
    groups = {}
    for name, wanted in GROUPS.items():
        group = groups[name] = Group.objects.using(using).create(name=name)
        permissions = list(readable)
        for label in wanted:
            app_label, codename = label.split(".")
            permissions.append(
                Permission.objects.using(using).get(
                    content_type__app_label=app_label, codename=codename
                )
            )
        if name == "administrator":
            permissions += Permission.objects.using(using).filter(
                content_type__app_label="auth", codename__in=("view_user", "view_group")
            )
        group.permissions.set(permissions)
    Rule = apps.get_model("budgets", "ApprovalRule")
    Slot = apps.get_model("budgets", "ApprovalSlot")
    for measure, minimum, maximum, slots in RULES:
        rule = Rule.objects.using(using).create(measure=measure, minimum=minimum, maximum=maximum)
        for name in slots:
            Slot.objects.using(using).create(rule=rule, group=groups[name], count=1)


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0002_routines"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(ship, migrations.RunPython.noop, elidable=False)]
