"""`manage.py cap_changes` lists, and does nothing else."""

import json
from io import StringIO

import pytest
from django.core.management import call_command

from budgets.models import ChangeRequest, Vote
from tests.approvals.people import ask, everybody
from tests.factories import make_work_order


def listed(*argv: str) -> str:
    out = StringIO()
    call_command("cap_changes", *argv, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_it_lists_and_never_decides() -> None:
    people = everybody()
    make_work_order("w2")
    assert listed() == "No such request.\n"
    request = ask(people, usd="60.00")
    outcomes = listed("--status", "pending")
    assert "USD/day 2 → 60" in outcomes
    assert "finance: open, vp: open" in outcomes
    (row,) = [json.loads(line) for line in listed("--json").splitlines()]
    assert (row["id"], row["workOrderId"], row["status"]) == (request.pk, "w1", "pending")
    assert row["changes"] == {"usdPerDay": {"old": 2, "new": 60}}
    assert listed("--work-order", "w2", "--json") == ""
    assert listed("--status", "applied", "--json") == ""
    assert ChangeRequest.objects.get().status == "pending"
    assert not Vote.objects.exists()
