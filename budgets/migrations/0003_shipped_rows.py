"""The rows that Tollgate is shipped with: limits, breakers, approval rules, groups with permissions."""

from typing import Any

from django.conf import settings
from django.db import migrations

# scope, subject, window, measure, amount, warning, alerts at these shares of it in per cent
BUDGETS = [
    ("global", "", "open", "runs", "20", "5", []),
    (
        "global",
        "",
        "day",
        "usd",
        settings.TOLLGATE_DAY_LIMIT_USD,
        settings.TOLLGATE_DAY_WARNING_USD,
        [100],
    ),
    ("global", "", "rolling_hour", "usd", "10.00", None, [80, 100]),
    ("global", "", "month", "usd", None, None, [70, 90, 100]),
    ("global", "", "day", "tokens", None, None, [80, 100]),
    # The circuit breaker's: dollars committed in any 60 seconds.
    ("global", "", "rolling_minute", "usd", "5.00", "2.00", []),
    ("user", "*", "rolling_minute", "requests", "60", None, []),
    ("user", "*", "day", "tokens", "100000", None, [100]),
    ("address", "*", "minute", "requests", "600", None, []),
    ("model_tier", "largest", "open", "runs", "1", None, []),
    ("model_tier", "middle", "open", "runs", "2", None, []),
    ("work_order", "*", "day", "usd", None, None, [80, 100]),
    ("work_order", "*", "day", "requests", None, None, [80, 100]),
]
# check, warning over, error over, people are told
PREFLIGHT = [
    ("tasks", "10", "50", False),
    ("test_data", "0", None, True),
    ("estimated_cost", "20.00", "50.00", True),
    ("budget_left", None, "0", True),
    ("limits", "0", None, False),
    ("environment", None, "0", True),
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
STOP = ["budgets.stop_identity", "budgets.switch_circuitbreaker"]
STOP_ALL = ["budgets.stop_everything"]
# Lowering, and what limits nothing; a raise is asked for.
LIMIT = [
    "budgets.add_budget",
    "budgets.change_budget",
    "budgets.add_featurecontrol",
    "budgets.change_featurecontrol",
]
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
    "budgets.change_preflightrule",
    "budgets.change_alertrule",
    "budgets.change_circuitbreaker",
    "opslog.add_modelprice",
    "opslog.change_modelprice",
    "opslog.retry_outboxmessage",
    "auth.add_user",
    "auth.change_user",
]
HANDLE = ["opslog.handle_incident"]
TRIAGE = ["opslog.run_triage", "budgets.end_timedmitigation"]
REVIEW = ["opslog.review_incident"]
VIEWS = ["opslog.add_savedview"]
AUTOMATE = ["budgets.change_automaticmitigation"]
HOTSPOTS = ["budgets.add_hotspot", "budgets.change_hotspot"]
CONTACTS = ["budgets.add_contact", "budgets.change_contact"]
MARK = ["opslog.add_changemarker"]
BILLS = [
    "budgets.change_dimensionbudget",
    "budgets.add_servicemapping",
    "budgets.change_servicemapping",
]
MONTH = ["budgets.change_monthlyreview"]
SIGN = ["budgets.sign_monthlyreview"]
# Everybody reads everything of ours; the auditor does nothing else.
GROUPS: dict[str, list[str]] = {
    "operations": (
        ASK
        + DECIDE
        + SUSPEND
        + REGISTER
        + BREAK_GLASS
        + STOP
        + LIMIT
        + HANDLE
        + TRIAGE
        + REVIEW
        + VIEWS
        + HOTSPOTS
        + CONTACTS
        + MARK
        + MONTH
    ),
    "director": (
        ASK
        + DECIDE
        + SUSPEND
        + BREAK_GLASS
        + STOP
        + STOP_ALL
        + LIMIT
        + HANDLE
        + TRIAGE
        + REVIEW
        + AUTOMATE
        + VIEWS
        + HOTSPOTS
        + MONTH
        + SIGN
    ),
    "finance": ASK + DECIDE + BILLS + MONTH + SIGN + VIEWS,
    "vp": ASK + DECIDE + SUSPEND + STOP + STOP_ALL + HANDLE + MONTH + SIGN + VIEWS,
    "auditor": [],
    "administrator": (
        ASK
        + SUSPEND
        + REGISTER
        + ADMINISTER
        + STOP
        + LIMIT
        + HANDLE
        + TRIAGE
        + AUTOMATE
        + VIEWS
        + HOTSPOTS
        + CONTACTS
        + MARK
        + BILLS
    ),
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

    Budget = apps.get_model("budgets", "Budget")
    for scope, subject, window, measure, amount, warning, percents in BUDGETS:
        Budget.objects.using(using).create(
            scope=scope,
            subject=subject,
            window=window,
            measure=measure,
            amount=amount,
            warning_amount=warning,
            alert_percents=percents,
        )
    Breaker = apps.get_model("budgets", "CircuitBreaker")
    Breaker.objects.using(using).create(scope="global", subject="")
    Breaker.objects.using(using).create(
        scope="work_order", subject="*", recent_runs=10, error_percent=80
    )
    PreflightRule = apps.get_model("budgets", "PreflightRule")
    for check, warning, error, alert in PREFLIGHT:
        PreflightRule.objects.using(using).create(
            check_name=check, warning_over=warning, error_over=error, alert=alert
        )
    apps.get_model("budgets", "Deployment").objects.using(using).create(
        environment=settings.TOLLGATE_ENVIRONMENT
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
