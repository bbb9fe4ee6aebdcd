"""Entries to begin with: hotspots, monthly budgets without an amount, mappings, contacts.

Typed ranges are a place to begin, not a promise: each entry is stale until somebody confirms it.
"""

from datetime import date
from decimal import Decimal
from typing import Any

from django.db import migrations

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


def ship(apps: Any, schema_editor: Any) -> None:
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


class Migration(migrations.Migration):
    dependencies = [("budgets", "0012_reviews_guarded")]

    operations = [migrations.RunPython(ship, migrations.RunPython.noop, elidable=False)]
