"""Fifty dollars in two minutes, again, over real HTTP: the limits as shipped stop it in time."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from pytest_django import DjangoDbBlocker

from budgets import incident, ledger
from config.scratch import scratch_service
from tests.factories import inside


@pytest.mark.parametrize(
    ("off", "most", "denial", "seconds", "speed"),
    [
        ((), "5.00", "breaker_open", 25, 1),
        ((incident.SAFEGUARDS[0],), "10.00", "budget:global:rolling_hour", 60, 3),
    ],
    ids=["as shipped", "without the breaker"],
)
def test_the_next_safeguard_stops_it(
    pristine_database: str,
    django_db_blocker: DjangoDbBlocker,
    off: Sequence[incident.Safeguard],
    most: str,
    denial: str,
    seconds: float,
    speed: float,
) -> None:
    """What is admitted is what is spent. `seconds` are longer than the money lasts, so that it is
    the limit that ends it; a busy machine spends more slowly, never more."""
    with scratch_service(template=pristine_database, workers=2) as service:
        with inside(service.database, django_db_blocker):
            token = incident.furnish()
            for each in off:
                each.switch_off()
        assert "error" in incident.preflight(service.url, token)
        story = incident.play(service.url, token, off=[], seconds=seconds, speed=speed)
        with inside(service.database, django_db_blocker):
            assert not list(ledger.differences())
    assert story.denials[denial] > 0
    assert Decimal(most) - 2 * incident.CALL_USD < story.usd <= Decimal(most)
    assert story.finished_tasks < incident.TASKS
