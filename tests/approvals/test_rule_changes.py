"""Changing the rules: what is refused with its reason, what is recorded, who is notified."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from budgets import approvals
from budgets.approvals.needs import current_rules
from budgets.approvals.rule_changes import problems, replace
from budgets.approvals.rules import Rule
from budgets.exceptions import Refused
from budgets.models import ChangeRequest
from opslog.models import OperationsEvent, OutboxMessage
from tests.approvals.people import ask, decide, everybody
from tests.factories import join, make_user


def usd(*rows: tuple[Any, ...]) -> list[Rule]:
    return [
        Rule("usd_per_day", Decimal(low), None if high is None else Decimal(high), slots)
        for low, high, slots in rows
    ]


OPS = {"operations": 1}


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (usd(("0.01", "9.99", OPS), ("10.00", None, {"director": 1})), ""),
        (usd(("0.01", None, OPS)), ""),
        (usd(("10.00", None, OPS), ("0.01", "9.99", OPS)), ""),  # order does not matter
        ([], "must be a rule"),
        (usd(("0.01", "9.98", OPS), ("10.00", None, OPS)), "From 9.99 to 9.99 there is no rule"),
        (usd(("1.00", None, OPS)), "From 0.01 to 0.99 there is no rule"),
        (usd(("0.01", "10.00", OPS), ("10.00", None, OPS)), "At 10.00 two rules overlap"),
        (usd(("0.01", "9.99", OPS)), "Above 9.99 there is no rule"),
        (usd(("0.01", None, OPS), ("10.00", None, OPS)), "no end and others after it"),
        (usd(("0.01", None, {})), "nobody is asked"),
        (usd(("0.01", None, {"operations": 0})), "asked for nobody"),
        (usd(("0.01", "0.005", OPS), ("10.00", None, OPS)), "multiples"),
    ],
)
def test_problems(wanted: list[Rule], problem: str) -> None:
    found = " ".join(problems("usd_per_day", wanted))
    assert (problem in found) if problem else not found


@pytest.fixture
def people(db: None) -> dict[str, User]:
    return everybody()


def test_replacing_is_recorded_and_told(people: dict[str, User]) -> None:
    wanted = usd(("0.01", "5.00", OPS), ("5.01", None, {"director": 1}))
    replace("usd_per_day", wanted, by=people["administrator"], reason="tighter")
    assert [rule for rule in current_rules() if rule.measure == "usd_per_day"] == wanted
    meta = OperationsEvent.objects.get(kind="APPROVAL_RULES_CHANGE").meta
    change = meta["changes"]["rules"]
    assert len(change["old"]) == 3
    assert change["new"] == [
        {"from": "0.01", "to": "5.00", "slots": {"operations": 1}},
        {"from": "5.01", "to": None, "slots": {"director": 1}},
    ]
    messages = OutboxMessage.objects.filter(topic="approval_rules")
    voters = ("operations", "asker", "director", "finance", "vp")
    assert set(messages.values_list("recipient", flat=True)) == {str(people[n].pk) for n in voters}


@pytest.mark.parametrize("who", ["operations", "director", "auditor"])
def test_only_administrators(people: dict[str, User], who: str) -> None:
    with pytest.raises(Refused, match="Only administrators"):
        replace("usd_per_day", usd(("0.01", None, OPS)), by=people[who], reason="x")


def test_an_administrator_of_an_hour_changes_no_rule(people: dict[str, User]) -> None:
    join(people["auditor"], "administrator", counts_from=timezone.now() + timedelta(hours=1))
    with pytest.raises(Refused, match="Only administrators"):
        replace("usd_per_day", usd(("0.01", None, OPS)), by=people["auditor"], reason="x")


def test_slots_that_nobody_can_fill_are_refused(people: dict[str, User]) -> None:
    with pytest.raises(Refused, match="nobody left to sign for vp"):
        replace(
            "usd_per_day",
            usd(("0.01", None, {"vp": 2})),
            by=people["administrator"],
            reason="x",
        )
    make_user("vp-2", groups=["vp"], is_active=False)
    with pytest.raises(Refused, match="nobody left"):
        replace(
            "usd_per_day", usd(("0.01", None, {"vp": 2})), by=people["administrator"], reason="x"
        )
    # One person in both groups cannot fill two slots.
    User.objects.filter(groups__name="finance").exclude(username="vp").update(is_active=False)
    join(people["vp"], "finance")
    with pytest.raises(Refused, match="nobody left"):
        replace(
            "usd_per_day",
            usd(("0.01", None, {"finance": 1, "vp": 1})),
            by=people["administrator"],
            reason="x",
        )


def test_open_requests_are_judged_by_the_new_rules(people: dict[str, User]) -> None:
    request = ask(people, usd="9.99")
    wanted = usd(("0.01", "5.00", OPS), ("5.01", None, {"director": 1}))
    replace("usd_per_day", wanted, by=people["administrator"], reason="tighter")
    with pytest.raises(Refused, match="needs director"):
        decide(request, people["operations"])
    assert decide(request, people["director"]).status == ChangeRequest.Status.APPLIED


def test_a_leaver_makes_a_request_impossible(people: dict[str, User]) -> None:
    request = ask(people, usd="60.00")
    assert not approvals.impossible(request)
    User.objects.filter(username="vp").update(is_active=False)
    assert approvals.impossible(request) == "There is nobody left to sign for vp."
    User.objects.filter(username="vp").update(is_active=True)
    assert not approvals.impossible(request)
    people["vp"].groups.clear()
    assert "vp" in approvals.impossible(request)
