"""The checks of a batch before it starts, as pure functions of plain data."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from opslog.pricing.money import usd_shown

ZERO = Decimal(0)
TEST_WORDS = frozenset({"test", "sample", "example", "placeholder", "mock", "todo"})
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work that is about to be started. Estimates in US dollars, or as tokens."""

    work_order_id: str
    name: str
    agent_name: str = "preflight"
    model: str = ""
    estimated_cost_usd: Decimal | None = None
    estimated_input_tokens: int | None = None
    estimated_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Over which number a check warns, and over which it is an error. None: never."""

    warning_over: Decimal | None
    error_over: Decimal | None
    alert: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """What one check found."""

    name: str
    passed: bool
    message: str
    severity: str


@dataclass(slots=True)
class TaskOutcome:
    """What would become of one task. `reason`: the denial, None where it would be admitted."""

    task: Task
    usd: Decimal
    reason: str | None = None


def looks_like_test_data(name: str) -> bool:
    """Whether a word of the name says so: "latest" is not "test", and "TestRun_2" has one."""
    return any(
        word.lower() in TEST_WORDS or word.lower().removesuffix("s") in TEST_WORDS
        for word in WORD.findall(name)
    )


def judged(name: str, value: Decimal | int, rule: Rule, message: str) -> Line:
    """A check's line: passed while the value is over neither threshold."""
    severity = "info"
    if rule.warning_over is not None and value > rule.warning_over:
        severity = "warning"
    if rule.error_over is not None and value > rule.error_over:
        severity = "error"
    return Line(name, severity == "info", message, severity)


def hold_together(
    outcomes: Iterable[TaskOutcome],
    left_of: Mapping[str, tuple[int, Decimal]],
    left_of_all: Mapping[str, Decimal],
) -> None:
    """Refuse what would be admitted alone, and not after the tasks before it."""
    runs: dict[str, int] = defaultdict(int)
    usd: dict[str, Decimal] = defaultdict(Decimal)
    total = ZERO
    for outcome in outcomes:
        wo = outcome.task.work_order_id
        if outcome.reason is not None or wo not in left_of:
            continue
        left_runs, left_usd = left_of[wo]
        if runs[wo] + 1 > left_runs:
            outcome.reason = "runs_per_day"
        elif usd[wo] >= left_usd or usd[wo] + outcome.usd > left_usd:
            outcome.reason = "usd_per_day"
        else:
            outcome.reason = next(
                (
                    f"budget:global:{window}"
                    for window, left in left_of_all.items()
                    if total >= left or total + outcome.usd > left
                ),
                None,
            )
        if outcome.reason is None:
            runs[wo] += 1
            usd[wo] += outcome.usd
            total += outcome.usd


def lines_of(
    rules: Mapping[str, Rule],
    outcomes: Sequence[TaskOutcome],
    left_usd: Decimal | None,
    environment: tuple[str, str],
) -> list[Line]:
    """Every check, in the order in which people want to know. `environment`: of this process, and
    of the database."""
    suspicious = [o.task.name for o in outcomes if looks_like_test_data(o.task.name)]
    refused = [o for o in outcomes if o.reason is not None]
    estimate = sum((o.usd for o in outcomes), ZERO)
    short = ZERO if left_usd is None else max(estimate - left_usd, ZERO)
    ours, theirs = environment
    why = sorted({str(o.reason) for o in refused})
    results: dict[str, tuple[Decimal | int, str]] = {
        "tasks": (len(outcomes), f"{len(outcomes)} tasks"),
        "test_data": (
            len(suspicious),
            f"{len(suspicious)} names look like test data: {', '.join(suspicious[:3])}"
            if suspicious
            else "no name looks like test data",
        ),
        "estimated_cost": (estimate, f"estimated at ${usd_shown(estimate)}"),
        "budget_left": (
            short,
            "no shared budget in dollars is in force"
            if left_usd is None
            else f"${usd_shown(left_usd)} left, ${usd_shown(estimate)} needed"
            + (f": ${usd_shown(short)} short" if short else ""),
        ),
        "limits": (
            len(refused),
            f"{len(refused)} tasks would be refused: {', '.join(why)}"
            if refused
            else "every task would be admitted",
        ),
        "environment": (
            int(ours != theirs),
            f"this process is {ours}, the database is {theirs}"
            if ours != theirs
            else f"{ours}, as the database says",
        ),
    }
    return [
        judged(check, value, rules[check], message)
        for check, (value, message) in results.items()
        if check in rules
    ]
