"""Break-glass: one person raises caps at once, for an hour at most, in front of everybody.

It needs a permission of its own, and a review by somebody else within a day. How high each measure
goes, and all grants in force together, are rows (`ApprovalLimit`); a person, and a work order, has
one use without a review at a time; while a review is overdue, the next use is refused. A trigger on
the grants holds all of this, under one lock (`tollgate.guard_glass`): its text is the rule.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from budgets.approvals import notices, solo_operator, subjects
from budgets.approvals.people import holds
from budgets.approvals.solo_operator import SoloOperator
from budgets.approvals.wording import changes_of, describe
from budgets.exceptions import Conflict, Refused
from budgets.models import Grant
from budgets.writing import refusing, stated
from opslog import events
from opslog.database import query

LONGEST = timedelta(minutes=60)
REVIEW_WITHIN = timedelta(hours=24)


def unreviewed() -> "QuerySet[Grant]":
    """Every break-glass grant that nobody has reviewed, oldest first."""
    return Grant.objects.filter(kind=Grant.Kind.BREAK_GLASS, reviewed_at=None).order_by(
        "created_at"
    )


def raise_at_once(
    work_order_id: str,
    *,
    new: Mapping[str, Decimal | int | None],
    minutes: int,
    reason: str,
    by: User,
) -> list[Grant]:
    """Raise caps now, for `minutes` (60 at most), within the limits. Raises Refused."""
    if not holds(by, "break_glass"):
        raise Refused("Break-glass needs a permission of its own.")
    reason = stated(reason, "A reason is required.")
    length = timedelta(minutes=minutes)
    if not timedelta() < length <= LONGEST:
        raise Refused("Break-glass lasts from 1 to 60 minutes.")
    with transaction.atomic():
        query.run("SELECT tollgate.hold_glass()")
        subject = subjects.lock("work_order", work_order_id)
        subject.may_change()
        now = timezone.now()
        values = subject.values()
        lines = {}
        for measure, wanted in new.items():
            if wanted is None:
                continue
            value = subjects.checked(measure, wanted)
            if value <= values[measure]:
                raise Refused("Break-glass only raises.")
            lines[measure] = (values[measure], value)
        if not lines:
            raise Refused("Nothing would change.")
        # The event comes first: the trigger on grants asks for it.
        events.record(
            "BREAK_GLASS",
            message=f"{subject.label}: {describe(lines)} for {minutes} minutes: {reason}",
            owner=("work_order", work_order_id),
            label=subject.label,
            actor=by.get_username(),
            meta={
                "woId": work_order_id,
                "changes": changes_of(lines),
                "minutes": minutes,
                "reason": reason,
                "until": (now + length).isoformat(),
            },
        )
        with refusing():
            # One statement is one use: the trigger judges all its rows together.
            grants = Grant.objects.bulk_create(
                Grant(
                    wo_id=work_order_id,
                    measure=measure,
                    value=value,
                    starts_at=now,
                    ends_at=now + length,
                    kind=Grant.Kind.BREAK_GLASS,
                    granted_by=by.get_username(),
                    person=by,
                    reason=reason,
                )
                for measure, (_, value) in lines.items()
            )
        notices.glass_broken(subject.label, grants, by=by, change=describe(lines), minutes=minutes)
    return grants


def own_review(grant: Grant, by: User) -> SoloOperator | None:
    """The solo operator, where this person is that and would review their own break-glass."""
    return solo_operator.for_person(by) if grant.person_id == by.pk else None


def review(
    grant_id: int, *, by: User, text: str, second_factor_at: datetime | None = None
) -> Grant:
    """Say afterwards whether it was right; by somebody else, who decides on cap changes, or by a
    solo operator after the waiting time, who showed their second factor for it. Raises Refused,
    SecondFactorRequired, and Conflict where it is reviewed already."""
    text = stated(text, "A review says something.")
    if not holds(by, "decide_changerequest"):
        raise Refused("Break-glass is reviewed by those who decide on cap changes.")
    with transaction.atomic():
        grant = Grant.objects.select_for_update(no_key=True).get(
            pk=grant_id, kind=Grant.Kind.BREAK_GLASS
        )
        if grant.reviewed_at is not None:
            raise Conflict("It is reviewed already.")
        shown_at = None
        if grant.person_id == by.pk:  # not by name, which can change
            solo = own_review(grant, by)
            if solo is None:
                raise Refused("Nobody reviews their own break-glass.")
            shown_at = solo.require(grant.created_at, second_factor_at)
        grant.second_factor_at = shown_at
        grant.reviewed_at = timezone.now()
        grant.reviewed_by = by
        grant.review = text
        with refusing():
            grant.save(update_fields=["reviewed_at", "reviewed_by", "review", "second_factor_at"])
        events.record(
            "BREAK_GLASS_REVIEWED",
            message=f"Break-glass on {grant.wo_id} reviewed"
            + (", by the solo operator who used it" if shown_at else "")
            + f": {text}",
            owner=("work_order", grant.wo_id),
            actor=by.get_username(),
            meta={
                "woId": grant.wo_id,
                "grantId": grant.pk,
                "review": text,
                **solo_operator.metadata(shown_at, waited_since=grant.created_at),
            },
        )
        notices.glass_reviewed(grant, by=by)
    return grant


def report_overdue() -> int:
    """Notify people of reviews that are overdue, each once; returns how many are overdue. Safe to
    run twice: the message of a grant has one key."""
    overdue = unreviewed().filter(created_at__lte=timezone.now() - REVIEW_WITHIN)
    with transaction.atomic():
        found = list(overdue.select_related("person"))
        for grant in found:
            notices.glass_overdue(grant)
    return len(found)
