"""Putting right what a run, or a reported call, cost: by a person, with a reason.

Up to `CostRule.second_person_over_usd` at once; more waits for a second person. Counted from the
cost as it was reported, or as two people last set it: many small steps are one large one.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone
from psycopg.types.json import Jsonb

from budgets import alerts
from budgets.approvals import solo_operator
from budgets.approvals.people import holds
from budgets.approvals.solo_operator import SoloOperator
from budgets.exceptions import Conflict, Refused
from budgets.models import CostCorrection, CostRule, DirectSpend
from budgets.writing import refusing, stated
from opslog import events, outbox
from opslog.groups import OPERATIONS, members
from opslog.models import Severity
from opslog.outbox.notices import Notice
from opslog.pricing.money import MAX_USD, usd, usd_text
from opslog.request_context import current_request_id
from workorders.models import Run, ServiceToken

Of, Status = CostCorrection.Of, CostCorrection.Status
TOPIC = "cost_correction"
PERMISSION = "budgets.correct_cost"
MOVED = "The cost is another one by now: look again."
CORRECT = "SELECT tollgate.correct_cost_v1(%s, %s, %s, %s, %s, %s, %s)"


def cost_of(of: str, subject_id: UUID) -> Decimal:
    """What it cost, as it is counted now, in US dollars. Raises Refused where there is none yet."""
    if of == Of.RUN:
        run = Run.objects.filter(pk=subject_id).first()
        if run is None:
            raise Refused("There is no such run.")
        if run.cost is None:
            raise Refused("The run has not ended: it has no cost yet.")
        return run.cost
    spend = DirectSpend.objects.filter(pk=subject_id).first()
    if spend is None:
        raise Refused("There is no such call.")
    return spend.cost_usd


def needs_second_person(of: str, subject_id: UUID, old: Decimal, new: Decimal) -> bool:
    """Whether one person's word is not enough. US dollars."""
    base = old
    for past in CostCorrection.objects.filter(
        of=of, subject_id=subject_id, status=Status.APPLIED
    ).order_by("-pk"):
        if past.decided_by_id != past.asked_by_id or past.second_factor_at is not None:
            break
        base = past.old_usd
    return abs(new - base) > CostRule.objects.get().second_person_over_usd


def ask(
    of: str, subject_id: UUID, new: Decimal, *, seen: Decimal, reason: str, by: User
) -> CostCorrection:
    """Correct a cost, or have the correction confirmed by somebody else. `seen` is the cost that
    `by` saw; `new` the true one, in US dollars. Raises Refused, and Conflict where the cost is
    another one by now or a correction waits already."""
    _may(by)
    new, reason = usd(new), stated(reason, "A correction needs a reason.")
    if not 0 <= new <= MAX_USD:
        raise Refused(f"A cost lies from $0 to ${MAX_USD:,}.")
    with transaction.atomic():
        old = cost_of(of, subject_id)
        if old != seen:
            raise Conflict(MOVED)
        if old == new:
            raise Refused("Nothing would change.")
        waits = needs_second_person(of, subject_id, old, new)
        with refusing("A correction of this cost waits for a second person."):
            made = CostCorrection.objects.create(
                of=of, subject_id=subject_id, status=Status.PENDING, old_usd=old, new_usd=new,
                reason=reason, asked_by=by,
            )  # fmt: skip
        if waits:
            _record("COST_CORRECTION_REQUESTED", made, by, "asked for")
            _ask_others(made, by)
        elif not _apply(made, by=by, note=""):
            raise Conflict(MOVED)
    return made


def own_confirmation(correction: CostCorrection, by: User) -> SoloOperator | None:
    """The solo operator, where this person is that and would confirm what is theirs."""
    theirs = by.pk == correction.asked_by_id or by.pk in interested(correction)
    return solo_operator.for_person(by) if theirs else None


def decide(
    correction_id: int,
    *,
    approve: bool,
    by: User,
    note: str,
    second_factor_at: datetime | None = None,
) -> CostCorrection:
    """Confirm a correction, or refuse it; who asked may only withdraw it, which is a refusal. A
    solo operator may confirm their own, after the waiting time and with their second factor.
    Raises Refused, SecondFactorRequired, Conflict."""
    note = stated(note, "A comment is required.")
    with transaction.atomic():
        found = CostCorrection.objects.select_for_update().get(pk=correction_id)
        by = User.objects.get(pk=by.pk)
        _may(by)
        if found.status != Status.PENDING:
            raise Conflict(f"This correction is {found.get_status_display()} already.")
        solo = own_confirmation(found, by) if approve else None
        if approve and not solo and by.pk == found.asked_by_id:
            raise Refused("A second person confirms it.")
        if approve and not solo and by.pk in interested(found):
            raise Refused("The token that reported this cost is yours: somebody else confirms it.")
        if approve and not holds(by, "correct_cost"):
            raise Refused("You cannot confirm this yet: your membership does not count so far.")
        if solo:
            found.second_factor_at = solo.require(found.asked_at, second_factor_at)
        if not approve:
            _close(found, Status.REFUSED, by=by, note=note)
            _record("COST_CORRECTION_REFUSED", found, by, f"refused: {note}")
            _notify_of_end(found, by=by)
        elif not _apply(found, by=by, note=note):
            _close(found, Status.STALE, by=by, note="the cost has changed")
            _record("COST_CORRECTION_STALE", found, by, "not applied: the cost has changed")
            _notify_of_end(found, by=by)
        else:
            _notify_of_end(found, by=by)
    return found


def interested(correction: CostCorrection) -> set[int]:
    """Who owns or made the token that reported the cost, or one of its line, by id."""
    subject: Any = Run if correction.of == Of.RUN else DirectSpend
    token = subject.objects.filter(pk=correction.subject_id).values("token_id")
    lines = ServiceToken.objects.filter(pk__in=token).values("lineage")
    people = ServiceToken.objects.filter(lineage__in=lines).values_list("owner_id", "created_by_id")
    return {person for pair in people for person in pair if person}


def set_rule(*, by: str, reason: str, **values: Any) -> None:
    """Change the rules for costs (see `CostRule`). Raises Refused."""
    reason = stated(reason, "A change needs a reason.")
    with transaction.atomic():
        rule = CostRule.objects.select_for_update().get()
        changes = {
            name: {"old": str(getattr(rule, name)), "new": str(value)}
            for name, value in values.items()
            if getattr(rule, name) != value
        }
        CostRule.objects.update(**values)
        events.record(
            "COST_RULE_CHANGE",
            message=f"Rule of costs changed: {reason}",
            actor=by,
            meta={"changes": changes, "reason": reason},
        )


def _may(by: User) -> None:
    if not by.is_active or not by.has_perm(PERMISSION):
        raise Refused("Costs are corrected by operations.")


def _apply(made: CostCorrection, *, by: User, note: str) -> bool:
    """With the counters, and what tripped on the wrong figure. False where the cost has moved."""
    people = list(dict.fromkeys([made.asked_by.get_username(), by.get_username()]))
    meta = {
        "correctionId": made.pk,
        "reason": made.reason,
        "askedBy": people[0],
        "people": people,
        "approvers": people,
        "approvalLevel": OPERATIONS,
        **solo_operator.metadata(made.second_factor_at, waited_since=made.asked_at),
    }
    with connection.cursor() as cursor:
        params: list[Any] = [
            made.of,
            made.subject_id,
            made.old_usd,
            made.new_usd,
            ", ".join(people),
            Jsonb(meta),
            current_request_id(),
        ]
        cursor.execute(CORRECT, params)
        if not cursor.fetchone()[0]:
            return False
    _close(made, Status.APPLIED, by=by, note=note)
    alerts.tell_soon()
    return True


def _close(made: CostCorrection, status: str, *, by: User, note: str) -> None:
    made.status, made.decided_by, made.decided_at, made.note = status, by, timezone.now(), note
    if status != Status.APPLIED:
        made.second_factor_at = None
    made.save(update_fields=["status", "decided_by", "decided_at", "note", "second_factor_at"])


def _record(kind: str, made: CostCorrection, by: User, what: str) -> None:
    events.record(
        kind,
        message=f"Correction of a cost from ${usd_text(made.old_usd)} to "
        f"${usd_text(made.new_usd)} {what}",
        owner=("cost_correction", str(made.pk)),
        actor=by.get_username(),
        meta={
            "of": made.of,
            "runId" if made.of == Of.RUN else "spendId": str(made.subject_id),
            "before": usd_text(made.old_usd),
            "after": usd_text(made.new_usd),
            "reason": made.reason,
        },
    )


def _ask_others(made: CostCorrection, by: User) -> None:
    """Those who can confirm it."""
    notice = Notice(
        what=f"Confirm a corrected cost of {made.get_of_display()} {made.subject_id}",
        change=f"${usd_text(made.old_usd)} → ${usd_text(made.new_usd)}",
        by=by.get_username(),
        severity=Severity.WARNING,
        action="Confirm or refuse it, as somebody else who corrects costs.",
        details=made.reason,
    )
    others = [person for person in members(OPERATIONS) if person.pk != by.pk]
    _send(made, others, notice, key=str(made.pk), signs=True)


def _notify_of_end(made: CostCorrection, *, by: User) -> None:
    """Who asked, and whoever was asked."""
    people = {person.pk: person for person in outbox.people_asked(TOPIC, key=str(made.pk))}
    people[made.asked_by_id] = made.asked_by
    change = f"${usd_text(made.old_usd)} → ${usd_text(made.new_usd)}"
    status = made.get_status_display()
    notice = Notice(
        what=f"The correction of the cost of {made.get_of_display()} {made.subject_id} is {status}",
        change=change if made.status == Status.APPLIED else f"waiting → {status} ({change})",
        by=by.get_username(),
        at=made.decided_at or timezone.now(),
        severity=Severity.INFO,
        action="Nothing."
        if made.status == Status.APPLIED
        else "Correct it again if the cost is still wrong.",
        details=made.note,
    )
    others = [person for person in people.values() if person.pk != by.pk]
    _send(made, others, notice, key=f"{made.pk}:ended", signs=False)


def _send(
    made: CostCorrection, people: list[User], notice: Notice, *, key: str, signs: bool
) -> None:
    outbox.send(
        topic=TOPIC,
        to=people,
        notice=notice,
        link=reverse("admin:budgets_costcorrection_change", args=[made.pk]),
        key=key,
        mandatory=signs,
    )
