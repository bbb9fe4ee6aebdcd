"""What a flood of refusals leaves in the log: few events, every refusal counted, no ask lost."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import Sum
from django.utils import timezone
from pytest_django import Settings

from budgets import tasks
from budgets.alerts import rules
from budgets.evidence.selector import evidence_for
from budgets.models import AlertRule, RefusalGroup, RefusalTally
from budgets.usage import history, overview
from opslog.events import record
from opslog.events.filters import Times
from opslog.models import OperationsEvent
from tests import factories
from tests.admission.desk import Desk, install_clock, run_of, set_clock
from tests.tokens.rotating import rotated
from workorders import directory

SECOND = timedelta(seconds=1)


def events(**found: Any) -> Any:
    kinds = ("RATE_LIMIT_429", "START_REFUSED", "EXTENSION_REFUSED")
    return OperationsEvent.objects.filter(kind__in=kinds, **found).order_by("id")


def counted(**found: Any) -> int:
    return int(events(**found).aggregate(sum=Sum(Times("meta")))["sum"] or 0)


class Clock:
    """The database's clock, which stands still until it is moved on."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
        set_clock(self.at)

    def move(self, by: timedelta = SECOND) -> None:
        self.at += by
        set_clock(self.at)


@pytest.fixture
def clock(committed_db: str) -> Clock:
    install_clock()
    factories.lift_limits()
    return Clock()


@pytest.fixture
def desk(clock: Clock) -> Desk:
    factories.make_work_order("w1", runs_per_day=1, max_concurrent_runs=50)
    return Desk()


def test_one_event_at_once_and_one_with_the_count(desk: Desk, clock: Clock) -> None:
    directory.suspend("w1", by="ops", reason="a test")
    for number in range(100):
        assert desk.start(agent=f"a{number % 3}", key=f"k{number}").denial == "suspended"
    assert events().count() == 1
    assert tasks.flush_refusals() == 0  # its second is not over
    clock.move()
    assert tasks.flush_refusals() == 1
    assert tasks.flush_refusals() == 0
    first, rest = events()
    assert "count" not in first.meta
    assert rest.meta["count"] == 99
    assert rest.meta["agents"] == {"a0": 33, "a1": 33, "a2": 33}
    assert rest.message == "a1 refused: work order is suspended (99 times)"
    assert (rest.owner_id, rest.actor, rest.meta["reason"]) == ("w1", first.actor, "suspended")
    assert counted() == 100


def test_the_next_refusal_of_the_token_writes_what_waits(desk: Desk, clock: Clock) -> None:
    directory.suspend("w1", by="ops", reason="a test")
    for _ in range(3):
        for _ in range(10):
            desk.start()
        clock.move()
    assert [event.meta.get("count", 1) for event in events()] == [1, 9, 1, 9, 1]
    desk.start()
    assert counted() == 31
    assert not RefusalGroup.objects.exists()
    assert RefusalTally.objects.get().grouped is False


def test_a_cap_has_a_row_for_each_up_to_the_rate(
    desk: Desk, clock: Clock, settings: Settings
) -> None:
    settings.TOLLGATE_REFUSAL_EVENTS_PER_SECOND = 7
    desk.start()
    for number in range(7):
        assert desk.start(key=f"k{number}").denial == "runs_per_day"
    assert [event.meta["askKey"] for event in events()] == [f"k{number}" for number in range(7)]
    for number in range(7, 20):
        desk.start(key=f"k{number}", usd="0.3", agent="b")
    assert events().count() == 7
    clock.move()
    tasks.flush_refusals()
    last = events().last()
    assert last.meta["count"] == 13
    assert [ask["askKey"] for ask in last.meta["asks"]] == [f"k{n}" for n in range(7, 20)]
    assert {(ask["estimatedUsd"], ask["agentName"]) for ask in last.meta["asks"]} == {("0.30", "b")}
    assert counted() == 20


def test_many_asks_of_a_cap_are_written_in_parts(desk: Desk, clock: Clock) -> None:
    desk.start()
    for number in range(150):
        desk.start(key=f"k{number}")
    clock.move()
    tasks.flush_refusals()
    parts = [event.meta.get("count", 1) for event in events()]
    assert parts == [1] * 20 + [50, 50, 30]


def test_a_token_cannot_spread_over_kinds(desk: Desk, clock: Clock) -> None:
    """Many work orders, agents, denials: all of one line together have the rate."""
    for number in range(40):
        factories.make_work_order(f"x{number}")
        directory.suspend(f"x{number}", by="ops", reason="a test")
    new = rotated(desk)
    for number in range(40):
        (desk, new)[number % 2].start(f"x{number}", agent=f"agent-{number}")
    assert events().count() == 20
    clock.move()
    tasks.flush_refusals()
    assert events().count() == counted() == 40
    assert all(counted(owner_id=f"x{number}") == 1 for number in range(40))


def test_another_token_has_a_rate_of_its_own(desk: Desk, clock: Clock) -> None:
    directory.suspend("w1", by="ops", reason="a test")
    other = Desk()
    for each in (desk, desk, other, other):
        each.start()
    assert events().count() == 2


def test_refused_extensions_are_grouped_too(desk: Desk, clock: Clock) -> None:
    run = run_of(desk.start())
    directory.suspend("w1", by="ops", reason="a test")
    for _ in range(5):
        assert desk.extend(run).denial == "suspended"
        assert desk.start().denial == "suspended"
    clock.move()
    tasks.flush_refusals()
    assert sorted((e.kind, e.meta.get("count", 1)) for e in events()) == [
        ("EXTENSION_REFUSED", 1),
        ("EXTENSION_REFUSED", 4),
        ("START_REFUSED", 1),
        ("START_REFUSED", 4),
    ]
    assert {e.meta.get("runId") for e in events(kind="EXTENSION_REFUSED")} == {run}


def test_agents_beyond_twenty_are_counted_together(desk: Desk, clock: Clock) -> None:
    directory.suspend("w1", by="ops", reason="a test")
    for number in range(31):
        desk.start(agent=f"a{number}")
    clock.move()
    tasks.flush_refusals()
    agents = events().last().meta["agents"]  # of a1 to a30
    assert (len(agents), agents["a1"], agents[""], sum(agents.values())) == (22, 1, 9, 30)


def test_every_figure_sums_the_counts(desk: Desk, clock: Clock) -> None:
    assert desk.start(usd="0.10").status == 201
    for number in range(60):  # twenty of them with an event of their own
        desk.start(key=f"k{number // 2}")
    clock.move()
    directory.suspend("w1", by="ops", reason="a test")
    for _ in range(30):
        desk.start()
    clock.move()
    tasks.flush_refusals()
    set_clock(None)
    since, now = timezone.now() - timedelta(minutes=10), timezone.now()
    assert overview.refusals_since(since, wo_id="w1") == 90
    assert overview.refusals_by_reason(since, ["w1"]) == {
        "w1": [("runs_per_day", 60), ("suspended", 30)]
    }
    charted = history.refusals(history.SPANS["24h"], now)
    refused = {each.name: sum(filter(None, each.values)) for each in charted}
    assert refused == {"runs_per_day": 60, "suspended": 30}
    assert sum(each.times for each in overview.last_refusals(at_most=9)) == 90
    assert rules.measured(AlertRule(minutes=30))[1].refusals == 60
    evidence = evidence_for("w1", new_runs_per_day=1000, new_usd_per_day=None, now=now)
    days: dict[str, int] = {}
    for day in evidence.days:
        for reason, times in day.refusals.items():
            days[reason] = days.get(reason, 0) + times
    assert days == {"runs_per_day": 60, "suspended": 30}
    # Each was asked for twice, so thirty asks would have run: none is lost, none counts twice.
    assert evidence.what_if.asked.would_run + evidence.what_if.asked.still_refused == 30


def test_a_flood_is_counted_exactly(committed_db: str) -> None:
    """Eight connections at once, two tokens of a line, two work orders, caps and stops; and the
    job all the while."""
    factories.lift_limits()
    factories.make_work_order("cap", runs_per_day=1)
    factories.make_work_order("stop")
    directory.suspend("stop", by="ops", reason="a test")
    old = Desk()
    old.start("cap")
    new = rotated(old)
    done = threading.Event()

    def ask(number: int) -> None:
        try:
            for nth in range(50):
                desk = (old, new)[nth % 2]
                assert desk.start(("cap", "stop")[number % 2], key=f"{number}-{nth}").denial
        finally:
            connections.close_all()

    def flush() -> None:
        try:
            while not done.is_set():
                tasks.flush_refusals()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(9) as pool:
        job = pool.submit(flush)
        for each in [pool.submit(ask, number) for number in range(8)]:
            each.result()
        done.set()
        job.result()
    with connection.cursor() as cursor:
        cursor.execute("SELECT tollgate.flush_refusals(NULL, 'infinity', 1000)")
    assert (counted(owner_id="cap"), counted(owner_id="stop")) == (200, 200)
    results = [event.meta for event in events(owner_id="cap")]
    keys = [ask["askKey"] for meta in results for ask in meta.get("asks", [meta])]
    assert sorted(keys) == sorted(f"{number}-{nth}" for number in (0, 2, 4, 6) for nth in range(50))
    assert events().count() < 400


@pytest.mark.parametrize("count", ["many", -3, 0, 1e300, [2], None, True])
def test_what_is_no_count_counts_once_or_is_bounded(db: None, count: Any) -> None:
    """Anybody with the application's role may write an event with any `meta`."""
    record("RATE_LIMIT_429", message="", actor="x", meta={"count": count})
    assert counted() == (1_000_000_000 if count == 1e300 else 1)
