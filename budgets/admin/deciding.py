"""Deciding in the admin: one request, and several at once."""

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest

from budgets import approvals
from budgets.admin.forms import DecisionForm
from budgets.evidence import snapshot
from budgets.exceptions import Refused
from budgets.models import ChangeRequest
from opslog.confirmed import second_factor_at

MANY_AT_MOST = 20  # each has its evidence read, a third of a second at worst


def decide(
    form: DecisionForm,
    request: ChangeRequest,
    by: User,
    *,
    confirmed: bool,
    second_factor_at: datetime | None,
) -> ChangeRequest:
    """A valid form. `confirmed`: the person has confirmed lately that it is them;
    `second_factor_at`: when they did so with their second factor. Raises Refused, PasswordRequired
    and SecondFactorRequired where they must and have not, and Unavailable where the evidence cannot
    be computed: nobody signs without."""
    data = form.cleaned_data
    return approvals.decide(
        request.pk,
        by=by,
        decision=data["decision"],
        comment=data["comment"],
        seen_revision=data["seen_revision"],
        evidence={**snapshot(request), "answers": form.answers()},
        password_confirmed=confirmed,
        second_factor_at=second_factor_at,
    )


def decide_on_many(request: HttpRequest, seen: dict[int, int], decision: str, comment: str) -> None:
    """One message for each request says what came of it."""
    user: Any = request.user
    results = approvals.decide_many(
        seen,
        by=user,
        decision=decision,
        comment=comment,
        evidence=snapshot,
        second_factor_at=second_factor_at(request),
    )
    for request_id, result in results.items():
        level = messages.WARNING if result.startswith("Not decided") else messages.SUCCESS
        messages.add_message(request, level, f"Request #{request_id}: {result}")


def outcome(decided: ChangeRequest) -> str:
    return {
        "applied": f"Request #{decided.pk} is approved and applied.",
        "refused": f"Request #{decided.pk} is refused.",
        "stale": f"Request #{decided.pk} is stale: the caps have moved since it was asked.",
    }.get(decided.status, f"Your approval of request #{decided.pk} is recorded.")


def why_not(obj: ChangeRequest, user: Any, known: approvals.Known | None = None) -> str:
    """Why this person may not decide; empty where they may."""
    try:
        return approvals.may_decide(obj, user, known)
    except Refused as error:  # no rule covers what was asked for any more
        return str(error)
