"""Every lever that a document names exists, and does what the document says of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands
from django.db import connection
from django.test import Client

from budgets.controls import breaker, features, kill_switch
from budgets.exceptions import Refused
from budgets.models import FeatureControl
from tests import factories
from tests.admission.desk import Desk

ROOT = Path(__file__).resolve().parents[2]
GUARDRAILS = (ROOT / "docs" / "guardrails.md").read_text()
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CAMEL = re.compile(r"(?<!^)(?=[A-Z])")
# Levers whose columns are not their name in snake case: column, and how its text is read.
SPECIAL = {"undoRateLimit": "undo_rate_limit", "toolBreaker": "tool_breaker_failures"}


def rows_after(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of guardrails.md."""
    below = GUARDRAILS.split(heading, 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert lines, heading
    table = [line.strip("|").split("|") for line in lines[0].splitlines()]
    return [[cell.strip() for cell in row] for row in table[2:]]


LEVERS = {row[0].strip("`"): (row[1], row[2]) for row in rows_after("## Features")}


def number(text: str) -> int:
    found = re.match(r"[\d,]+", text)
    assert found, text
    return int(found[0].replace(",", ""))


def column(lever: str) -> str:
    return SPECIAL.get(lever, CAMEL.sub("_", lever).lower())


@pytest.fixture
def api(db: None) -> Any:
    """What a service reads, over HTTP."""
    _, text = factories.make_token(scopes=["read"])

    def read(feature: str) -> dict[str, Any]:
        answer = Client().get(f"/api/features/{feature}", headers={"x-api-key": text})
        assert answer.status_code == 200
        return dict(json.loads(answer.content))

    return read


def test_the_documented_levers_are_the_levers(api: Any) -> None:
    assert set(LEVERS) == set(api("nowhere")["levers"])


@pytest.mark.parametrize("lever", LEVERS)
def test_a_lever_has_its_documented_default(api: Any, lever: str) -> None:
    default, _ = LEVERS[lever]
    found = api("nowhere")["levers"][lever]
    data = {
        bool: lambda: {False: "off", True: "on"}[found],
        int: lambda: f"{found:,}",
        str: lambda: found,
        dict: lambda: f"{found['failures']} failures, {found['seconds']} s",
        type(None): lambda: "as asked",
    }[type(found)]()
    assert data == default


@pytest.mark.parametrize("lever", LEVERS)
def test_a_lever_is_read_as_it_was_set(api: Any, lever: str) -> None:
    name = column(lever)
    old = getattr(FeatureControl(), name)
    new: Any = (not old) if isinstance(old, bool) else "gpt-4o-mini" if old == "" else old + 1
    features.change("chat", {name: new}, reason="a test", by="test")
    found = api("chat")["levers"][lever]
    assert found in (new, f"{new}/minute", {"failures": new, "seconds": 60})


@pytest.mark.parametrize(
    "lever", [name for name, (_, bounds) in LEVERS.items() if " to " in bounds]
)
@pytest.mark.django_db
def test_a_lever_has_its_documented_bounds(lever: str) -> None:
    low, high = (number(part) for part in LEVERS[lever][1].split(",  ")[0].split(" to ")[:2])
    for value in (low, high):
        features.change("chat", {column(lever): value}, reason="a test", by="test")
    for value in (low - 1, high + 1):
        with pytest.raises(Refused):
            features.change("chat", {column(lever): value}, reason="a test", by="test")


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


STOPS: dict[str, tuple[Any, str]] = {
    "everything": (
        lambda: kill_switch.switch("Global", None, enabled=True, reason="x", by="t"),
        "kill_switch",
    ),
    "one surface": (
        lambda: kill_switch.switch("Surface", "chat", enabled=True, reason="x", by="t"),
        "kill_switch",
    ),
    "a user, an agent, a token": (
        lambda: kill_switch.switch("Identity", "agent:agent-1", enabled=True, reason="x", by="t"),
        "kill_switch",
    ),
    "one work order": (
        lambda: sql("UPDATE work_orders SET status = 'suspended'"),
        "suspended",
    ),
    "one feature": (
        lambda: sql("UPDATE feature_flags SET enabled = false"),
        "feature_off",
    ),
    "all starts, for five minutes": (
        lambda: breaker.trip("global", "", reason="x", by="t"),
        "breaker_open",
    ),
}


def test_every_stop_of_the_page_is_exercised_here() -> None:
    assert [row[0] for row in rows_after("## Stop it now")] == list(STOPS)


@pytest.mark.parametrize("what", STOPS)
def test_a_stop_stops_the_next_start(committed_db: str, what: str) -> None:
    stop, denial = STOPS[what]
    factories.make_work_order()
    features.change("summaries", {}, reason="a test", by="test")
    desk = Desk()
    assert desk.start(surface="chat", feature="summaries").status == 201
    stop()
    assert desk.start(surface="chat", feature="summaries").denial == denial


def test_every_command_that_is_named_exists() -> None:
    named = {
        name for text in TEXTS for name in re.findall(r"manage\.py ([a-z_]+)", text.read_text())
    }
    assert {"killswitch", "breaker", "llm_budget", "preflight", "simulate_incident"} <= named
    assert named <= set(get_commands()), named - set(get_commands())


def test_every_button_that_is_named_is_on_a_page(db: None) -> None:
    """*Stop everything…* and the others in italics: with the dots of a form that follows."""
    named = {
        name for text in TEXTS for name in re.findall(r"\*([A-Z][A-Za-z ]+…)\*", text.read_text())
    }
    assert {"Stop everything…", "Suspend…", "Switch off…", "Trip…", "Request a raise…"} <= named
    pages = "".join(
        page.read_text()
        for folder in ("budgets", "workorders", "opslog", "templates")
        for page in (ROOT / folder).rglob("*.html")
    )
    assert not [name for name in named if f"{name}<" not in pages and f"{name}{{" not in pages]
