"""One person alone: the second signature is the same person's, later and with a second factor."""

import os
import threading
from datetime import datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.utils import timezone

from budgets import accounts, approvals
from budgets.approvals import notices, solo_operator
from budgets.exceptions import Refused, SecondFactorRequired
from budgets.models import (
    ChangeRequest,
    Grant,
    Vote,
)
from config.run.scratch import with_database
from opslog.models import OutboxMessage
from tests.approvals.people import caps
from tests.approvals.solo import (
    GROUPS,
    ask,
    earlier,
    event,
    sign,
    smash,
    switch,
    waited,
)
from tests.factories import (
    join,
    make_token,
    make_user,
    make_work_order,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("committed_db")
Status = ChangeRequest.Status


@pytest.fixture
def ann() -> User:
    make_work_order()
    return make_user("ann", groups=GROUPS, is_staff=True, email="ann@example.com")


def test_as_shipped_it_is_off(ann: User) -> None:
    request = waited(ask(ann))
    assert solo_operator.standing() is None
    with pytest.raises(Refused, match="Nobody approves their own request"):
        sign(request, ann, timezone.now())
    assert approvals.impossible(request).startswith("There is nobody left to sign")


@pytest.mark.parametrize(
    ("usd", "level"),
    [("9.99", "operations"), ("50.00", "director"), ("60.00", "finance + vp")],
)
def test_every_tier_with_one_signature(ann: User, usd: str, level: str) -> None:
    switch()
    request = waited(ask(ann, usd))
    assert approvals.impossible(request) == ""
    assert approvals.waiting_for(ann) == [request]
    shown = timezone.now()
    assert sign(request, ann, shown).status == Status.APPLIED
    assert caps() == (100, Decimal(usd))
    vote = Vote.objects.get()
    assert (vote.voter, vote.second_factor_at) == (ann, shown)
    for kind in ("CAP_CHANGE_APPROVED", "WORK_ORDER_CAP_CHANGE"):
        recorded = event(kind)
        assert "solo operator" in recorded.message
        assert recorded.meta["soloOperator"] == {
            "waitedSince": request.waits_since.isoformat(),
            "secondFactorAt": shown.isoformat(),
        }
    assert event("WORK_ORDER_CAP_CHANGE").meta["approvers"] == ["ann"]
    assert event("WORK_ORDER_CAP_CHANGE").meta["approvalLevel"] == level


def test_not_before_the_waiting_time_is_over(ann: User) -> None:
    switch(minutes=90)
    request = waited(ask(ann), 89)
    at = request.waits_since + timedelta(minutes=90)
    with pytest.raises(Refused, match=f"you can sign from {at:%Y-%m-%d %H:%M} UTC on"):
        sign(request, ann, timezone.now())
    assert approvals.waiting_for(ann) == []
    assert sign(waited(request, 2), ann, timezone.now()).status == Status.APPLIED


def test_an_edit_begins_the_waiting_anew(ann: User) -> None:
    switch()
    request = waited(ask(ann))
    edited = approvals.edit(
        request.pk,
        new={"usd_per_day": Decimal("9.00")},
        justification="less",
        expected_cost_impact="$7 a day",
        by=ann,
    )
    with pytest.raises(Refused, match="you can sign from"):
        sign(edited, ann, timezone.now())


@pytest.mark.parametrize("minutes", [None, 61, 2])
def test_the_second_factor_is_fresh(ann: User, minutes: int | None) -> None:
    """Not shown; shown when it was requested; shown a minute before the waiting time was over."""
    switch()
    request = waited(ask(ann))
    shown = None if minutes is None else timezone.now() - timedelta(minutes=minutes)
    with pytest.raises(SecondFactorRequired):
        sign(request, ann, shown)
    assert caps() == (100, Decimal("2.00"))


def test_not_while_somebody_else_could_sign(ann: User) -> None:
    switch()
    request = waited(ask(ann))
    make_user("bob", groups=["finance"])  # who could not even sign this
    standing = solo_operator.standing()
    assert standing is not None
    assert (standing.in_effect, standing.signers) == (False, ["ann", "bob"])
    with pytest.raises(Refused, match="Nobody approves their own request"):
        sign(request, ann, timezone.now())


@pytest.mark.parametrize("how", ["deactivated", "out of the group", "group without the right"])
def test_not_for_a_day_after_the_others_were_put_out(ann: User, how: str) -> None:
    bob = make_user("bob", groups=["vp"])
    switch()
    if how == "deactivated":
        User.objects.filter(pk=bob.pk).update(is_active=False)
    else:
        with transaction.atomic():
            accounts.leave_groups(bob, {"vp"}, by="ann")
    request = waited(ask(ann))
    standing = solo_operator.standing()
    assert standing is not None
    assert (standing.in_effect, standing.signers) == (False, ["ann"])
    with pytest.raises(Refused, match="Nobody approves their own request"):
        sign(request, ann, timezone.now())


def test_people_who_only_read_are_nobody_else(ann: User) -> None:
    make_user("aud", groups=["auditor"])
    make_user("root", is_superuser=True)  # no vote by being one
    make_user("gone", groups=["vp"], is_active=False)
    switch()
    assert solo_operator.for_person(ann) is not None


def test_the_token_owner_and_who_asks_for_more_people(ann: User) -> None:
    """A program's request is its owner's; and two slots are one person's where nobody else is."""
    switch()
    token, _ = make_token(["request"], owner=ann)
    asked = approvals.ask(
        "w1",
        new={"usd_per_day": Decimal("60.00")},
        justification="more",
        expected_cost_impact="$58 a day",
        by=ann,
        token_id=token.pk,
    )
    assert sign(waited(asked), ann, timezone.now()).status == Status.APPLIED


def test_groups_that_the_person_is_not_in(ann: User) -> None:
    make_work_order("w2")
    User.objects.get(pk=ann.pk).groups.filter(name="vp").first()
    with transaction.atomic():
        accounts.leave_groups(ann, {"vp"}, by="ann")
    switch()
    request = waited(ask(ann, "60.00"))
    assert approvals.impossible(request) == "There is nobody left to sign for finance and vp."
    with pytest.raises(Refused, match="Nobody approves their own request"):
        sign(request, ann, timezone.now())


def test_one_s_own_request_is_withdrawn_not_refused(ann: User) -> None:
    switch()
    with pytest.raises(Refused, match="Withdraw your own request"):
        sign(waited(ask(ann)), ann, timezone.now(), "refuse")


def test_switched_off_before_the_signature(ann: User) -> None:
    switch()
    request = waited(ask(ann))
    switch(on=False)
    with pytest.raises(Refused, match="Nobody approves their own request"):
        sign(request, ann, timezone.now())


# --- what the database holds by itself ---


def vote(request: ChangeRequest, voter: User, shown: datetime | None) -> None:
    with transaction.atomic():
        Vote.objects.create(
            request=request,
            revision=request.revision,
            voter=voter,
            decision="approve",
            comment="by SQL",
            second_factor_at=shown,
        )


def test_a_vote_by_sql_is_judged_by_its_row(ann: User) -> None:
    request = waited(ask(ann))
    with pytest.raises(IntegrityError, match="solo operator is not in effect"):
        vote(request, ann, timezone.now())
    switch()
    with pytest.raises(IntegrityError, match="Nobody approves their own request"):
        vote(request, ann, None)
    with pytest.raises(IntegrityError, match="confirm this with your second factor"):
        vote(request, ann, timezone.now() + timedelta(minutes=1))
    with pytest.raises(IntegrityError, match="confirm this with your second factor"):
        vote(request, ann, request.waits_since + timedelta(minutes=59))
    late = waited(request, 120)  # three hours in all
    with pytest.raises(IntegrityError, match="confirm this with your second factor"):
        vote(late, ann, timezone.now() - timedelta(minutes=61))
    vote(late, ann, timezone.now())


def test_the_application_writes_neither_the_rule_nor_the_time(ann: User) -> None:
    request = ask(ann)
    with (
        pytest.raises(DatabaseError, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO solo_operator_rules (enabled, waiting_minutes, reason, by) "
            "VALUES (true, 15, 'x', 'x')"
        )
    ChangeRequest.objects.filter(pk=request.pk).update(
        revised_at=timezone.now() - timedelta(hours=5)
    )
    assert ChangeRequest.objects.get(pk=request.pk).revised_at == request.revised_at


def test_who_becomes_the_second_person_meanwhile_is_seen(ann: User, committed_db: str) -> None:
    """A membership that is being written holds the vote up, and then refuses it."""
    switch()
    request = waited(ask(ann))
    bob = make_user("bob")
    failed: list[BaseException] = []

    def voting() -> None:
        try:
            sign(request, ann, timezone.now())
        except Refused as error:
            failed.append(error)
        finally:
            connections.close_all()

    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'memberships'::regclass"
    thread = threading.Thread(target=voting)
    with transaction.atomic():
        accounts.proposals.one_at_a_time()  # as every change of an account does
        join(bob, "operations")
        thread.start()
        with psycopg.connect(with_database(os.environ["DATABASE_URL"], committed_db)) as other:
            wait_until(lambda: other.execute(waits).fetchone() == (1,), "the vote waits")
    thread.join()
    assert [str(error) for error in failed] == [
        "Somebody else must sign: solo operator is not in effect."
    ]
    assert caps() == (100, Decimal("2.00"))
    assert not Vote.objects.exists()


# --- break-glass ---


def test_break_glass_is_reviewed_by_who_used_it(ann: User) -> None:
    grant = smash(ann)
    with pytest.raises(Refused, match="Nobody reviews their own"):
        approvals.review(grant.pk, by=ann, text="it was right", second_factor_at=timezone.now())
    switch()
    with pytest.raises(Refused, match="you can sign from"):
        approvals.review(grant.pk, by=ann, text="it was right", second_factor_at=timezone.now())
    earlier("cap_grants", "created_at", grant.pk, 61)
    with pytest.raises(SecondFactorRequired):
        approvals.review(grant.pk, by=ann, text="it was right")
    with pytest.raises(IntegrityError, match="cap_grants_reviewer"), transaction.atomic():
        Grant.objects.filter(pk=grant.pk).update(
            reviewed_by=ann, reviewed_at=timezone.now(), review="by SQL"
        )
    shown = timezone.now()
    approvals.review(grant.pk, by=ann, text="it was right", second_factor_at=shown)
    recorded = event("BREAK_GLASS_REVIEWED")
    assert "by the solo operator who used it" in recorded.message
    assert recorded.meta["soloOperator"]["secondFactorAt"] == shown.isoformat()
    smash(ann)  # the next one is allowed


@pytest.mark.parametrize("on", [True, False])
def test_an_overdue_review_of_one_s_own_break_glass(ann: User, on: bool) -> None:
    if on:
        switch()
    grant = smash(ann)
    with transaction.atomic():
        notices.glass_overdue(grant)
    sent = OutboxMessage.objects.filter(key=f"{grant.pk}:overdue", recipient=str(ann.pk))
    assert [("with your second factor" in each.text) for each in sent] == [True] * on
