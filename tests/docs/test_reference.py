"""What docs/reference/ lists is what there is. `make reference` writes the pages that are made."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management.base import BaseCommand

from budgets.models import AccountChange, Alert, ChangeRequest
from config.environment import GROUPS
from config.run.children import BASE_DIR
from config.schedules import ON_DEMAND, SCHEDULES
from docs import generate
from opslog.database import roles
from opslog.events import registry

DOCS = BASE_DIR / "docs"
REFERENCE = DOCS / "reference"
COMMANDS = generate.our_commands()


@pytest.mark.parametrize("name", generate.PAGES)
def test_the_page_is_as_it_would_be_made(db: None, name: str) -> None:
    made, file = generate.PAGES[name](), REFERENCE / name
    if os.environ.get("WRITE_REFERENCE"):
        file.write_text(made)
    assert file.read_text() == made, "run `make reference`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_is_understood(name: str) -> None:
    command: BaseCommand = COMMANDS[name]
    helped = command.create_parser("manage.py", name).format_help()
    assert "exit codes:" in helped
    assert COMMANDS[name].examples
    for example in COMMANDS[name].examples:
        assert f"  {example}" in helped
        words = re.sub(r" [>|].*", "", example)
        argv = subprocess.run(
            ["/bin/sh", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert argv[:2] == ["manage.py", name]
        command.create_parser("manage.py", name).parse_args(argv[2:])


def test_help_as_it_is_typed() -> None:
    argv = [sys.executable, "manage.py", "killswitch", "--help"]
    ended = subprocess.run(argv, cwd=BASE_DIR, capture_output=True, text=True, check=True)
    assert "\n  1  nothing was switched: " in ended.stdout
    assert '\n  manage.py killswitch on global --reason "runaway spend" --yes\n' in ended.stdout


def test_the_groups_of_the_settings_are_those_of_the_migrations(db: None) -> None:
    head = next(line for line in generate.permissions().splitlines() if line.startswith("| perm"))
    assert head == f"| permission | may | {' | '.join(GROUPS)} |"


def rows(page: str) -> list[list[str]]:
    """The cells of the tables of a page of docs/, without the heads."""
    lines = (DOCS / page).read_text().splitlines()
    cells = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in cells]


# --- jobs


def test_jobs() -> None:
    spans = {"minute": 1, "hour": 60, "day": 24 * 60}
    documented = {}
    for name, every, *_ in rows("reference/jobs.md"):
        if every in spans or every.endswith(" minutes"):
            documented[name] = spans.get(every) or int(every.split()[0])
    assert documented == {name: every.minutes for name, every in SCHEDULES.items()}


def test_jobs_on_demand() -> None:
    text = (REFERENCE / "jobs.md").read_text()
    assert set(re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)) == set(ON_DEMAND)


# --- tables


def test_tables() -> None:
    text = (DOCS / "architecture.md").read_text().split("## Tables")[1].split("\n## ")[0]
    cells = re.findall(r"^\| \w* ?\| (`.*?`) \|", text, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == generate.tables()
    last = text.split("Append-only")[1]
    assert set(re.findall(r"`(\w+)`", last.split("\n\n")[0])) == roles.APPEND_ONLY_TABLES


# --- buttons


def test_the_page_about_incidents_names_every_button() -> None:
    folder = BASE_DIR / "opslog/templates/tollgate"
    text = " ".join((DOCS / "incidents.md").read_text().split())
    buttons = [
        label
        for name in ("incident_actions.html", "incident_mitigations.html")
        for label in re.findall(
            r'class="tg-(?:button|link)[^>]*>([^<>{}]+)</a>', (folder / name).read_text()
        )
    ]
    assert len(buttons) > 7
    assert [label for label in buttons if label not in text] == []


# --- events

# Of these the code has the beginning, and the end is a state.
COMPUTED = {
    # (An applied one is a WORK_ORDER_CAP_CHANGE or a LIMIT_RAISED.)
    *(f"CAP_CHANGE_{n}" for n in ChangeRequest.Status.names if n not in ("PENDING", "APPLIED")),
    *(f"ACCOUNT_CHANGE_{name}" for name in AccountChange.Status.names if name != "PENDING"),
    *(f"SECOND_FACTOR_{name}" for name in ("ADDED", "CHANGED", "REMOVED")),
    *(f"{what}_{name}" for what in ("USER", "GROUP") for name in ("CREATED", "CHANGED", "DELETED")),
    "NOTE",  # people write it, in SQL
    *(kind.value.upper() for kind in Alert.Kind if kind is not Alert.Kind.KILL_SWITCH),
}  # fmt: skip
# A call that writes one, in Python and in SQL: its kind is the first literal.
WRITES = re.compile(r"""\b(?:record|record_event|_?event)\(\s*["'](\w+)["']""")


def words() -> Iterator[str]:
    """In the code, wherever they stand but in the registries: a kind is a literal somewhere."""
    for app in ("opslog", "workorders", "budgets", "config"):
        for file in (BASE_DIR / app).rglob("*.py"):
            if file.name != "event_kinds.py" and "migrations" not in file.parts:
                for node in ast.walk(ast.parse(file.read_text())):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        yield node.value
        for file in (BASE_DIR / app).rglob("*.sql"):
            yield from re.findall(r"'(\w+)'", file.read_text())


def test_every_kind_that_is_registered_is_written() -> None:
    assert set(registry.KINDS) - {*words(), *COMPUTED} == set()


def test_every_kind_that_is_written_is_registered() -> None:
    written = set(COMPUTED)
    for app in ("opslog", "workorders", "budgets", "config"):
        for file in (*(BASE_DIR / app).rglob("*.py"), *(BASE_DIR / app).rglob("*.sql")):
            written.update(WRITES.findall(file.read_text()))
    assert written - set(registry.KINDS) == set()


def test_every_kind_stands_in_a_test() -> None:
    texts = [
        file.read_text() for file in (BASE_DIR / "tests").rglob("*.py") if file != Path(__file__)
    ]
    seen = {word for text in texts for word in re.findall(r"[A-Z][A-Z0-9_]+", text)}
    assert set(registry.KINDS) - seen == set()
