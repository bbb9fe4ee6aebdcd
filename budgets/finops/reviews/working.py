"""Opening a review, working through it, and closing it."""

import hashlib
import json
from datetime import date, datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from budgets.approvals import solo_operator
from budgets.approvals.people import holds
from budgets.approvals.solo_operator import SoloOperator
from budgets.exceptions import Conflict, Refused
from budgets.finops.reviews import figures, months
from budgets.models import (
    DimensionBudget,
    MonthlyReview,
    ReviewCheck,
    ReviewDecision,
    ReviewSignature,
)
from budgets.writing import refusing, stated
from opslog import events, outbox
from opslog.models import Severity
from opslog.outbox.notices import Notice

SIGNATURES = 2
TOPIC = "monthly_review"
CHECKLIST = (
    "The bills of every provider are imported for the whole month.",
    "Every charge belongs to a dimension; none is left unmapped.",
    "Telemetry, settled runs and the provider's bill for models agree, or the gap is explained.",
    "Each tier that was reached has a cause that somebody can name.",
    "Each incident and alert of the month is understood.",
    "Work orders that use under a tenth of their caps were looked at.",
    "Stale entries of the hotspot registry are confirmed or changed.",
    "The budgets of the coming month are right, given the trend.",
    "What the last review decided is done.",
)


def open_due(today: date) -> int:
    """Open the reviews of the months that are over, those too that were missed. Returns how many;
    safe to run twice."""
    return sum(open_review(month, by="tollgate") for month in months.due(today))


def open_by_hand(month: date, *, today: date, by: str) -> MonthlyReview:
    """Open a review by hand, ahead of the job. Raises Refused for a month that has a review,
    that is not over, or without data."""
    if month not in months.openable(today) or not open_review(month, by=by):
        raise Refused(
            f"No review of {month:%B %Y} can be opened: it is there, or too early, or late."
        )
    return MonthlyReview.objects.get(month=month)


def open_review(month: date, *, by: str) -> bool:
    """Open the review of a month, with its figures and its checklist; False where it is there."""
    taken = figures.take(month)
    with transaction.atomic():
        review, made = MonthlyReview.objects.get_or_create(
            month=month, defaults={"figures": taken, "figures_at": timezone.now()}
        )
        if not made:
            return False
        ReviewCheck.objects.bulk_create(
            ReviewCheck(review=review, position=place, text=text)
            for place, text in enumerate(CHECKLIST, start=1)
        )
        _record(review, "REVIEW_OPENED", f"{review} opened", by)
        owners = DimensionBudget.objects.values("owner")
        people = User.objects.filter(is_active=True, groups__in=owners).distinct()
        total = figures.shown(taken)["total"]
        outbox.send(
            topic=TOPIC,
            to=list(people),
            channels=True,
            notice=Notice(
                what=f"{review} is open: ${total:,.2f} were spent",
                change="month under way → month to be reviewed",
                by=by,
                severity=Severity.WARNING,
                action="Work through its checklist; two people sign it.",
            ),
            link=reverse("admin:budgets_monthlyreview_change", args=[review.pk]),
            key=f"{month:%Y-%m}",
            mandatory=True,
        )
    return True


def take_again(review_id: int, *, by: str) -> None:
    """The figures of this moment: bills and late telemetry may have come in."""
    month = MonthlyReview.objects.values_list("month", flat=True).get(pk=review_id)
    taken = figures.take(month)
    with transaction.atomic():
        review = _locked(review_id)
        MonthlyReview.objects.filter(pk=review.pk).update(figures=taken, figures_at=timezone.now())
        _record(review, "REVIEW_FIGURES", f"{review}: figures taken anew", by)


def tick(check_id: int, *, done: bool, note: str, by: str) -> None:
    """Tick a point of the checklist, or take the tick back."""
    with transaction.atomic():
        found = ReviewCheck.objects.get(pk=check_id)
        review = _locked(found.review_id)
        ReviewCheck.objects.filter(pk=found.pk).update(
            done_by=by if done else "",
            done_at=timezone.now() if done else None,
            note=note.strip()[:500],
        )
        state = "done" if done else "open again"
        _record(review, "REVIEW_CHECK", f"{review}, point {found.position}: {state}", by, note=note)


def decide(review_id: int, *, text: str, who: str, due: date | None, by: str) -> None:
    """Write down what was decided. It cannot be changed: another decision corrects it."""
    text = stated(text, "A decision says what is to be done.")
    with transaction.atomic():
        review = _locked(review_id)
        ReviewDecision.objects.create(review=review, text=text, who=who.strip(), due=due, by=by)
        _record(review, "REVIEW_DECISION", f"{review}: {text[:200]}", by)


def own_signature(review: MonthlyReview, by: User) -> tuple[SoloOperator, ReviewSignature] | None:
    """The solo operator and their first signature, where this person is that and has signed."""
    first = next((s for s in signed_by(review, state_of(review)) if s.person_id == by.pk), None)
    solo = solo_operator.for_person(by) if first is not None else None
    return (solo, first) if solo is not None and first is not None else None


def sign(
    review_id: int, *, seen: str, comment: str, by: User, second_factor_at: datetime | None = None
) -> bool:
    """Sign the state that was seen; returns whether the review is closed by it.

    A solo operator signs a second time, after the waiting time and with their second factor.
    Raises Conflict where something changed since, SecondFactorRequired, and Refused for a second
    signature by anybody else, or while points of the checklist are open.
    """
    comment = stated(comment, "A signature says what was looked at.")
    if not holds(by, "sign_monthlyreview"):
        raise Refused("You cannot sign this yet: your membership does not count so far.")
    with transaction.atomic():
        review = _locked(review_id)
        state = state_of(review)
        if seen != state:
            raise Conflict("The review has changed since you looked: look again.")
        if left := review.checks.filter(done_at=None).count():
            raise Refused(f"{left} of the checklist {'is' if left == 1 else 'are'} open.")
        signed = signed_by(review, state)
        shown_at, meta = None, {}
        if any(each.person_id == by.pk for each in signed):
            own = own_signature(review, by)
            if own is None:
                raise Refused("You have signed this state. Somebody else must sign as well.")
            solo, first = own
            shown_at = solo.require(first.at, second_factor_at)
            meta = solo_operator.metadata(shown_at, waited_since=first.at)
        with refusing():
            ReviewSignature.objects.create(
                review=review, person=by, state=state, comment=comment, second_factor_at=shown_at
            )
        name = by.get_username()
        again = " again, as the solo operator" if shown_at else ""
        message = f"{review} signed by {name}{again}"
        _record(review, "REVIEW_SIGNED", message, name, state=state, **meta)
        if len(signed) + 1 < SIGNATURES:
            return False
        MonthlyReview.objects.filter(pk=review.pk).update(
            status=MonthlyReview.Status.CLOSED, closed_at=timezone.now(), closed_state=state
        )
        signers = sorted({name, *(each.person.get_username() for each in signed)})
        meta |= {"approvers": signers, "approvalLevel": "monthly review"}
        _record(review, "REVIEW_CLOSED", f"{review} closed", name, state=state, **meta)
        _notify_of_end(review, signers)
    return True


def _notify_of_end(review: MonthlyReview, signers: list[str]) -> None:
    """Whoever was asked to review the month, and the channels."""
    key = f"{review.month:%Y-%m}"
    notice = Notice(
        what=f"{review} is closed",
        change="month to be reviewed → reviewed and signed",
        by=" and ".join(signers),
        severity=Severity.INFO,
        action="Nothing, unless a decision of it is yours to carry out.",
    )
    outbox.send(
        topic=TOPIC,
        to=outbox.people_asked(TOPIC, key=key),
        channels=True,
        notice=notice,
        link=reverse("admin:budgets_monthlyreview_change", args=[review.pk]),
        key=f"{key}:closed",
    )


def state_of(review: MonthlyReview) -> str:
    """A digest of everything that is signed: figures, checklist, decisions."""
    content = {
        "month": f"{review.month:%Y-%m}",
        "figures": review.figures,
        "checks": [
            [each.position, each.text, each.done_by, each.note] for each in review.checks.all()
        ],
        "decisions": [
            [each.pk, each.text, each.who, str(each.due or ""), each.by]
            for each in review.decisions.all()
        ],
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def signed_by(review: MonthlyReview, state: str) -> list[ReviewSignature]:
    """The signatures that count for this state."""
    return list(review.signatures.filter(state=state).select_related("person"))


def _locked(review_id: int) -> MonthlyReview:
    review = MonthlyReview.objects.select_for_update().get(pk=review_id)
    if review.status == MonthlyReview.Status.CLOSED:
        raise Refused("The review is closed; that is final.")
    return review


def _record(review: MonthlyReview, kind: str, message: str, by: str, **meta: Any) -> None:
    events.record(
        kind,
        message=message,
        owner=("monthly_review", str(review.pk)),
        label=str(review),
        actor=by,
        meta={"month": f"{review.month:%Y-%m}", **meta},
    )
