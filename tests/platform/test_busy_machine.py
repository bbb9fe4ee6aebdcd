"""No test depends on how busy the machine is: one file alone sleeps, measures and limits."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime

import hypothesis
import pytest
import time_machine

from config.run.children import BASE_DIR
from tests.waiting import until_the_hour_has_turned

EXEMPT = {"tests/waiting.py": "the one place for it"}
CLOCKS = {"monotonic", "perf_counter"}
LIMITS = {"timeout", "deadline"}
HASTY = {f"httpx2.{name}" for name in ("get", "post", "request", "Client")}


def name_of(node: ast.AST) -> str:
    """Of what is called: `sleep` of `time.sleep(1)`."""
    if not isinstance(node, ast.Call):
        return ""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def number(node: ast.AST) -> float | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return None if isinstance(node.value, bool) else node.value
    return None


def is_late(test: ast.expr) -> bool:
    """Whether an assertion fails where something took too long. (Too short it is on no machine.)"""
    return any(
        isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.Lt | ast.LtE)
        and ast.unparse(node.left).rstrip("()").endswith(("seconds", "elapsed", "took"))
        for node in ast.walk(test)
    )


def complaints(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert) and is_late(node.test):
            yield "fails where it took too long: use in_time"
        if name_of(node) in ("sleep", "wait_for_timeout"):
            yield "sleeps: wait for the condition, with wait_until"
        if name_of(node) in CLOCKS:
            yield "measures time: use in_time, or the order of what happens"
        if isinstance(node, ast.Call):
            named = {keyword.arg for keyword in node.keywords}
            if ast.unparse(node.func) in HASTY and "timeout" not in named:
                yield "waits for five seconds by default: HANG_SECONDS ends a hang"
            for keyword in node.keywords:
                if keyword.arg in LIMITS and (seconds := number(keyword.value)) is not None:
                    yield f"sets a {keyword.arg} of {seconds}: HANG_SECONDS ends a hang"
            if name_of(node) in ("join", "wait", "timeout", "set_default_timeout"):
                for seconds in filter(None, map(number, node.args)):
                    yield f"waits for {seconds}: HANG_SECONDS ends a hang"


def test_only_one_file_sleeps_measures_and_limits() -> None:
    found = {}
    for path in sorted([*BASE_DIR.glob("tests/**/*.py"), *BASE_DIR.glob("client/tests/**/*.py")]):
        place = path.relative_to(BASE_DIR).as_posix()
        if place not in EXEMPT and (result := list(complaints(path.read_text()))):
            found[place] = result
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "time.sleep(1)",
        "assert time.monotonic() - began < 3",
        "assert perf_counter() - began < 3",
        "assert elapsed < 3",
        "assert (until - since).total_seconds() <= 3",
        "settings(deadline=200)",
        "urlopen(url, timeout=5)",
        "httpx2.get(url)",
        "thread.join(2)",
        "@pytest.mark.timeout(60)\ndef test() -> None: ...",
    ],
)
def test_it_is_seen(source: str) -> None:
    assert list(complaints(source))


def test_hypothesis_knows_no_deadline_and_no_chance() -> None:
    used = hypothesis.settings()
    assert (used.deadline, used.derandomize) == (None, True)
    assert hypothesis.HealthCheck.too_slow in used.suppress_health_check


def test_no_test_begins_just_before_midnight() -> None:
    with time_machine.travel(datetime(2026, 11, 30, 23, 59, 59, 900_000, UTC), tick=True):
        until_the_hour_has_turned()
        assert datetime.now(UTC) >= datetime(2026, 12, 1, tzinfo=UTC)
