"""The demo's telemetry: the same each time, what a draft may hold, nothing that looks unusual."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from budgets.demo.product import FEATURES, calls_between
from budgets.demo.replay.trace import read_trace
from budgets.demo.seeding import TRACE

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def cents(model: str, given: int, made: int) -> Decimal:
    return Decimal(given + made) / 100_000


def test_the_same_each_time() -> None:
    requests = list(read_trace(TRACE))
    noon = MONDAY + 12 * HOUR
    first = calls_between(noon, noon + HOUR, requests, price=cents)
    assert first == calls_between(noon, noon + HOUR, requests, price=cents)
    assert first[0]
    assert first[1]


def test_ids_are_unique_and_tools_name_their_calls() -> None:
    requests = list(read_trace(TRACE))
    results = [
        calls_between(MONDAY + n * HOUR, MONDAY + (n + 1) * HOUR, requests, price=cents)
        for n in range(48)
    ]
    events = [each for hour, _ in results for each in hour]
    tools = [each for _, hour in results for each in hour]
    ids = {each.event_id for each in events}
    assert len(ids) == len(events)
    assert len({each.event_id for each in tools}) == len(tools)
    assert {each.inference_event_id for each in tools} <= ids
    assert {each.feature for each in events} == {feature.name for feature in FEATURES}


def test_no_day_costs_far_more_than_the_one_before() -> None:
    """A spike of the demo's own making would be an incident."""
    requests = list(read_trace(TRACE))

    def day(number: int) -> Decimal:
        begins = MONDAY + number * 24 * HOUR
        costs = [
            each.cost_usd or Decimal(0)
            for n in range(24)
            for each in calls_between(
                begins + n * HOUR, begins + (n + 1) * HOUR, requests, price=cents
            )[0]
        ]
        return sum(costs, Decimal(0))

    workdays = [day(number) for number in range(5)]
    assert all(later < earlier * Decimal("1.35") for earlier, later in pairwise(workdays))
