"""What an import of prices would change."""

from datetime import timedelta
from decimal import Decimal

from opslog.pricing.plan import plan
from tests.prices.factories import APRIL, FEBRUARY, JANUARY, MARCH, price

NOW = MARCH


def test_the_same_prices_change_nothing() -> None:
    prices = [price(), price("m-2"), price("m-2", "3", since=APRIL)]
    assert not plan(prices, prices, now=NOW)


def test_a_model_seen_for_the_first_time_comes_with_its_history() -> None:
    wanted = [
        price("1"),
        price("m", "1"),
        price("m", "2", since=FEBRUARY),
        price("m", "3", since=APRIL),
    ]
    change = plan(wanted, [price("1")], now=NOW)
    assert list(change.added) == wanted[1:]
    assert not change.changed


def test_a_changed_price_holds_from_now_and_the_past_stands() -> None:
    change = plan([price("m", "2")], [price("m", "1")], now=NOW)
    assert change.added == ()
    (changed,) = change.changed
    assert changed.new == price("m", "2", since=NOW)
    assert changed.differences() == [("input_per_mtok", Decimal(1), Decimal(2))]


def test_a_change_that_is_dated_in_the_past_holds_from_now() -> None:
    wanted = [price("m", "1"), price("m", "2", since=FEBRUARY)]
    change = plan(wanted, [price("m", "1")], now=NOW)
    assert change.rows == [price("m", "2", since=NOW)]


def test_after_a_change_was_written_nothing_is_left_to_write() -> None:
    wanted = [price("m", "2"), price("m", "4", since=APRIL)]
    held = [price("m", "1")]
    change = plan(wanted, held, now=NOW)
    later = NOW + timedelta(hours=1)
    assert not plan(wanted, [*held, *change.rows], now=later)
    assert not plan(wanted, [*held, *change.rows], now=APRIL + timedelta(days=1))


def test_an_announced_price_is_written_ahead() -> None:
    change = plan([price("m", "1"), price("m", "2", since=APRIL)], [price("m", "1")], now=NOW)
    assert change.rows == [price("m", "2", since=APRIL)]


def test_an_announced_price_that_changed_or_was_dropped_is_withdrawn() -> None:
    announced = price("m", "2", since=APRIL)
    other = price("m", "3", since=APRIL)
    changed = plan([price("m"), other], [price("m"), announced], now=NOW)
    assert (changed.withdrawn, changed.rows) == ((announced,), [other])
    dropped = plan([price("m")], [price("m"), announced], now=NOW)
    assert (dropped.withdrawn, dropped.rows) == ((announced,), [])


def test_a_model_that_is_no_longer_listed_keeps_its_price() -> None:
    change = plan([], [price("m", since=JANUARY)], now=NOW)
    assert change.gone == (("maker", "m"),)
    assert change.rows == []
    assert not change
