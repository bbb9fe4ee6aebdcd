"""Bars and charts as numbers."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from opslog.pages.charts import Meter, Series, chart, of_series, runs_meter
from opslog.templatetags import tollgate as tags

D = Decimal


@pytest.mark.parametrize(
    ("settled", "held", "limit", "percent", "level", "widths"),
    [
        ("0", "0", "2", 0, "room", ("0.00", "0.00")),
        ("1", "0.5", "2", 75, "room", ("50.00", "25.00")),
        ("1.6", "0", "2", 80, "near", ("80.00", "0.00")),
        ("1.999999999", "0", "2", 99, "near", ("100.00", "0.00")),
        ("1.5", "0.5", "2", 100, "full", ("75.00", "25.00")),
        ("1.5", "9", "2", 525, "full", ("75.00", "25.00")),
        ("3", "1", "2", 200, "full", ("100.00", "0.00")),
        ("3", "1", None, 0, "none", ("0.00", "0.00")),
    ],
)
def test_meters(
    settled: str, held: str, limit: str | None, percent: int, level: str, widths: tuple[str, str]
) -> None:
    meter = Meter(D(settled), D(held), None if limit is None else D(limit))
    assert (meter.percent, meter.level) == (percent, level)
    assert (meter.settled_width, meter.held_width) == widths


def test_runs_that_have_not_ended_are_told_apart() -> None:
    meter = runs_meter(4, 3, 10)
    assert (meter.settled, meter.held, meter.used) == (D(1), D(3), D(4))


def days(*values: str) -> list[tuple[date, Decimal]]:
    return [(date(2026, 1, 1 + index), D(value)) for index, value in enumerate(values)]


def test_a_limit_near_the_days_is_drawn_and_a_far_one_only_told() -> None:
    drawn = chart(
        days("1", "4", "2"), [("cap", D(5), "now"), ("asked", D(50), "asked")], unit="usd"
    )
    assert [line.beyond for line in drawn.lines] == [False, True]
    assert drawn.busiest is not None
    assert drawn.busiest.at == date(2026, 1, 2)


def test_days_over_the_limit_are_marked() -> None:
    drawn = chart(days("1", "5", "6"), [("cap", D(5), "now")], unit="usd")
    assert [column.over for column in drawn.columns] == [False, True, True]


def test_changes_are_drawn_where_they_happened_and_told_in_words() -> None:
    drawn = chart(
        days("1", "4"),
        [],
        unit="usd",
        markers=[
            (datetime(2026, 1, 2, 12, tzinfo=UTC), "deploy: two"),
            (datetime(2026, 1, 1, 12, tzinfo=UTC), "deploy: one"),
            (datetime(2026, 1, 3, tzinfo=UTC), "deploy: after it"),
            (datetime(2025, 12, 31, tzinfo=UTC), "deploy: before it"),
        ],
    )
    assert [(mark.text, mark.x) for mark in drawn.marks] == [
        ("deploy: one", 0.25),
        ("deploy: two", 0.75),
    ]


def test_hours_are_told_by_the_hour_and_guesses_apart() -> None:
    hours = [(datetime(2026, 1, 1, hour, tzinfo=UTC), D(hour)) for hour in range(4)]
    drawn = chart(hours, [], unit="usd", guessed=1, markers=[(hours[2][0], "deploy")])
    assert drawn.span == "Hour"
    assert [column.label for column in drawn.columns][-1] == "2026-01-01 03:00"
    assert [column.guessed for column in drawn.columns] == [False, False, False, True]
    assert drawn.marks[0].x == 0.5


def test_several_series_are_columns_of_one_table() -> None:
    """The busiest column is that of all bars together, $3 + $4; steps are not among them."""
    hours = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in range(2)]
    drawn = of_series(
        hours,
        [
            Series("a", [D(1), D(3)]),
            Series("b", [D(5), D(4)]),
            Series("normal", [D(2), D(9)], "step"),
        ],
        unit="usd",
    )
    assert drawn.busiest is not None
    assert (drawn.busiest.at, drawn.busiest.value) == (hours[1], D(7))
    assert [each["values"] for each in drawn.drawn["series"]] == [[1, 3], [5, 4], [2, 9]]


def test_no_day_and_no_use() -> None:
    assert chart([], [], unit="usd").is_empty
    assert chart(days("0", "0"), [("cap", D(5), "now")], unit="usd").is_empty


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (1, "1 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (12068, "3 h 21 min"),
        (172800, "2 days"),
    ],
)
def test_how_long_in_words(seconds: int, message: str) -> None:
    assert tags.in_words(seconds) == message
