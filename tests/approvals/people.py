"""Somebody of each group, and what they ask and decide."""

from decimal import Decimal

from django.contrib.auth.models import User

from budgets import approvals
from budgets.models import ChangeRequest
from tests.factories import make_user, make_work_order
from workorders.models import WorkOrder

GROUPS = ("operations", "director", "finance", "vp", "auditor", "administrator")


def everybody() -> dict[str, User]:
    make_work_order()
    people = {name: make_user(name, groups=[name]) for name in GROUPS}
    return people | {"asker": make_user("asker", groups=["operations"])}


def ask(people: dict[str, User], usd: str | None = None, runs: int | None = None) -> ChangeRequest:
    return approvals.ask(
        "w1",
        new={"usd_per_day": None if usd is None else Decimal(usd), "runs_per_day": runs},
        justification="month end",
        expected_cost_impact="$5 a day",
        by=people["asker"],
    )


def decide(request: ChangeRequest, by: User, decision: str = "approve") -> ChangeRequest:
    return approvals.decide(
        request.pk,
        by=by,
        decision=decision,
        comment="fine",
        seen_revision=request.revision,
        password_confirmed=True,
    )


def caps() -> tuple[int, Decimal]:
    work_order = WorkOrder.objects.get(pk="w1")
    return work_order.runs_per_day, work_order.usd_per_day
