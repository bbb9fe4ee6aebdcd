"""Deciding in the admin: the password again, and several requests at once."""

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone

from budgets import approvals
from budgets.admin.evidence_page import evidence_of
from budgets.admin.forms import DecisionForm
from budgets.approvals.wording import about
from budgets.evidence import Evidence, LimitEvidence, limit_evidence
from budgets.exceptions import Refused
from budgets.models import ChangeRequest, Vote
from opslog import events
from opslog.models import OperationsEvent

WRONG_AT_MOST = 5
WITHIN = timedelta(minutes=15)
MANY_AT_MOST = 20  # each has its evidence read, a third of a second at worst


def confirm_password(form: DecisionForm, request: ChangeRequest, by: User) -> bool:
    """Whether the password is confirmed, or none is asked for; else the form says why not.

    After WRONG_AT_MOST wrong ones within a quarter of an hour the right one does not help either.
    """
    if "password" not in form.fields or form.cleaned_data["decision"] != Vote.Decision.APPROVE:
        return True
    wrong = OperationsEvent.objects.filter(
        kind="PASSWORD_REFUSED",
        meta__personId=by.pk,  # not by name, which can change
        created_at__gte=timezone.now() - WITHIN,
    )
    if wrong.order_by()[:WRONG_AT_MOST].count() >= WRONG_AT_MOST:
        form.add_error("password", "Too many wrong passwords: wait a quarter of an hour.")
        return False
    if by.check_password(form.cleaned_data["password"]):
        return True
    form.add_error("password", "This is not your password. Nothing was decided.")
    events.record(
        "PASSWORD_REFUSED",
        message=f"A wrong password of {by.get_username()} on request #{request.pk}",
        owner=(request.subject_type, request.subject_id),
        actor=by.get_username(),
        meta={**about(request), "personId": by.pk},
    )
    return False


def decide(form: DecisionForm, request: ChangeRequest, by: User) -> ChangeRequest:
    """A valid form whose password is confirmed. Raises Refused, and Unavailable where the evidence
    cannot be computed: nobody signs without."""
    told = form.cleaned_data
    return approvals.decide(
        request.pk,
        by=by,
        decision=told["decision"],
        comment=told["comment"],
        seen_revision=told["seen_revision"],
        evidence={**snapshot(request), "answers": form.answers()},
        password_confirmed="password" in form.fields,
    )


def snapshot(request: ChangeRequest) -> dict[str, Any]:
    """What stands before the voter, to be kept with the vote."""
    evidence: Evidence | LimitEvidence | None
    if request.subject_type == approvals.WORK_ORDER:
        evidence = evidence_of(request)
    else:
        evidence = limit_evidence(request, now=timezone.now())
    return {
        "lines": {
            line.measure: {"old": str(line.old), "new": str(line.new)}
            for line in request.lines.all()
        },
        **(evidence.as_json() if evidence else {}),
    }


def decide_on_many(request: HttpRequest, seen: dict[int, int], decision: str, comment: str) -> None:
    """One message for each request says what came of it."""
    user: Any = request.user
    results = approvals.decide_many(
        seen, by=user, decision=decision, comment=comment, evidence=snapshot
    )
    for request_id, said in results.items():
        level = messages.WARNING if said.startswith("Not decided") else messages.SUCCESS
        messages.add_message(request, level, f"Request #{request_id}: {said}")


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
