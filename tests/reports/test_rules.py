"""The daily report's rules, and cells of CSV: pure."""

from datetime import date
from decimal import Decimal

import pytest

from budgets.reports.rules import Action, Row, report, roomier
from budgets.reports.telling import days_due
from opslog.spreadsheets import cell
from tests.reports.rows import at


def row(runs: int, usd: str, name: str = "w1") -> Row:
    return Row(name, name, "draft", 100, Decimal("2.00"), runs, Decimal(usd))


@pytest.mark.parametrize(
    ("runs", "usd", "action"),
    [
        (0, "0", Action.REVIEW),
        (9, "0.19", Action.REVIEW),
        (10, "0", None),
        (0, "0.20", None),
        (80, "1.60", None),  # at 80 % and not over it
        (81, "0", Action.RAISE),
        (0, "1.601", Action.RAISE),
        (99, "1.99", Action.RAISE),
        (100, "0", Action.BLOCKED),
        (1, "2.00", Action.BLOCKED),
        (0, "2.60", Action.BLOCKED),  # an overrun
    ],
)
def test_what_is_to_be_done(runs: int, usd: str, action: Action | None) -> None:
    assert row(runs, usd).action == action


@pytest.mark.parametrize(
    ("cap", "used", "step", "wanted"),
    [
        ("100", "100", "1", "150"),
        ("100", "83", "1", "130"),
        ("1", "1", "1", "2"),
        ("7", "7", "1", "11"),
        ("2.00", "1.90", "0.01", "2.90"),
        ("2.00", "9.00", "0.01", "3.00"),  # an overrun is no reason to ask for four times as much
        ("0.01", "0.01", "0.01", "0.02"),
        ("1000", "999.5", "0.01", "1500.00"),
    ],
)
def test_where_a_request_begins(cap: str, used: str, step: str, wanted: str) -> None:
    assert roomier(Decimal(cap), Decimal(used), Decimal(step)) == Decimal(wanted)


def test_only_what_is_nearly_used_up_is_raised() -> None:
    assert row(95, "0.10").proposal == {"runs_per_day": Decimal(150)}
    assert row(50, "1.90").proposal == {"usd_per_day": Decimal("2.90")}
    assert row(50, "1").proposal == {}


def test_the_most_used_come_first_and_all_are_added_up() -> None:
    found = report(date(2026, 11, 1), [row(1, "0", "b"), row(1, "0", "a"), row(100, "1", "z")])
    assert [each.work_order for each in found.rows] == ["z", "a", "b"]
    totals = found.totals
    assert (totals.work_orders, totals.blocked, totals.near, totals.idle) == (3, 1, 0, 2)
    assert (totals.runs, totals.usd) == (102, Decimal(1))
    assert [each.work_order for each in found.items(Action.REVIEW)] == ["a", "b"]


@pytest.mark.parametrize(
    ("now", "last", "days"),
    [
        (at(25, "00:04:59"), None, [23]),
        (at(25, "00:05"), None, [24]),
        (at(25, "23:00"), 24, []),
        (at(25, "00:04"), 23, []),
        (at(25, "09:00"), 21, [22, 23, 24]),  # the worker was away
        (at(25, "09:00"), 2, [18, 19, 20, 21, 22, 23, 24]),  # for long
    ],
)
def test_which_days_are_told(now, last: int | None, days: list[int]) -> None:
    known = date(2026, 11, last) if last else None
    assert [day.day for day in days_due(now, known)] == days


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=1+1", "'=1+1"),
        ("  =1+1", "'  =1+1"),
        ("+49", "'+49"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=x", "'\t=x"),
        ("\rfoo", "'\rfoo"),
        ("＝1", "'＝1"),
        ("|calc", "'|calc"),
        ("a=b", "a=b"),
        ("a\x00b", "ab"),
        (-5, "-5"),
        (Decimal("-0.5"), "-0.5"),
        (Decimal("1E-7"), "0.0000001"),
        (None, ""),
        (True, "True"),
    ],
)
def test_a_cell_is_no_formula(value: object, text: str) -> None:
    assert cell(value) == text
