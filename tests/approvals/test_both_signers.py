"""Every event of an act that took two people names both, and whose word it was."""

from decimal import Decimal
from uuid import UUID

import pytest
from django.db import transaction

from budgets import accounts, approvals
from budgets.approvals import corrections
from opslog.models import OperationsEvent
from tests import factories
from tests.admission.desk import Desk, run_of
from tests.approvals.people import decide, everybody

pytestmark = pytest.mark.usefixtures("committed_db")


def signers(kind: str) -> tuple[list[str], str]:
    meta = OperationsEvent.objects.filter(kind=kind).latest("id").meta
    return meta["approvers"], meta["approvalLevel"]


def test_a_cap_change() -> None:
    people = everybody()
    request = approvals.ask(
        "w1",
        new={"usd_per_day": Decimal(60)},
        justification="more",
        expected_cost_impact="$58 a day",
        by=people["asker"],
    )
    decide(request, people["vp"])
    decide(request, people["finance"])
    assert signers("WORK_ORDER_CAP_CHANGE") == (["finance", "vp"], "finance + vp")


def test_a_corrected_cost() -> None:
    factories.make_work_order("w1", usd_per_day="1000.00")
    ann, bob = (factories.make_user(name, groups=["operations"]) for name in ("ann", "bob"))
    desk = Desk(factories.make_token(["start", "admin"])[1])
    run = run_of(desk.start(usd="1.00"))
    desk.finish(run, "90.00")
    made = corrections.ask("run", UUID(run), Decimal(1), seen=Decimal(90), reason="slip", by=bob)
    corrections.decide(made.pk, approve=True, by=ann, note="yes")
    assert signers("COST_CORRECTED") == (["bob", "ann"], "operations")


def test_an_account_change() -> None:
    one, two = (
        factories.make_user(name, is_superuser=True, is_staff=True) for name in ("one", "two")
    )
    nora = factories.make_user("nora")
    with transaction.atomic():
        outcome = accounts.change(nora.pk, by=one, values={}, groups={"finance"})
    assert outcome.waiting is not None
    accounts.confirm(outcome.waiting.pk, by=two)
    for kind in ("ACCOUNT_CHANGE_CONFIRMED", "USER_CHANGED"):
        assert signers(kind) == (["one", "two"], "administrator")
