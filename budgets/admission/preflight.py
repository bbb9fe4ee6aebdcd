"""A look at a batch before it starts: how much, of what, against what is left.

The checks are pure functions (`preflight_checks`); their thresholds are rows (`preflight_rules`).
Each task is decided by the same routine as its start, without its writes; the batch as a whole is
held against what is left of the caps and of the shared budgets in dollars.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from budgets import admission, alerts
from budgets.admission import Caller, Decision, StartAsk
from budgets.admission.preflight_checks import (
    Line,
    Rule,
    Task,
    TaskOutcome,
    hold_together,
    lines_of,
    looks_like_test_data,
)
from budgets.audit import acting
from budgets.environment import stamped_environment
from budgets.models import Budget, PreflightRule
from budgets.writing import stated

ZERO = Decimal(0)

# What is left today of each work order, and of each budget of everything in dollars.
LEFT_OF_ORDERS = """
SELECT o.id, e.runs_per_day - coalesce(k.runs, 0),
    e.usd_per_day - coalesce(k.reserved_usd + k.settled_usd, 0)
FROM work_orders o CROSS JOIN LATERAL tollgate.effective_caps(o.id, tollgate.now()) e
LEFT JOIN counters k ON k.key
    = tollgate.counter_key('work_order', o.id, 'day', tollgate.begins('day', tollgate.now()))
WHERE o.id = ANY (%s)
"""
LEFT_OF_ALL = """
SELECT c.win, greatest(c.amount - c.used, 0)
FROM tollgate.charges(tollgate.facts_of('', '', '', '', '', '', '', '', '', '', NULL, NULL),
    tollgate.now(), true) c
WHERE c.scope = 'global' AND c.measure = 'usd' AND c.amount IS NOT NULL
    AND c.check_name = 'shared_budget'
"""
ALERT = "SELECT tollgate.alert('preflight', %s, %s, 'preflight_check', %s, %s::jsonb, %s)"


@dataclass(frozen=True, slots=True)
class Report:
    lines: list[Line]
    outcomes: list[TaskOutcome]
    estimated_usd: Decimal
    left_usd: Decimal | None
    environment: str
    limits: list[Budget] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(line.severity != "error" for line in self.lines)

    @property
    def refused(self) -> int:
        return sum(outcome.reason is not None for outcome in self.outcomes)

    @property
    def test_data(self) -> bool:
        return any(looks_like_test_data(outcome.task.name) for outcome in self.outcomes)


@dataclass(frozen=True, slots=True)
class NeedsConfirmation:
    """The batch is costly, and nobody confirmed it."""

    estimated_usd: Decimal
    over_usd: Decimal


def rules() -> dict[str, Rule]:
    return {
        row.check_name: Rule(row.warning_over, row.error_over, row.alert)
        for row in PreflightRule.objects.all()
    }


def set_rule(
    rule_id: int,
    *,
    warning_over: Decimal | None,
    error_over: Decimal | None,
    alert: bool,
    reason: str,
    by: str,
) -> None:
    """Change the thresholds of a check. Raises Refused."""
    reason = stated(reason, "A change needs a reason.")
    with transaction.atomic(), acting(by=by, reason=reason):
        PreflightRule.objects.filter(pk=rule_id).update(
            warning_over=warning_over, error_over=error_over, alert=alert
        )


def run(
    tasks: Sequence[Task],
    *,
    caller: Caller,
    confirm: bool = False,
) -> Report | NeedsConfirmation | Decision:
    """Look at a batch; nothing is written. A Decision: the token may not ask this."""
    outcomes = []
    for task in tasks:
        decision = admission.start(
            StartAsk(
                work_order_id=task.work_order_id,
                agent_name=task.agent_name,
                estimated_cost_usd=task.estimated_cost_usd,
                model=task.model,
                estimated_input_tokens=task.estimated_input_tokens,
                estimated_output_tokens=task.estimated_output_tokens,
                dry_run=True,
                confirm=True,
            ),
            caller=caller,
        )
        if decision.denial in ("token", "scope"):
            return decision
        if decision.denial:
            outcomes.append(TaskOutcome(task, task.estimated_cost_usd or ZERO, decision.denial))
            continue
        answer = msgspec.json.decode(decision.body)
        outcomes.append(TaskOutcome(task, Decimal(answer["wouldReserveUsd"]), answer["reason"]))
    estimate = sum((outcome.usd for outcome in outcomes), ZERO)
    over = Decimal(settings.TOLLGATE_CONFIRM_OVER_USD)
    if estimate > over and not confirm:
        return NeedsConfirmation(estimate, over)
    with connection.cursor() as cursor:
        cursor.execute(LEFT_OF_ORDERS, [sorted({task.work_order_id for task in tasks})])
        left_of = {wo: (int(runs), usd) for wo, runs, usd in cursor.fetchall()}
        cursor.execute(LEFT_OF_ALL)
        left_of_all = dict(cursor.fetchall())
    hold_together(outcomes, left_of, left_of_all)
    left = min(left_of_all.values(), default=None)
    environment = (settings.TOLLGATE_ENVIRONMENT, stamped_environment())
    return Report(
        lines=lines_of(rules(), outcomes, left, environment),
        outcomes=outcomes,
        estimated_usd=estimate,
        left_usd=left,
        environment=environment[0],
        limits=list(Budget.objects.exclude(amount=None)),
    )


def tell(report: Report, *, by: str) -> None:
    """Alerts for the checks that did not pass, where their rules say so; once an hour each."""
    known = rules()
    hour = timezone.now().astimezone(UTC).strftime("%Y-%m-%dT%H")
    failed = [line for line in report.lines if not line.passed and known[line.name].alert]
    if not failed:
        return
    with transaction.atomic(), connection.cursor() as cursor:
        for line in failed:
            meta = {"by": by, "severity": line.severity, "tasks": len(report.outcomes)}
            cursor.execute(
                ALERT,
                [
                    f"preflight:{by}:{line.name}:{hour}",
                    f"Pre-flight of {len(report.outcomes)} tasks by {by}: {line.message}",
                    line.name,
                    msgspec.json.encode(meta).decode(),
                    datetime.now(UTC),
                ],
            )
        alerts.tell_soon()
