"""Who must sign: the shipped rules at their boundaries, and the seating of signatures."""

from decimal import Decimal
from importlib import import_module

import pytest

from budgets.approvals.rules import NoRule, Rule, assign, is_filled, slots_for


def shipped() -> list[Rule]:
    """The rules of the migration itself."""
    rows = import_module("budgets.migrations._shipped").RULES
    return [
        Rule(measure, Decimal(low), high and Decimal(high), dict.fromkeys(groups, 1))
        for measure, low, high, groups in rows
    ]


@pytest.mark.parametrize(
    ("raised", "groups"),
    [
        ({"usd_per_day": "0.01"}, {"operations"}),
        ({"usd_per_day": "9.99"}, {"operations"}),
        ({"usd_per_day": "10.00"}, {"director"}),
        ({"usd_per_day": "50.00"}, {"director"}),
        ({"usd_per_day": "50.01"}, {"finance", "vp"}),
        ({"usd_per_day": "1000000"}, {"finance", "vp"}),
        ({"runs_per_day": "1"}, {"operations"}),
        ({"runs_per_day": "999"}, {"operations"}),
        ({"runs_per_day": "1000"}, {"director"}),
        ({"runs_per_day": "10000000"}, {"director"}),
        ({"usd_per_day": "5.00", "runs_per_day": "500"}, {"operations"}),
        ({"usd_per_day": "5.00", "runs_per_day": "1000"}, {"director"}),
        ({"usd_per_day": "60.00", "runs_per_day": "500"}, {"finance", "vp"}),
        ({"usd_per_day": "60.00", "runs_per_day": "1000"}, {"finance", "vp", "director"}),
    ],
)
def test_shipped_rules(raised: dict[str, str], groups: set[str]) -> None:
    values = {measure: Decimal(value) for measure, value in raised.items()}
    assert slots_for(shipped(), values) == dict.fromkeys(groups, 1)


def test_a_rule_that_asks_operations_beside_others_means_it() -> None:
    both = [Rule("usd_per_day", Decimal("0.01"), None, {"operations": 2, "director": 1})]
    assert slots_for(both, {"usd_per_day": Decimal(5)}) == {"operations": 2, "director": 1}


def test_a_rule_without_slots_covers_nothing() -> None:
    with pytest.raises(NoRule):
        slots_for([Rule("usd_per_day", Decimal("0.01"), None, {})], {"usd_per_day": Decimal(5)})


def test_a_value_without_a_rule_is_an_error() -> None:
    gap = [Rule("usd_per_day", Decimal(1), Decimal(5), {"operations": 1})]
    with pytest.raises(NoRule):
        slots_for(gap, {"usd_per_day": Decimal("5.01")})
    with pytest.raises(NoRule):
        slots_for([], {"usd_per_day": Decimal(1)})


@pytest.mark.parametrize(
    ("slots", "people", "filled"),
    [
        ({"finance": 1, "vp": 1}, [(1, {"finance"})], False),
        ({"finance": 1, "vp": 1}, [(1, {"finance"}), (2, {"vp"})], True),
        ({"finance": 1, "vp": 1}, [(1, {"finance", "vp"})], False),  # nobody counts twice
        # First come, first seated would put 1 into finance and leave vp empty.
        ({"finance": 1, "vp": 1}, [(1, {"finance", "vp"}), (2, {"finance"})], True),
        ({"finance": 1, "vp": 1}, [(1, {"finance"}), (2, {"finance"})], False),
        ({"finance": 2}, [(1, {"finance"}), (2, {"finance"})], True),
        ({"finance": 2}, [(1, {"finance"})], False),
        ({"director": 1}, [(1, {"operations"})], False),
        (
            {"a": 1, "b": 1, "c": 1},
            [(1, {"a", "b"}), (2, {"a", "b"}), (3, {"a", "c"})],
            True,
        ),
        ({}, [], False),  # a quorum of zero approves nothing
    ],
)
def test_seating(slots: dict[str, int], people: list[tuple[int, set[str]]], filled: bool) -> None:
    assignment = assign(slots, [(person, frozenset(groups)) for person, groups in people])
    assert is_filled(slots, assignment) is filled
