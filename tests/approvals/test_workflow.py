"""A cap change from the request to the applied caps, and everything that may stand in its way."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from budgets import approvals
from budgets.exceptions import Conflict, Refused
from budgets.models import CapChange, ChangeRequest, Vote
from opslog.models import OperationsEvent
from tests.approvals.people import ask, caps, decide, everybody
from tests.factories import join, make_user, set_caps
from tests.trail import meta_of, trail
from workorders.models import WorkOrder

Status = ChangeRequest.Status


@pytest.fixture
def people(db: None) -> dict[str, User]:
    return everybody()


def test_one_signature(people: dict[str, User]) -> None:
    request = ask(people, usd="9.99")
    assert caps() == (100, Decimal("2.00"))
    assert decide(request, people["operations"]).status == Status.APPLIED
    assert caps() == (100, Decimal("9.99"))
    meta = OperationsEvent.objects.get(kind="WORK_ORDER_CAP_CHANGE").meta
    assert meta["changes"] == {"usdPerDay": {"old": 2, "new": 9.99}}
    assert (meta["previousCap"], meta["newCap"]) == (2, 9.99)
    assert (meta["approver"], meta["approvalLevel"]) == ("operations", "operations")
    assert meta["reason"] == "month end"
    assert CapChange.objects.get().request_id == request.pk


def test_two_signatures_by_two_people(people: dict[str, User]) -> None:
    request = ask(people, usd="60.00")
    assert decide(request, people["finance"]).status == Status.PENDING
    assert caps() == (100, Decimal("2.00"))
    assert [slot.filled_by for slot in approvals.open_slots(request)] == ["finance", ""]
    assert decide(request, people["vp"]).status == Status.APPLIED
    assert caps() == (100, Decimal("60.00"))


@pytest.mark.parametrize(
    ("usd", "who", "reason"),
    [
        ("9.99", "auditor", "do not decide"),
        ("9.99", "administrator", "do not decide"),
        ("9.99", "director", "needs operations"),
        ("10.00", "operations", "needs director"),
        ("50.01", "director", "needs finance and vp"),
        ("9.99", "asker", "own request"),
    ],
)
def test_who_may_not(people: dict[str, User], usd: str, who: str, reason: str) -> None:
    request = ask(people, usd=usd)
    with pytest.raises(Refused, match=reason):
        decide(request, people[who])
    assert not Vote.objects.exists()


def test_a_superuser_has_no_vote_by_being_one(people: dict[str, User]) -> None:
    root = make_user("root", is_superuser=True)
    request = ask(people, usd="9.99")
    assert request not in approvals.waiting_for(root)
    with pytest.raises(Refused, match="needs operations"):
        decide(request, root)


def test_nobody_signs_twice(people: dict[str, User]) -> None:
    join(people["finance"], "vp")
    request = ask(people, usd="60.00")
    decide(request, people["finance"])
    with pytest.raises(Refused, match="have decided"):
        decide(request, people["finance"])


def test_the_vote_of_a_leaver_is_judged_again(people: dict[str, User]) -> None:
    request = ask(people, usd="60.00")
    decide(request, people["finance"])
    User.objects.filter(pk=people["finance"].pk).update(is_active=False)
    assert decide(request, people["vp"]).status == Status.PENDING
    other = make_user("finance-2", groups=["finance"])
    assert decide(request, other).status == Status.APPLIED


def test_one_refusal_ends_it(people: dict[str, User]) -> None:
    request = ask(people, usd="60.00")
    decide(request, people["finance"])
    assert decide(request, people["vp"], "refuse").status == Status.REFUSED
    assert trail("CAP_CHANGE_") == [
        ("CAP_CHANGE_REQUESTED", "work_order w1", "asker"),
        ("CAP_CHANGE_APPROVED", "work_order w1", "finance"),
        ("CAP_CHANGE_REFUSED", "work_order w1", "vp"),
    ]
    assert meta_of("CAP_CHANGE_REQUESTED")["changes"] == {"usdPerDay": {"old": 2, "new": 60}}
    assert meta_of("CAP_CHANGE_REQUESTED")["reason"] == "month end"
    assert meta_of("CAP_CHANGE_APPROVED")["requestId"] == request.pk
    refused = {"woId": "w1", "requestId": request.pk, "reason": "fine"}
    assert meta_of("CAP_CHANGE_REFUSED") == refused
    with pytest.raises(Conflict):
        decide(request, people["vp"])
    assert caps() == (100, Decimal("2.00"))


@pytest.mark.parametrize(("decision", "comment"), [("approve", " "), ("", "yes"), ("maybe", "x")])
def test_a_decision_is_explicit_and_says_why(
    people: dict[str, User], decision: str, comment: str
) -> None:
    pk = ask(people, usd="9.99").pk
    with pytest.raises(Refused):
        approvals.decide(
            pk, by=people["operations"], decision=decision, comment=comment, seen_revision=1
        )


def test_a_vote_is_for_the_revision_that_was_seen(people: dict[str, User]) -> None:
    pk = ask(people, usd="9.99").pk
    with pytest.raises(Conflict, match="changed since"):
        approvals.decide(
            pk, by=people["operations"], decision="approve", comment="x", seen_revision=2
        )


def test_base_caps_that_moved_make_it_stale(people: dict[str, User]) -> None:
    request = ask(people, usd="9.99")
    set_caps(WorkOrder.objects.get(), 100, "3.00")
    assert decide(request, people["operations"]).status == Status.STALE
    assert caps() == (100, Decimal("3.00"))
    assert trail("CAP_CHANGE_") == [
        ("CAP_CHANGE_REQUESTED", "work_order w1", "asker"),
        ("CAP_CHANGE_APPROVED", "work_order w1", "operations"),
        ("CAP_CHANGE_STALE", "work_order w1", "tollgate"),
    ]


def test_expiry_is_found_under_the_lock(people: dict[str, User]) -> None:
    request = ask(people, usd="9.99")
    ChangeRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(Conflict, match="expired"):
        decide(request, people["operations"])
    request.refresh_from_db()
    assert request.status == Status.EXPIRED
    assert trail("CAP_CHANGE_")[1:] == [("CAP_CHANGE_EXPIRED", "work_order w1", "tollgate")]
    assert ask(people, usd="9.99").status == Status.PENDING


def test_one_open_request(people: dict[str, User]) -> None:
    ask(people, usd="9.99")
    with pytest.raises(Conflict):
        ask(people, usd="5.00")


def test_cancel_by_the_asker_alone(people: dict[str, User]) -> None:
    request = ask(people, usd="9.99")
    with pytest.raises(Refused):
        approvals.cancel(request.pk, by=people["operations"])
    assert approvals.cancel(request.pk, by=people["asker"]).status == Status.CANCELLED
    assert trail("CAP_CHANGE_")[1:] == [("CAP_CHANGE_CANCELLED", "work_order w1", "asker")]
    with pytest.raises(Conflict):
        decide(request, people["operations"])


def test_lowering_takes_effect_at_once(people: dict[str, User]) -> None:
    before = len(trail("WORK_ORDER_CAP_CHANGE"))
    assert ask(people, usd="1.00", runs=50).status == Status.APPLIED
    assert trail("CAP_CHANGE_") == [("CAP_CHANGE_REQUESTED", "work_order w1", "asker")]
    assert trail("WORK_ORDER_CAP_CHANGE")[before:] == [
        ("WORK_ORDER_CAP_CHANGE", "work_order w1", "asker")
    ]
    assert caps() == (50, Decimal("1.00"))
    assert not Vote.objects.exists()


def test_lowering_does_not_wait_for_an_open_request(people: dict[str, User]) -> None:
    request = ask(people, usd="9.99")
    assert ask(people, usd="1.00").status == Status.APPLIED
    assert caps() == (100, Decimal("1.00"))
    assert decide(request, people["operations"]).status == Status.STALE


def test_lowering_is_for_operations(people: dict[str, User]) -> None:
    people["asker"] = people["finance"]
    with pytest.raises(Refused, match="operations"):
        ask(people, usd="1.00")


@pytest.mark.parametrize(
    ("usd", "runs"),
    [
        (None, None),
        ("2.00", 100),
        ("0", None),
        ("-1", None),
        ("2.001", None),
        (None, 0),
        ("1000000.01", None),
        (None, 10_000_001),
    ],
)
def test_values_that_make_no_sense(
    people: dict[str, User], usd: str | None, runs: int | None
) -> None:
    with pytest.raises(Refused):
        ask(people, usd=usd, runs=runs)
    assert not ChangeRequest.objects.exists()


def test_waiting_for_me(people: dict[str, User]) -> None:
    request = ask(people, usd="60.00")
    waiting = {name for name, user in people.items() if request in approvals.waiting_for(user)}
    assert waiting == {"finance", "vp"}
    decide(request, people["vp"])
    assert request not in approvals.waiting_for(people["vp"])
