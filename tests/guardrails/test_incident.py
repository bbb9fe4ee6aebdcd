"""Fifty dollars in two minutes, again, over real HTTP: the limits as shipped stop it in time."""

from collections.abc import Sequence
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import DjangoDbBlocker

from budgets.admission import counters
from budgets.demo import incident
from config.run.scratch import scratch_service
from tests.factories import inside


@pytest.mark.parametrize(
    ("off", "most", "denial", "seconds", "speed"),
    [
        ((), "5.00", "breaker_open", 60, 1),
        ((incident.SAFEGUARDS[0],), "10.00", "budget:global:rolling_hour", 360, 6),
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
    """What is admitted is what is spent. `seconds` are much longer than the money lasts, so that it
    is the limit that ends it; a busy machine spends more slowly, never more."""
    with scratch_service(template=pristine_database, workers=2) as service:
        with inside(service.database, django_db_blocker):
            token = incident.furnish()
            for each in off:
                each.switch_off()
        assert "error" in incident.preflight(service.url, token)
        story = incident.play(service.url, token, off=[], seconds=seconds, speed=speed)
        with inside(service.database, django_db_blocker):
            assert not list(counters.differences())
            assert incident.recorded_usd() == story.usd
    assert story.stopped_by == (denial,)
    assert story.denials[denial] >= incident.AGENTS * incident.REFUSALS_THAT_STOP
    assert story.outcome() == incident.BY_DENIAL[denial].name
    assert not story.passed()
    assert Decimal(most) - 2 * incident.CALL_USD < story.usd <= Decimal(most)
    assert story.finished_tasks < incident.TASKS


@pytest.mark.django_db(transaction=True)
def test_it_names_no_safeguard_where_the_time_ran_out() -> None:
    """Two seconds are a dollar: fifteen calls of $0.0667. Nothing stops that, and it says so."""
    out = StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("simulate_incident", only_shipped=True, seconds=2.0, markdown=True, stdout=out)
    assert failed.value.returncode == 1
    assert "Nothing stopped the spend ($1.00)" in str(failed.value)
    row = out.getvalue().splitlines()[2]
    assert row.startswith("| nothing, as shipped | nothing: the time ran out | – | $1.00 |")
    assert not any(each.name in out.getvalue() for each in incident.SAFEGUARDS)


def test_a_refusal_while_others_spend_stops_nothing() -> None:
    watch = incident.Watch()
    watch.admitted()
    for agent in range(1, incident.AGENTS + 1):
        for _ in range(incident.REFUSALS_THAT_STOP):
            watch.refused(agent, "concurrency")
    assert watch.stopped_by() == ()  # one call is under way
    watch.ended()
    assert watch.stopped_by() == ()  # it has ended: they are asked anew
    for agent in range(2, incident.AGENTS + 1):
        for _ in range(incident.REFUSALS_THAT_STOP):
            watch.refused(agent, "usd_per_day")
    assert watch.stopped_by() == ()  # one agent was not refused yet
    watch.done(1)
    assert watch.stopped_by() == ("usd_per_day",)


def test_more_than_a_safeguard_allows_is_noticed() -> None:
    story = incident.Story((), usd=Decimal("5.01"), stopped_by=("breaker_open", "address_rate"))
    assert story.outcome() == "circuit breaker, $5 a minute and address_rate"
    assert story.passed() == "circuit breaker, $5 a minute"
    story.usd = Decimal("5.00")
    assert story.passed() == ""
