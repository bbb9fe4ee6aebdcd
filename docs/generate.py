"""The pages of docs/reference/ that are made from the code. `make reference` writes them again, and
`tests/docs/test_reference.py` fails where one is not what it would be made as."""

import ast
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandParser
from prometheus_client import REGISTRY, Counter, Metric
from prometheus_client.metrics import MetricWrapperBase

from config.checks import IDS
from config.metrics import NAMES, FromDatabase, Shares
from opslog.management.base import EXITS, Documented

ROOT = Path(__file__).resolve().parent.parent
OURS = ("opslog", "workorders", "budgets")
MADE = "<!-- Made by `make reference`: change the code, not this page. -->\n"


def page(title: str, intro: str, *parts: str) -> str:
    return "\n".join([f"# {title}\n", MADE, intro + "\n", *parts]).rstrip() + "\n"


def table(*rows: tuple[str, ...]) -> str:
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    escaped = ([cell.replace("|", r"\|") for cell in row] for row in lines)
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


def our_commands() -> dict[str, Documented]:
    names = {name: app for name, app in get_commands().items() if app in OURS}
    return {name: load_command_class(app, name) for name, app in sorted(names.items())}  # type: ignore[misc]


def commands() -> str:
    return page(
        "Commands",
        "`manage.py` stands for `.venv/bin/python manage.py`. Exit codes, where a command has no "
        "others: " + ", ".join(f"{code} {text}" for code, text in EXITS.items()) + ". Django's own "
        "options (`--settings`, `--verbosity`, …) are left out. With an invalid setting no command "
        "runs, except `check` and `help`.",
        *(command_section(name, command) for name, command in our_commands().items()),
    )


def command_section(name: str, command: Documented) -> str:
    parser = command.create_parser("manage.py", name)
    lines = [f"## {name}\n", f"{command.help}\n", "```sh", *command.examples, "```\n"]
    lines += [f"- {option}" for option in options_of(parser)]
    if command.exits:
        codes = ", ".join(f"{code} {text}" for code, text in command.exit_codes().items())
        lines += [*([""] if lines[-1].startswith("- ") else []), f"Exit codes: {codes}."]
    return "\n".join([*lines, ""])


def options_of(parser: CommandParser) -> Iterator[str]:
    djangos = {"-h", "--version", "-v", "--settings", "--pythonpath", "--traceback", "--no-color"}
    djangos |= {"--force-color", "--skip-checks"}
    for action in parser._actions:
        if djangos & set(action.option_strings):
            continue
        name = str(action.metavar or action.dest)
        if action.option_strings:
            value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
            name = action.option_strings[-1] + value
        choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
        text = " ".join(str(action.help or "").replace("%(default)s", str(action.default)).split())
        yield f"`{name}`{choices}" + (f": {text}" if text else "")


def permissions() -> str:
    """Needs a migrated database."""
    names = [str(name) for name in Group.objects.order_by("pk").values_list("name", flat=True)]
    have = {name: set(Permission.objects.filter(group__name=name)) for name in names}
    everybody = set.intersection(*have.values())
    rows = sorted(
        (
            f"`{each.content_type.app_label}.{each.codename}`",
            str(each.name).removeprefix("Can "),
            *("✓" if each in have[name] else "" for name in names),
        )
        for each in set.union(*have.values()) - everybody
    )
    return page(
        "Permissions by group",
        "Groups and what they may do come from migrations. Members of every group may read "
        f"everything but accounts ({len(everybody)} permissions). Who must sign a cap change "
        "is in [approvals.md](../approvals.md#who-must-sign), what takes two administrators in "
        "[accounts.md](../accounts.md). A superuser has every permission, and no vote on cap "
        "changes by being one.",
        table(("permission", "may", *names), *rows),
    )


def checks() -> str:
    settings = [(f"`{number}`", "error", f"`{name}` is invalid") for name, number in IDS.items()]
    return page(
        "System checks",
        "`manage.py check` runs those of settings; `--database default` adds those of the "
        "database, and `--deploy` those of production. An error stops every command and every "
        "process. A number keeps its meaning.",
        table(("id", "level", "what"), *sorted(settings)),
        table(("id", "level", "what"), *other_checks()),
    )


def other_checks() -> Iterator[tuple[str, str, str]]:
    checks_found = []
    for app in ("config", *OURS):
        for file in sorted((ROOT / app).glob("checks.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.FunctionDef):
                    checks_found += [
                        (number, level, message_of(node, text))
                        for number, level, text in checks_in(node)
                    ]
    rows = {number: (f"`{number}`", level, text) for number, level, text in checks_found}
    return iter(sorted(rows.values()))


def checks_in(function: ast.FunctionDef) -> Iterator[tuple[str, str, ast.expr]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            number = next((each.value for each in node.keywords if each.arg == "id"), None)
            if isinstance(number, ast.Constant):
                yield str(number.value), node.func.id.lower(), node.args[0]


def message_of(function: ast.FunctionDef, text: ast.expr) -> str:
    """The message; what is computed in it is an ellipsis, and one that is all computed is what the
    check is there for."""
    if isinstance(text, ast.Constant):
        return str(text.value)
    if isinstance(text, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in text.values
        )
    return " ".join((ast.get_docstring(function) or "").split("\n\n")[0].split())


def metrics() -> str:
    """Needs a migrated database."""
    passed = Counter("tollgate_preflights_total", "One passed.", ["passed"], registry=None)
    passed.labels("true").inc()
    rows = {
        *((f"`{name}`", "gauge", "–", text) for name, text in NAMES),  # some may be without a value
        *(row_of(each) for each in set(REGISTRY._collector_to_names) if is_ours(each)),
        *(row_of(each) for each in (*FromDatabase().collect(), *Shares(passed).collect())),
    }
    return page(
        "Metrics",
        "At `/metrics`, for Prometheus. Counters and histograms are added up over the web "
        "processes; gauges are read from the database at each scrape. How to scrape, and alerts: "
        "[monitoring.md](../how-to/monitoring.md).",
        table(("metric", "type", "labels", "what it is"), *sorted(rows)),
    )


def is_ours(collector: Any) -> bool:
    return isinstance(collector, MetricWrapperBase) and collector._name.startswith("tollgate_")


def row_of(metric: Any) -> tuple[str, str, str, str]:
    family = metric if isinstance(metric, Metric) else next(iter(metric.describe()))
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ", ".join(metric._labelnames) or "–"
    return f"`{name}`", family.type, labels, family.documentation


EVENTS_INTRO = (
    "Kinds in `operations_events.kind`, `/ops-logs` and `GET /api/operations-events`. A kind is a "
    "contract: it is never renamed. The level colors its badge."
)
IN_ANY = """\
## In events of several kinds

- Refusals of one token and kind are written together: `count`, `firstAt`, `lastAt`, `agents` `{name: times}`, and where a cap refused `asks`: each with `at`, `agentName`, `askKey`, `estimatedUsd`, `runsToday`, `usdToday`; the rest is that of the first one.
- `soloOperator`, `waitedSince`, `secondFactorAt`: a signature that stood for two ([approvals.md](../approvals.md#one-person-alone)).
"""  # noqa: E501  (one paragraph each)


def events() -> str:
    heads = {"budgets": "Limits and money", "workorders": "Work", "opslog": "The log, people"}
    parts = []
    for floor, head in heads.items():
        kinds = import_module(f"{floor}.event_kinds").KINDS
        rows = [(f"`{each.code}`", each.level.name.lower(), each.doc, each.meta) for each in kinds]
        parts.append(f"## {head}\n\n" + table(("kind", "level", "when", "in `meta`"), *rows))
    return page("Events", EVENTS_INTRO, *parts, IN_ANY)


PAGES: dict[str, Callable[[], str]] = {
    "events.md": events,
    "commands.md": commands,
    "permissions.md": permissions,
    "checks.md": checks,
    "metrics.md": metrics,
}


def tables() -> set[str]:
    """The names of all tables of the product."""
    return {model._meta.db_table for app in OURS for model in apps.get_app_config(app).get_models()}
