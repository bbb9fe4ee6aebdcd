"""One person alone, in the pages and by the command; corrections and reviews."""

from datetime import date, datetime
from decimal import Decimal
from io import StringIO
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from budgets.approvals import corrections, solo_operator
from budgets.checks import four_eyes_in_production
from budgets.exceptions import Refused, SecondFactorRequired
from budgets.finops.reviews import working
from budgets.models import (
    CostCorrection,
    DimensionBudget,
    Grant,
    MonthlyReview,
)
from opslog.models import OutboxMessage
from tests.admission.desk import Desk, run_of
from tests.approvals.people import caps
from tests.approvals.solo import GROUPS, WHY, ask, earlier, event, owner, smash, switch, waited
from tests.factories import (
    confirmed,
    make_hour,
    make_token,
    make_user,
    make_work_order,
    set_caps,
)
from tests.sign_in.people import person, set_up_app, signed_in
from workorders.models import WorkOrder

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def ann() -> User:
    make_work_order()
    return make_user("ann", groups=GROUPS, is_staff=True, email="ann@example.com")


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
    recorded = event("COST_CORRECTED").meta
    assert (recorded["approvers"], recorded["approvalLevel"]) == (["ann"], "operations")
    assert "secondFactorAt" in recorded["soloOperator"]
    # As two people's word it is where the next small step is counted from.
    assert not corrections.needs_second_person("run", UUID(run), Decimal(1), Decimal(40))


def test_a_monthly_review_is_signed_twice(ann: User) -> None:
    DimensionBudget.objects.filter(dimension="llm_api").update(monthly_usd=10)
    make_hour(date(2026, 10, 5), usd="9.50")
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
    recorded = event("REVIEW_CLOSED").meta
    assert recorded["approvers"] == ["ann"]
    assert "waitedSince" in recorded["soloOperator"]


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
    recorded = event("SOLO_OPERATOR_CHANGED")
    assert recorded.meta["changes"]["enabled"] == {"old": False, "new": True}
    assert recorded.meta["changes"]["waitingMinutes"] == {"old": None, "new": 30}
    assert recorded.meta["reason"] == WHY
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
