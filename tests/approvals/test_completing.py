"""The last condition that comes true applies a request, whatever it is."""

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse

from budgets import approvals, tasks
from budgets.approvals import rule_changes, rules
from budgets.exceptions import Refused
from budgets.models import CapChange, ChangeRequest
from opslog import events
from opslog.models import OperationsEvent
from tests.approvals.test_workflow import ask, caps, decide, everybody
from tests.factories import make_work_order, set_caps
from workorders.models import WorkOrder

RACES = 60


@pytest.fixture
def people(db: None) -> dict[str, User]:
    return everybody()


def leave_and_sign(people: dict[str, User]) -> ChangeRequest:
    """Both have signed; one of them is out of the group when the last signature comes."""
    request = ask(people, usd="60.00")
    decide(request, people["finance"])
    people["finance"].groups.clear()
    assert decide(request, people["vp"]).status == "pending"
    return request


def test_a_voter_who_comes_back_completes_it(people: dict[str, User]) -> None:
    request = leave_and_sign(people)
    assert tasks.watch_requests()[0] == 0
    people["finance"].groups.add(Group.objects.get(name="finance"))
    User.objects.filter(username="auditor").update(is_staff=True)
    client = Client()
    client.force_login(people["auditor"], backend="django.contrib.auth.backends.ModelBackend")
    page = reverse("admin:budgets_changerequest_change", args=[request.pk])
    assert "Every signature is there" in client.get(page).content.decode()
    assert tasks.watch_requests()[0] == 1
    request.refresh_from_db()
    assert request.status == "applied"
    assert caps() == (100, Decimal("60.00"))
    meta = OperationsEvent.objects.get(kind="WORK_ORDER_CAP_CHANGE").meta
    assert meta["approvers"] == ["finance", "vp"]
    assert tasks.watch_requests()[0] == 0


def test_a_voter_who_is_switched_on_again_completes_it(people: dict[str, User]) -> None:
    request = ask(people, usd="60.00")
    decide(request, people["finance"])
    User.objects.filter(pk=people["finance"].pk).update(is_active=False)
    decide(request, people["vp"])
    User.objects.filter(pk=people["finance"].pk).update(is_active=True)
    assert approvals.complete_pending() == 1


def test_rules_that_ask_for_less_complete_it(people: dict[str, User]) -> None:
    request = ask(people, usd="60.00")
    decide(request, people["finance"])
    wanted = [
        rules.Rule("usd_per_day", Decimal("0.01"), Decimal("50.00"), {"director": 1}),
        rules.Rule("usd_per_day", Decimal("50.01"), None, {"finance": 1}),
    ]
    rule_changes.replace("usd_per_day", wanted, by=people["administrator"], reason="vp is away")
    request.refresh_from_db()
    assert request.status == "applied"


def test_it_is_judged_as_of_that_moment(people: dict[str, User]) -> None:
    """The base has moved meanwhile: stale, not applied."""
    request = leave_and_sign(people)
    approvals.ask(
        "w1",
        new={"usd_per_day": Decimal("1.50")},
        justification="x",
        expected_cost_impact="$1 a day",
        by=people["asker"],
    )
    people["finance"].groups.add(Group.objects.get(name="finance"))
    assert approvals.complete_pending() == 1
    request.refresh_from_db()
    assert request.status == "stale"
    assert caps() == (100, Decimal("1.50"))


def test_one_that_cannot_be_applied_does_not_stop_the_others(people: dict[str, User]) -> None:
    first = leave_and_sign(people)
    make_work_order("w2")
    second = approvals.ask(
        "w2",
        new={"usd_per_day": Decimal("60")},
        justification="x",
        expected_cost_impact="$1 a day",
        by=people["asker"],
    )
    people["finance"].groups.add(Group.objects.get(name="finance"))
    decide(second, people["finance"])
    people["finance"].groups.clear()
    decide(second, people["vp"])
    people["finance"].groups.add(Group.objects.get(name="finance"))
    with transaction.atomic():
        events.record("WORK_ORDER_ARCHIVED", message="x", owner=("work_order", "w1"), actor="ops")
        WorkOrder.objects.filter(pk="w1").update(status="archived")
    assert approvals.complete_pending() == 1
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == ("pending", "applied")


def race(people: dict[str, User]) -> tuple[list[str], int, int]:
    """A refusal, a withdrawal, and two runs of the job, on one complete request."""
    request = leave_and_sign(people)
    people["finance"].groups.add(Group.objects.get(name="finance"))
    barrier = threading.Barrier(4)
    other = everybody_else(people)

    def run(name: str) -> str:
        try:
            barrier.wait()
            if name == "cancel":
                approvals.cancel(request.pk, by=people["asker"])
            elif name == "refuse":
                approvals.decide(
                    request.pk,
                    by=other,
                    decision="refuse",
                    comment="no",
                    seen_revision=request.revision,
                )
            elif not approvals.complete_pending():
                return ""
        except (Refused, IntegrityError):
            return ""
        finally:
            connection.close()
        return name

    with ThreadPoolExecutor(4) as pool:
        won = [each for each in pool.map(run, ("job", "job", "cancel", "refuse")) if each]
    ends = OperationsEvent.objects.filter(
        kind__in=("WORK_ORDER_CAP_CHANGE", "CAP_CHANGE_CANCELLED", "CAP_CHANGE_REFUSED"),
        meta__requestId=request.pk,
    ).count()
    applied = CapChange.objects.filter(request=request).count()
    return won, ends, applied


def everybody_else(people: dict[str, User]) -> User:
    other, _ = User.objects.get_or_create(username="finance-2")
    other.groups.add(Group.objects.get(name="finance"))
    return other


def reset() -> None:
    set_caps(WorkOrder.objects.get(), 100, "2.00")


def test_exactly_one_end(committed_db: str) -> None:
    people = everybody()
    for _ in range(RACES):
        won, ends, applied = race(people)
        assert (len(won), ends) == (1, 1), won
        assert applied == (won == ["job"])
        reset()


def test_without_the_lock_there_are_several(
    committed_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = everybody()
    monkeypatch.setattr(QuerySet, "select_for_update", lambda self, **kwargs: self.all())
    with connections["owner"].cursor() as cursor:
        cursor.execute("DROP TRIGGER guard ON change_requests")
    found = False
    for _ in range(RACES):
        won, ends, _ = race(people)
        found = found or len(won) > 1 or ends > 1
        if found:
            break
        reset()
    assert found
