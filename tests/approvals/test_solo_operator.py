"""One person alone: the second signature is the same person's, later and with a second factor."""

import os
import threading
from datetime import date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from budgets import accounts, approvals
from budgets.approvals import corrections, notices, solo_operator
from budgets.checks import four_eyes_in_production
from budgets.exceptions import Refused, SecondFactorRequired
from budgets.finops.reviews import working
from budgets.models import (
    ChangeRequest,
    CostCorrection,
    DimensionBudget,
    Grant,
    MonthlyReview,
    Vote,
)
from config.run.scratch import with_database
from opslog.models import OperationsEvent, OutboxMessage
from tests.admission.desk import Desk, run_of
from tests.approvals.test_workflow import caps
from tests.factories import confirmed, join, make_token, make_user, make_work_order, set_caps
from tests.hotspots.test_registry import hour
from tests.sign_in.people import person, set_up_app, signed_in
from tests.waiting import wait_until
from workorders.models import WorkOrder

pytestmark = pytest.mark.usefixtures("committed_db")
Status = ChangeRequest.Status
GROUPS = ("operations", "director", "finance", "vp")
WHY = "the owner is the only person here"


def switch(*, on: bool = True, minutes: int = 60) -> None:
    solo_operator.switch(enabled=on, minutes=minutes, reason=WHY, by="root")


def owner(sql: str, *params: Any) -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute(sql, params)


def earlier(table: str, column: str, pk: int, minutes: int) -> None:
    """As if it had happened so many minutes ago. Triggers keep these times from all others."""
    owner(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    owner(
        f"UPDATE {table} SET {column} = {column} - %s WHERE id = %s", timedelta(minutes=minutes), pk
    )
    owner(f"ALTER TABLE {table} ENABLE TRIGGER USER")


@pytest.fixture
def ann() -> User:
    make_work_order()
    return make_user("ann", groups=GROUPS, is_staff=True, email="ann@example.com")


def ask(by: User, usd: str = "9.99") -> ChangeRequest:
    request = approvals.ask(
        "w1",
        new={"usd_per_day": Decimal(usd)},
        justification="month end",
        expected_cost_impact="$8 a day",
        by=by,
    )
    return ChangeRequest.objects.get(pk=request.pk)


def waited(request: ChangeRequest, minutes: int = 61) -> ChangeRequest:
    earlier("change_requests", "revised_at", request.pk, minutes)
    return ChangeRequest.objects.get(pk=request.pk)


def sign(
    request: ChangeRequest, by: User, shown: datetime | None = None, decision: str = "approve"
) -> ChangeRequest:
    return approvals.decide(
        request.pk,
        by=by,
        decision=decision,
        comment="looked again",
        seen_revision=request.revision,
        password_confirmed=True,
        second_factor_at=shown,
    )


def event(kind: str) -> Any:
    return OperationsEvent.objects.filter(kind=kind).latest("id")


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
        told = event(kind)
        assert "solo operator" in told.message
        assert told.meta["soloOperator"] == {
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


# --- break-glass, by hand and in its page ---


def smash(by: User) -> Grant:
    (grant,) = approvals.raise_at_once(
        "w1", new={"usd_per_day": Decimal(20)}, minutes=30, reason="night", by=by
    )
    return grant


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
    told = event("BREAK_GLASS_REVIEWED")
    assert "by the solo operator who used it" in told.message
    assert told.meta["soloOperator"]["secondFactorAt"] == shown.isoformat()
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


# --- through the pages, with an authenticator app ---


def test_signing_asks_for_the_factor_and_then_signs() -> None:
    make_work_order()
    ann = person("ada", *GROUPS)
    client = signed_in("ada")
    switch()
    request = ask(ann)
    page = reverse("admin:budgets_changerequest_change", args=[request.pk])
    assert "As the solo operator you can sign from" in client.get(page).content.decode()
    waited(request)
    form = {
        "decision": "approve",
        "comment": "looked again",
        "seen_revision": request.revision,
        "legitimate": "yes",
        "reasonable": "yes",
        "optimise": "no",
    }
    decide = reverse("admin:budgets_changerequest_decide", args=[request.pk])
    shown = client.get(page).content.decode()
    assert "You sign as the solo operator" in shown
    # Nothing is set up: a password is not enough, and setting one up shows nothing.
    client.post("/account/confirm/", {"password": "correct horse battery"})
    assert client.post(decide, form).headers["Location"] == reverse("mfa_index")
    _, codes = set_up_app(client)  # the app’s own code is good for once
    sent = client.post(decide, form)
    assert sent.headers["Location"] == to_code(decide)
    assert caps() == (100, Decimal("2.00"))
    done = client.post(sent.headers["Location"], {"code": codes[0]})
    assert done.status_code == 302
    assert caps() == (100, Decimal("9.99"))
    assert "solo operator</span>" in client.get(page).content.decode()


def to_code(onward: str) -> str:
    return f"{reverse('mfa_reauthenticate')}?{urlencode({'next': onward})}"


def test_a_review_of_break_glass_on_its_page() -> None:
    make_work_order()
    ann = person("ada", *GROUPS)
    client = signed_in("ada")
    _, codes = set_up_app(client)  # the app’s own code is good for once
    switch()
    grant = smash(ann)
    earlier("cap_grants", "created_at", grant.pk, 61)
    review = reverse("admin:budgets_grant_review", args=[grant.pk])
    first = client.get(review)
    assert first.headers["Location"] == to_code(review)
    assert client.post(first.headers["Location"], {"code": codes[0]}).headers["Location"] == review
    client.post(review, {"review": "it was right"})
    assert Grant.objects.get().reviewed_by == ann


def test_over_http_the_denial_is_the_second_factor(ann: User) -> None:
    switch()
    request = waited(ask(ann))
    client = Client()
    client.force_login(ann, backend="django.contrib.auth.backends.ModelBackend")
    body = {
        "decision": "approve",
        "comment": "again",
        "revision": request.revision,
        "answers": {"legitimate": "yes", "reasonable": "yes", "optimise": "no"},
    }
    url = f"/api/cap-changes/{request.pk}/decision"
    for signed_in_client in (client, confirmed(client, ann)):
        answer = signed_in_client.post(url, body, content_type="application/json")
        assert (answer.status_code, answer.headers["Tollgate-Denial"]) == (403, "second_factor")
    answer = confirmed(client, ann, "mfa").post(url, body, content_type="application/json")
    assert answer.json()["status"] == "applied"
    assert answer.json()["votes"][0]["soloOperator"] is True


def test_every_page_says_so(ann: User) -> None:
    client = Client()
    client.force_login(ann, backend="django.contrib.auth.backends.ModelBackend")
    pages = (
        "/admin/",
        "/ops-dashboard",
        "/admin/runbooks/caps/",
        "/account/sessions/",
        "/admin/budgets/grant/",
    )
    words = "ann may sign what they requested themselves, after 60 minutes"
    for page in pages:
        assert words not in client.get(page, follow=True).content.decode(), page
    switch()
    for page in pages:
        assert words in client.get(page, follow=True).content.decode(), page
    make_user("bob", groups=["vp"])
    assert "not in effect: 2 people can sign" in client.get("/admin/").content.decode()


# --- the other second signatures ---


def test_a_correction_is_confirmed_by_who_made_it(ann: User) -> None:
    desk = Desk(make_token(["start", "admin"], name="root", owner=ann)[1])
    set_caps(WorkOrder.objects.get(pk="w1"), 100, "1000.00")
    run = run_of(desk.start(usd="1.00"))
    desk.finish(run, "90.00")
    made = corrections.ask(
        "run", UUID(run), Decimal("1.00"), seen=Decimal(90), reason="a slip", by=ann
    )
    assert made.status == "pending"

    def confirm(shown: datetime | None) -> CostCorrection:
        return corrections.decide(
            made.pk, approve=True, by=ann, note="again", second_factor_at=shown
        )

    with pytest.raises(Refused, match="A second person confirms it"):
        confirm(timezone.now())
    switch()
    with pytest.raises(Refused, match="you can sign from"):
        confirm(timezone.now())
    earlier("cost_corrections", "asked_at", made.pk, 61)
    with pytest.raises(SecondFactorRequired):
        confirm(None)
    assert confirm(timezone.now()).status == "applied"
    told = event("COST_CORRECTED").meta
    assert (told["approvers"], told["approvalLevel"]) == (["ann"], "operations")
    assert "secondFactorAt" in told["soloOperator"]
    # As two people's word it is where the next small step is counted from.
    assert not corrections.needs_second_person("run", UUID(run), Decimal(1), Decimal(40))


def test_a_monthly_review_is_signed_twice(ann: User) -> None:
    DimensionBudget.objects.filter(dimension="llm_api").update(monthly_usd=10)
    hour(date(2026, 10, 5), usd="9.50")
    working.open_review(date(2026, 10, 1), by="tollgate")
    review = MonthlyReview.objects.get()
    for check in review.checks.all():
        working.tick(check.pk, done=True, note="", by="ann")

    def signed(shown: datetime | None = None) -> bool:
        review.refresh_from_db()
        return working.sign(
            review.pk,
            seen=working.state_of(review),
            comment="looked",
            by=ann,
            second_factor_at=shown,
        )

    assert not signed()
    with pytest.raises(Refused, match="Somebody else must sign as well"):
        signed(timezone.now())
    switch()
    with pytest.raises(Refused, match="you can sign from"):
        signed(timezone.now())
    first = review.signatures.get()
    owner("ALTER TABLE review_signatures DISABLE TRIGGER USER")
    owner("UPDATE review_signatures SET at = at - interval '61 minutes'")
    owner("ALTER TABLE review_signatures ENABLE TRIGGER USER")
    with pytest.raises(SecondFactorRequired):
        signed()
    assert signed(timezone.now())
    assert review.signatures.exclude(pk=first.pk).get().second_factor_at is not None
    told = event("REVIEW_CLOSED").meta
    assert told["approvers"] == ["ann"]
    assert "waitedSince" in told["soloOperator"]


# --- the command and the check ---


def test_the_command(ann: User) -> None:
    out = StringIO()
    call_command("solo_operator", stdout=out)
    assert "Off: approvals and reviews need two people." in out.getvalue()
    for wrong in ({"reason": ""}, {"reason": WHY, "minutes": 14}, {"reason": WHY, "minutes": 1201}):
        with pytest.raises(CommandError):
            call_command("solo_operator", "on", **wrong)
    call_command("solo_operator", "on", reason=WHY, minutes=30, stdout=out)
    call_command("solo_operator", stdout=out)
    assert "On, second signature after 30 minutes; in effect. Can sign: ann." in out.getvalue()
    told = event("SOLO_OPERATOR_CHANGED")
    assert told.meta["changes"]["enabled"] == {"old": False, "new": True}
    assert told.meta["changes"]["waitingMinutes"] == {"old": None, "new": 30}
    assert told.meta["reason"] == WHY
    assert OutboxMessage.objects.filter(subject="Solo operator switched on").exists()
    call_command("solo_operator", "off", reason="two of us", stdout=out)
    assert solo_operator.standing() is None
    assert event("SOLO_OPERATOR_CHANGED").meta["changes"]["enabled"] == {"old": True, "new": False}


def test_production_is_warned(ann: User, settings: Any) -> None:
    settings.TOLLGATE_ENVIRONMENT = "production"
    assert four_eyes_in_production(databases=["default"]) == []
    settings.TOLLGATE_ENVIRONMENT = "development"  # the database's
    switch()
    settings.TOLLGATE_ENVIRONMENT = "production"
    (warning,) = four_eyes_in_production(databases=["default"])
    assert warning.id == "budgets.W001"
    settings.TOLLGATE_ENVIRONMENT = "development"
    assert four_eyes_in_production(databases=["default"]) == []
