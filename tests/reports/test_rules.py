"""The daily report's rules, and cells of CSV: pure."""

from datetime import date
from decimal import Decimal

import pytest

from budgets.reports.notify import days_due
from budgets.reports.rules import Action, Row, roomier
from opslog.events.csv_cells import cell
from tests.reports.rows import at


def row(
    runs: int,
    usd: str,
    name: str = "w1",
    now: tuple[int, str] = (100, "2.00"),
    over: bool = True,
    refused: tuple[int, int] = (0, 0),
) -> Row:
    """Of the caps 100 and $2.00; `now` are those that hold since. `refused`: by the cap of runs,
    and by that of dollars."""
    caps = (100, Decimal("2.00"))
    held = (now[0], Decimal(now[1]))
    by_runs, by_usd = refused
    return Row(
        name, name, "draft", *caps, runs, Decimal(usd), *held, is_over=over,
        refused_runs=by_runs, refused_usd=by_usd,
    )  # fmt: skip


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
        (100, "0", Action.RAISE),  # nobody asked for one more
        (1, "2.00", Action.RAISE),
        (0, "2.60", Action.RAISE),  # an overrun
    ],
)
def test_what_is_to_be_done(runs: int, usd: str, action: Action | None) -> None:
    assert row(runs, usd).action == action


@pytest.mark.parametrize("usd", ["0", "1.20", "2.00"])
def test_whoever_was_refused_was_blocked_whatever_was_left(usd: str) -> None:
    """A cap in dollars refuses what does not fit: a $0.90 ask at $1.20 of $2.00."""
    assert row(5, usd, refused=(0, 1)).action == Action.BLOCKED
    assert row(5, usd, refused=(0, 1)).proposal == {"usd_per_day": Decimal("3.00")}
    assert row(5, "0", refused=(2, 0)).proposal == {"runs_per_day": Decimal(150)}


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


@pytest.mark.parametrize(
    ("now", "proposal", "raised"),
    [
        ((100, "2.00"), {"runs_per_day": 150, "usd_per_day": Decimal("3.00")}, {}),
        ((149, "2.00"), {"runs_per_day": 150, "usd_per_day": Decimal("3.00")}, {}),
        ((150, "2.00"), {"usd_per_day": Decimal("3.00")}, {"runs_per_day": 150}),
        ((300, "9.00"), {}, {"runs_per_day": 300, "usd_per_day": Decimal("9.00")}),
        ((50, "1.00"), {"runs_per_day": 150, "usd_per_day": Decimal("3.00")}, {}),
    ],
)
def test_less_than_what_holds_now_is_never_asked_for(
    now: tuple[int, str], proposal: dict[str, Decimal], raised: dict[str, Decimal]
) -> None:
    found = row(100, "2.00", now=now)
    assert (found.proposal, found.raised_since) == (proposal, raised)


@pytest.mark.parametrize(
    ("runs", "usd", "message"),
    [
        (50, "1.90", "Up to $0.90 a day more, $27.00 in 30 days."),
        (100, "0.50", "About $0.25 a day more at the day's cost of a run; the cap of $2.00 a day"),
        (50, "1.00", ""),
    ],
)
def test_what_a_proposal_may_cost(runs: int, usd: str, message: str) -> None:
    result = row(runs, usd).cost_impact
    assert result.startswith(message)
    assert bool(result) == bool(message)


def test_nothing_is_idle_before_the_day_is_over() -> None:
    assert row(1, "0").action == Action.REVIEW
    assert row(1, "0", over=False).action is None
    assert row(100, "0", over=False).action == Action.RAISE


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
