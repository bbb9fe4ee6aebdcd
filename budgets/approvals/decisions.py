"""Approving and refusing."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from budgets.approvals import notices, solo_operator, subjects
from budgets.approvals.completing import complete
from budgets.approvals.ending import close, decided, lock_pending
from budgets.approvals.needs import raised_by, slots_of
from budgets.approvals.people import groups_of, may_decide, parties, solo_signature
from budgets.approvals.wording import about
from budgets.exceptions import Conflict, PasswordRequired, Refused
from budgets.models import ChangeRequest, Measure, Vote
from budgets.writing import refusing, stated
from opslog import events

PASSWORD_OVER_USD = Decimal("50.00")


def needs_password(request: ChangeRequest) -> bool:
    """Whether who approves confirms first that it is them: a raise to over $50 a day."""
    raised = raised_by(request)
    return raised.get(Measure.USD_PER_DAY, Decimal(0)) > PASSWORD_OVER_USD


def decide(
    request_id: int,
    *,
    by: User,
    decision: str,
    comment: str,
    seen_revision: int,
    evidence: Mapping[str, Any] | None = None,
    password_confirmed: bool = False,
    second_factor_at: datetime | None = None,
) -> ChangeRequest:
    """Approve or refuse. The last approval that is needed applies the change.

    A vote counts for the revision its voter saw, and keeps the evidence that was before them.
    `password_confirmed`: the person has confirmed lately that it is them. `second_factor_at`: when
    they last did so with their second factor, which the signature of a solo operator needs. Raises
    Refused, PasswordRequired, SecondFactorRequired, and Conflict where the request was decided,
    changed or overtaken meanwhile.
    """
    if decision not in Vote.Decision.values:
        raise Refused("Choose to approve or to refuse.")
    comment = stated(comment, "A comment is required.")
    with transaction.atomic():
        request = lock_pending(request_id)
        if request is not None:
            if request.revision != seen_revision:
                raise Conflict("The request was changed since you saw it: look again.")
            # Read again: a session may be older than the loss of a group.
            by = User.objects.get(pk=by.pk)
            if reason := may_decide(request, by):
                raise Refused(reason)
            approves = decision == Vote.Decision.APPROVE
            solo = solo_signature(request, by.pk)
            if solo and not approves and by.pk in parties(request):
                raise Refused("Withdraw your own request instead of refusing it.")
            shown_at = (
                solo.require(request.waits_since, second_factor_at) if solo and approves else None
            )
            if approves and needs_password(request) and not (password_confirmed or shown_at):
                raise PasswordRequired("Confirm it’s you to approve over $50 a day.")
            _vote(request, by, decision, comment, dict(evidence or {}), shown_at)
            if decision == Vote.Decision.REFUSE:
                close(
                    request,
                    ChangeRequest.Status.REFUSED,
                    by=by.get_username(),
                    note=comment,
                    person=by,
                )
            elif not complete(request):
                notices.still_waiting(request)
    return decided(request)


def decide_many(
    seen: Mapping[int, int],
    *,
    by: User,
    decision: str,
    comment: str,
    evidence: Callable[[ChangeRequest], Mapping[str, Any]] | None = None,
    second_factor_at: datetime | None = None,
) -> dict[int, str]:
    """The same decision on several requests (id → the revision seen), each by itself: one
    decision, one result and one event per request. None over $50, which asks for a look and a
    password each. `evidence` tells what is kept with each vote. Returns id → what came of it."""
    results = {}
    for request_id, revision in sorted(seen.items()):
        request = ChangeRequest.objects.filter(pk=request_id).first()
        if request is None:
            results[request_id] = "Not decided: there is no such request."
            continue
        if needs_password(request):
            results[request_id] = "Not decided: over $50 a day is decided one by one."
            continue
        try:
            done = decide(
                request_id,
                by=by,
                decision=decision,
                comment=comment,
                seen_revision=revision,
                evidence=evidence(request) if evidence else None,
                second_factor_at=second_factor_at,
            )
        except Refused as error:
            results[request_id] = f"Not decided: {error}"
        else:
            results[request_id] = done.get_status_display()
    return results


def _vote(
    request: ChangeRequest,
    by: User,
    decision: str,
    comment: str,
    evidence: dict[str, Any],
    second_factor_at: datetime | None,
) -> None:
    groups = sorted(groups_of(by) & set(slots_of(request)))
    with refusing("You have decided on this request already."):
        Vote.objects.create(
            request=request,
            revision=request.revision,
            voter=by,
            group=", ".join(groups),
            decision=decision,
            comment=comment,
            evidence=evidence,
            second_factor_at=second_factor_at,
        )
    if decision == Vote.Decision.APPROVE:
        events.record(
            "CAP_CHANGE_APPROVED",
            message=f"Request #{request.pk} on {subjects.name_of(request)}: "
            f"approved by {by.get_username()}"
            + (", the solo operator" if second_factor_at else ""),
            owner=(request.subject_type, request.subject_id),
            actor=by.get_username(),
            meta={
                **about(request),
                "revision": request.revision,
                "groups": groups,
                "comment": comment,
                **solo_operator.metadata(second_factor_at, waited_since=request.waits_since),
            },
        )
