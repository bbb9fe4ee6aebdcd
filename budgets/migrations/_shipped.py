"""The rows that Tollgate is shipped with: limits, breakers, approval rules, groups with permissions,
levers, the registry of hotspots, contacts, alert rules.

Typed ranges of the registry are a place to begin, not a promise: each entry is stale until somebody
confirms it. The levers of its hotspots name the control that does them.
"""

from datetime import date
from decimal import Decimal
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
    # Raising a shared limit that is not in dollars.
    ("shared_limit", "1", None, ["director"]),
]
# What one person, or one token, may do alone: break-glass of one use and of all in force, and the
# requests of a token.
APPROVAL_LIMITS = {
    "break_glass_usd_per_day": "50.00",
    "break_glass_runs_per_day": "5000",
    "break_glass_max_concurrent_runs": "10",
    "all_glass_usd_per_day": "100.00",
    "all_glass_runs_per_day": "10000",
    "all_glass_max_concurrent_runs": "20",
    "token_open_requests": "10",
    "token_requests_a_day": "40",
}
ASK = ["budgets.ask_changerequest"]
DECIDE = ["budgets.decide_changerequest"]
BREAK_GLASS = ["budgets.break_glass"]
STOP = ["budgets.stop_identity", "budgets.switch_circuitbreaker"]
STOP_ALL = ["budgets.stop_everything"]
CORRECT = ["budgets.correct_cost"]
# Lowering, and what limits nothing; a raise is asked for.
LIMIT = [
    "budgets.add_budget",
    "budgets.change_budget",
    "budgets.add_featurecontrol",
    "budgets.change_featurecontrol",
    "budgets.change_approvallimit",
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
    "workorders.change_tokenpolicy",
    "budgets.change_approvalrule",
    "budgets.change_preflightrule",
    "budgets.change_alertrule",
    "budgets.change_costrule",
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
        + CORRECT
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


def ship_limits_and_groups(apps: Any, schema_editor: Any) -> None:
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
    apps.get_model("budgets", "CostRule").objects.using(using).create()
    apps.get_model("budgets", "AccountRule").objects.using(using).create(
        waiting_hours=24, reason="As shipped", by="tollgate"
    )
    for name, amount in APPROVAL_LIMITS.items():
        apps.get_model("budgets", "ApprovalLimit").objects.using(using).create(
            name=name, amount=amount
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


def ship_levers(apps: Any, schema_editor: Any) -> None:
    """Automatic mitigation is off for every lever, as shipped."""
    rows = apps.get_model("budgets", "AutomaticMitigation").objects.using(
        schema_editor.connection.alias
    )
    for lever in LEVERS:
        rows.create(lever=lever)


TYPED_AT = date(2026, 11, 26)
# name, feature, dimension, scaling, owner, $ a month from and to, $ a request from and to, why, levers
HOTSPOTS = [
    (
        "Model calls",
        "*",
        "llm_api",
        "superlinear",
        "operations",
        ("5", "500"),
        ("0.00014", "0.00155"),
        (
            "Each answer may take several rounds of tools, and every round sends the whole context again: "
            "a long conversation costs many times a short one."
        ),
        (
            "Fewer rounds of tools\nA smaller context: fewer messages, shorter results of tools\n"
            "A cheaper model, or the mock provider for a while\nA throttle for each user\n"
            "Ask back before a vague request is worked on\nStop one surface"
        ),
    ),
    (
        "Logs and telemetry",
        "",
        "logging",
        "linear",
        "operations",
        ("0", "50"),
        None,
        (
            "Grows with requests and with how much each of them writes down; most of the bill is what is "
            "taken in, not what is kept."
        ),
        (
            "A higher log level\nExport metrics less often: a longer interval\nSample traces\n"
            "Keep for a shorter time"
        ),
    ),
    (
        "Database storage",
        "",
        "storage",
        "growing",
        "administrator",
        ("5", "60"),
        None,
        "Audit rows and telemetry are kept, so it grows by itself, busy or not; backups multiply it.",
        (
            "Drop partitions that are past their time\nKeep fewer backups\nArchive to cheaper storage\n"
            "Vacuum at a quiet hour: rewriting a table takes room for a second copy, and locks it"
        ),
    ),
    (
        "Live connections",
        "",
        "compute",
        "linear",
        "operations",
        ("0", "40"),
        None,
        "Memory and messages for each person that is connected; it follows how many are there at once.",
        "Close idle connections sooner\nSend changes together\nPoll slowly where live is not needed",
    ),
    (
        "Build pipelines",
        "",
        "ci_cd",
        "stepped",
        "administrator",
        ("0", "60"),
        None,
        "Minutes of machines for each push; a further platform in the matrix is a further bill.",
        (
            "Run the long tests once a day\nCancel runs that a later push makes useless\n"
            "Cache what is downloaded\nLeave a platform out of each push"
        ),
    ),
    (
        "Tool servers (MCP)",
        "",
        "network",
        "linear",
        "operations",
        ("0", "20"),
        None,
        (
            "Traffic and time of tools that models call; their results come back into the context, which "
            "is paid a second time as tokens."
        ),
        (
            "Shorter results of tools\nFewer retries, and a breaker for a tool that fails\n"
            "A shorter timeout"
        ),
    ),
]
# dimension, owner, what belongs to it, services of AWS
DIMENSIONS = [
    (
        "llm_api",
        "operations",
        "Calls of models, as telemetry and settled runs tell of them.",
        ["Amazon Bedrock"],
    ),
    (
        "compute",
        "administrator",
        "Machines, containers, functions.",
        ["Amazon Elastic Compute Cloud - Compute", "AWS Lambda"],
    ),
    (
        "storage",
        "administrator",
        "Disks, objects, databases, backups.",
        ["Amazon Simple Storage Service", "Amazon Relational Database Service"],
    ),
    ("logging", "operations", "Logs, metrics, traces.", ["AmazonCloudWatch"]),
    (
        "network",
        "administrator",
        "Traffic, load balancers, domain names (DNS).",
        ["Amazon Route 53", "Amazon Virtual Private Cloud", "Amazon CloudFront"],
    ),
    ("ci_cd", "administrator", "Builds, tests, deliveries.", ["AWS CodeBuild", "AWS CodePipeline"]),
]
# FOCUS ServiceCategory → dimension. The others differ too much from place to place.
MAPPINGS = {
    "AI and Machine Learning": "llm_api",
    "Compute": "compute",
    "Storage": "storage",
    "Databases": "storage",
    "Management and Governance": "logging",
    "Networking": "network",
    "Developer Tools": "ci_cd",
}
# topic, position, group, name
CONTACTS = [
    ("caps", 1, "operations", "Operations"),
    ("large_caps", 1, "director", "Directors"),
    ("large_caps", 2, "finance", "Finance"),
    ("large_caps", 3, "vp", "Vice presidents"),
    ("breach", 1, "operations", "Operations"),
    ("breach", 2, "director", "Directors"),
    ("breach", 3, "finance", "Finance"),
    ("abuse", 1, "operations", "Operations"),
    ("abuse", 2, "administrator", "Administrators, who revoke tokens"),
    ("platform", 1, "administrator", "Administrators"),
]


def ship_registry(apps: Any, schema_editor: Any) -> None:
    using = schema_editor.connection.alias
    groups = {group.name: group for group in apps.get_model("auth", "Group").objects.using(using)}
    Hotspot = apps.get_model("budgets", "Hotspot")
    for name, feature, dimension, scaling, owner, month, request, why, levers in HOTSPOTS:
        low, high = map(Decimal, month)
        each_low, each_high = map(Decimal, request) if request else (None, None)
        Hotspot.objects.using(using).create(
            name=name,
            feature=feature,
            dimension=dimension,
            scaling=scaling,
            scaling_note=why,
            levers=levers,
            owner=groups[owner],
            typed_month_low=low,
            typed_month_high=high,
            typed_request_low=each_low,
            typed_request_high=each_high,
            typed_at=TYPED_AT,
        )
    DimensionBudget = apps.get_model("budgets", "DimensionBudget")
    for dimension, owner, covers, services in DIMENSIONS:
        DimensionBudget.objects.using(using).create(
            dimension=dimension,
            owner=groups[owner],
            tiers=[70, 90, 100],
            covers=covers,
            aws_services=services,
        )
    ServiceMapping = apps.get_model("budgets", "ServiceMapping")
    for category, dimension in MAPPINGS.items():
        ServiceMapping.objects.using(using).create(service_category=category, dimension=dimension)
    Contact = apps.get_model("budgets", "Contact")
    for topic, position, group, name in CONTACTS:
        Contact.objects.using(using).create(
            topic=topic, position=position, group=groups[group], name=name
        )


# check, severity, over, minutes, at least
ALERT_RULES = [
    ("refusals", "low", "10", 10, 1),
    ("error_rate", "medium", "1", 60, 20),
    ("refusals_spread", "high", "10", 10, 2),
]


def ship_alert_rules(apps: Any, schema_editor: Any) -> None:
    AlertRule = apps.get_model("budgets", "AlertRule")
    for check, severity, over, minutes, at_least in ALERT_RULES:
        AlertRule.objects.using(schema_editor.connection.alias).create(
            check_name=check, severity=severity, over=over, minutes=minutes, at_least=at_least
        )


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


OPERATIONS = [
    migrations.RunPython(each, migrations.RunPython.noop, elidable=False)
    for each in (
        ship_limits_and_groups,
        ship_levers,
        ship_registry,
        ship_alert_rules,
        name_controls,
    )
]
