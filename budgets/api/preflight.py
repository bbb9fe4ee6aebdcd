"""`POST /api/work-orders/preflight`. A view parses, calls, renders."""

from typing import Literal

from django.http import HttpResponse
from msgspec import field
from rest_framework.request import Request
from rest_framework.response import Response

from budgets import admission
from budgets.admission import Decision, metrics, preflight
from budgets.admission.preflight_checks import Task
from budgets.api.answers import render
from budgets.api.asks import caller_of, require_model
from budgets.api.requests import PreflightBody, money
from budgets.api.schema import DENIAL, RETRY_AFTER
from budgets.api.views import SpendingView, respond
from opslog.api.answers import Answer, Error, Usd
from opslog.api.schema import operation
from opslog.database import authority
from opslog.pricing.money import usd_shown


class Check(Answer):
    name: str
    passed: bool
    message: str
    severity: Literal["info", "warning", "error"]


class Summary(Answer):
    task_count: int
    estimated_usd: Usd
    test_data: bool = field(name="testDataDetected")
    left_usd: Usd | None = field(name="budgetLeftUsd")
    refused: int = field(name="wouldBeRefused")


class Limit(Answer):
    scope: str
    subject: str
    window: str
    measure: str
    amount: str


class PlannedTask(Answer):
    work_order_id: str
    name: str
    decision: Literal["admit", "refuse"]
    reason: str | None
    usd: Usd = field(name="wouldReserveUsd")


class Preflight(Answer):
    passed: bool
    lines: list[Check] = field(name="checks")
    summary: Summary
    environment: str
    limits: list[Limit]
    tasks: list[PlannedTask]


class PreflightView(SpendingView):
    @operation(
        "work_order_preflight",
        "Look at a batch before it starts",
        "Every task is decided as its start would be, and the batch as a whole is held "
        "against what is left. Nothing is reserved. A batch over the confirmation threshold needs "
        "`confirm: true`; with `dryRun` nobody is notified of what did not pass.",
        tag="spending",
        body=PreflightBody,
        parameters=[DENIAL, RETRY_AFTER],
        answers={200: ("Check by check.", Preflight)},
        errors={428: "The batch is costly: send `confirm: true`."},
        examples={
            "Two tasks": {
                "tasks": [
                    {
                        "workOrderId": "nightly-digest",
                        "name": "Digest of Monday",
                        "estimatedCostUsd": "0.05",
                    },
                    {
                        "workOrderId": "nightly-digest",
                        "name": "Digest of Tuesday",
                        "model": "gpt-4o-mini",
                        "estimatedInputTokens": 12000,
                        "estimatedOutputTokens": 800,
                    },
                ]
            }
        },
    )
    def post(self, request: Request) -> HttpResponse:
        body = PreflightBody.read(request.data)
        tasks = []
        for number, each in enumerate(body.tasks):
            at = f"tasks[{number}]."
            require_model(each, at)
            estimate = money(each.estimated_cost_usd, f"{at}estimatedCostUsd")
            tasks.append(Task(**{**each.given(), "estimated_cost_usd": estimate}))
        caller = caller_of(request.META)
        report = preflight.run(tasks, caller=caller, confirm=bool(body.confirm))
        if isinstance(report, Decision):
            return respond(render(report))
        if isinstance(report, preflight.NeedsConfirmation):
            error = (
                f"the batch is estimated at ${usd_shown(report.estimated_usd)}, "
                f'over ${usd_shown(report.over_usd)}: send "confirm": true'
            )
            return Response(Error(error), status=428, headers={"Tollgate-Denial": "confirm"})
        metrics.PREFLIGHTS.labels("true" if report.passed else "false").inc()
        if not body.dry_run:
            preflight.tell(report, by=actor_of(caller))
        return Response(answer_of(report))


def actor_of(caller: admission.Caller) -> str:
    """The owner of the token, for the alert; the decision itself judges the token."""
    (name,) = authority.fetch_row(
        "SELECT coalesce((SELECT u.username FROM service_tokens t JOIN auth_user u "
        "ON u.id = t.owner_id WHERE t.digest = %s), '')",
        [caller.digest],
    )
    return str(name)


def answer_of(report: preflight.Report) -> Preflight:
    return Preflight.of(
        report,
        summary=Summary.of(report, task_count=len(report.outcomes)),
        limits=[Limit.of(budget, amount=str(budget.amount)) for budget in report.limits],
        tasks=[
            PlannedTask.of(
                outcome,
                work_order_id=outcome.task.work_order_id,
                name=outcome.task.name,
                decision="admit" if outcome.reason is None else "refuse",
            )
            for outcome in report.outcomes
        ],
    )
