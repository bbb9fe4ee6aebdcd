"""The queue in front of the database, on a real loop and a real database."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg
import pytest
from django.conf import LazySettings
from django.db import connections
from django_q.models import OrmQ

from budgets.admission import batches
from budgets.admission.batches import Operation
from budgets.gathering.gatherer import SENDING_SECONDS, SENDING_SHARE, seconds_of
from budgets.models import Deployment
from opslog.database import authority
from opslog.exceptions import Overloaded
from tests import factories
from tests.admission.desk import Desk, run_of
from tests.batches.looping import (
    Answer,
    Looping,
    answers,
    extend,
    finish,
    looping,
    outcomes,
    start,
)
from tests.waiting import HANG_SECONDS, wait_until
from workorders.models import Run

ADMITTED = (201, "")
OPERATIONS: tuple[Operation, ...] = ("start", "finish", "spend", "extend")


@pytest.fixture(autouse=True)
def settled(committed_db: str, settings: LazySettings) -> Iterator[None]:
    """Nobody looks for this test's database when it is gone. A slow machine has the time it takes,
    but where the test is of that."""
    settings.TOLLGATE_DATABASE_TIMEOUT = HANG_SECONDS
    yield
    wait_until(lambda: not (authority.outage.away or authority.outage._suspected))


@pytest.fixture
def loop(settled: None) -> Iterator[Looping]:
    with looping() as running:
        yield running


def roomy() -> None:
    """The work order `w1`, and no limit in the way."""
    factories.lift_limits()
    factories.make_work_order(
        "w1", runs_per_day=9999, usd_per_day="9999.00", max_concurrent_runs=9999
    )


@contextmanager
def holding(lock: str) -> Iterator[None]:
    """Somebody else has that lock."""
    parameters = connections["owner"].get_connection_params()
    with psycopg.connect(**parameters) as holder:
        holder.execute(f"SELECT tollgate.{lock}")
        yield
        holder.rollback()


def test_one_alone_and_many_together_are_decided(loop: Looping) -> None:
    factories.make_work_order("w1", usd_per_day="0.44", max_concurrent_runs=9)
    desk = Desk()
    assert outcomes(loop.ask(start(desk))) == [ADMITTED]
    run = run_of(desk.start())
    asks = [start(desk), start(desk), start(desk), finish(desk, run)]
    # $0.10 is reserved, the finished run cost $0.05: there is room for two of $0.10 more.
    decisions = outcomes(loop.ask(*asks))
    assert decisions == [ADMITTED, ADMITTED, (429, "usd_per_day"), (200, "")]
    assert Run.objects.count() == 4


def test_without_an_early_release_of_the_locks(loop: Looping, settings: LazySettings) -> None:
    settings.TOLLGATE_EARLY_LOCK_RELEASE = False
    factories.make_work_order("w1", max_concurrent_runs=9)
    desk = Desk()
    assert outcomes(loop.ask(start(desk))) == [ADMITTED]
    assert outcomes(loop.ask(start(desk), start(desk))) == [ADMITTED] * 2
    assert Run.objects.count() == 3


def test_extensions_and_dry_runs_go_alone(loop: Looping) -> None:
    factories.make_work_order("w1", max_concurrent_runs=9)
    desk = Desk()
    run = run_of(desk.start())
    asks = [
        start(desk),
        extend(desk.caller, run),
        start(desk, dry_run=True),
        extend(desk.caller, run),
    ]
    assert outcomes(loop.ask(*asks)) == [ADMITTED, (200, ""), (200, ""), (200, "")]
    assert Run.objects.count() == 2
    assert Run.objects.get(pk=run).reserved_usd == Decimal("0.20")


def test_prices_that_are_too_old_are_for_whoever_asked(loop: Looping) -> None:
    factories.make_work_order("w1", max_concurrent_runs=9)
    desk = Desk()
    stale = start(desk)
    stale.fields["book_version"] = 0
    decisions = loop.ask(stale)
    assert outcomes(decisions) == [(0, "stale_prices")]
    assert outcomes(loop.ask(stale, start(desk))) == [(0, "stale_prices"), ADMITTED]


@pytest.mark.parametrize(
    "poison",
    [
        {"lease": -1},  # no row can hold that: handed back by the batch
        {"agent": "a\x00b"},  # no text of PostgreSQL: the whole call fails
        {"agent": "\ud800"},  # no text at all: the call cannot be sent
        {"estimate": "a lot"},
    ],
    ids=["handed back", "not in a text", "not in Unicode", "no number"],
)
def test_one_of_sixteen_is_poison(loop: Looping, poison: dict[str, Any]) -> None:
    factories.make_work_order("w1", max_concurrent_runs=99)
    desk = Desk()
    asks = [start(desk) for _ in range(16)]
    asks[5].fields.update(poison)
    decisions = outcomes(loop.ask(*asks))
    assert decisions.pop(5) == "Unavailable"
    assert decisions == [ADMITTED] * 15
    assert Run.objects.count() == 15
    assert not authority.outage.away
    assert outcomes(loop.ask(start(desk))) == [ADMITTED]


def test_whoever_waits_for_a_work_order_holds_up_nobody_else(loop: Looping) -> None:
    for name in ("w1", "w2"):
        factories.make_work_order(name, max_concurrent_runs=99)
    desk = Desk()
    with holding("hold_work_order('w1')"):
        held = loop.send([start(desk, "w1"), start(desk, "w2"), start(desk, "w1")])
        assert outcomes(answers(held[1:2])) == [ADMITTED]
        alone = loop.send([start(desk, "w1")])
        assert outcomes(loop.ask(start(desk, "w2"))) == [ADMITTED]
        assert not any(each.done() for each in (held[0], held[2], *alone))
    assert outcomes(answers([held[0], held[2], *alone])) == [ADMITTED] * 3


def test_a_lock_that_is_not_had_costs_no_connection(loop: Looping) -> None:
    factories.make_work_order("w1", max_concurrent_runs=99)
    desk = Desk()
    assert loop.admits(start(desk))
    before = loop.sessions
    with holding("hold_work_order('w1')"):
        assert outcomes(loop.ask(start(desk))) == ["Overloaded"]
    assert loop.admits(start(desk))
    assert loop.sessions == before
    assert Run.objects.count() == 2


def test_nor_does_it_cost_one_of_a_view() -> None:
    factories.make_work_order("w1", max_concurrent_runs=99)
    desk = Desk()
    run_of(desk.start())
    before = connections["default"].connection.info.backend_pid
    with holding("hold_work_order('w1')"), pytest.raises(Overloaded):
        desk.start()
    run_of(desk.start())
    assert connections["default"].connection.info.backend_pid == before


def test_what_has_waited_for_too_long_is_never_sent(loop: Looping) -> None:
    roomy()
    desk = Desk()
    with holding("hold_counters()"):
        # The first ones wait for the lock for two seconds; before that, the other's time is over.
        first = loop.send([start(desk) for _ in range(batches.MOST)], left=HANG_SECONDS)
        behind = loop.send([start(desk)], left=0.5)
        assert outcomes(answers([*first, *behind])) == ["Overloaded"] * (batches.MOST + 1)
    wait_until(lambda: loop.admits(start(desk)))
    assert Run.objects.count() == 1


def test_what_a_call_cannot_be_over_in_time_for_is_not_sent(loop: Looping) -> None:
    """A call that is cut off is lost for all of its asks. Half a second a call: one that has 0.9 s
    left is not sent."""
    roomy()
    desk = Desk()

    def is_decided() -> bool:
        return outcomes(answers(loop.send([start(desk)], left=0.9))) == [ADMITTED]

    wait_until(is_decided)
    loop.gatherer._batches.seconds = 0.5
    assert outcomes(answers(loop.send([start(desk)], left=0.9))) == ["Overloaded"]
    loop.gatherer._batches.seconds = 0.05
    wait_until(is_decided)


def test_a_client_that_sends_slowly_is_decided(loop: Looping, settings: LazySettings) -> None:
    settings.TOLLGATE_DATABASE_TIMEOUT = 2.5
    roomy()
    desk = Desk()
    wait_until(lambda: outcomes(answers(loop.send([start(desk)], ago=9))) == [ADMITTED])


@pytest.mark.parametrize("seconds", [0.2, 1.0])
@pytest.mark.parametrize("ago", [0, 9])
def test_the_least_time_that_can_be_set_is_enough(
    loop: Looping, settings: LazySettings, seconds: float, ago: float
) -> None:
    """(Not for every ask on a busy machine.)"""
    settings.TOLLGATE_DATABASE_TIMEOUT = seconds
    roomy()
    desk = Desk()
    wait_until(lambda: outcomes(answers(loop.send([start(desk)], ago=ago))) == [ADMITTED])


@pytest.mark.parametrize("seconds", [0.2, 1.0, 1.9, 2.9])
def test_an_ask_that_took_long_to_send_is_sent_however_long_calls_take(
    loop: Looping, settings: LazySettings, seconds: float
) -> None:
    settings.TOLLGATE_DATABASE_TIMEOUT = seconds
    line = loop.gatherer._batches
    line.seconds = 9.0
    left = seconds - seconds_of(SENDING_SECONDS, SENDING_SHARE)
    latest = loop.gatherer._latest(line)
    assert left - (latest - loop.loop.time()) >= 0.05 * seconds


def test_a_token_that_floods_the_queue_holds_up_no_other(loop: Looping) -> None:
    roomy()
    flood, other = Desk(), Desk()
    order: list[str] = []

    def note(name: str, future: object) -> None:
        order.append(name)

    sent = loop.send([*(start(flood) for _ in range(200)), *(start(other) for _ in range(4))])
    for name, futures in (("flood", sent[:200]), ("other", sent[200:])):
        for each in futures:
            each.add_done_callback(partial(note, name))
    assert outcomes(answers(sent)) == [ADMITTED] * 204
    wait_until(lambda: len(order) == 204)
    # By arrival they would be the last: one of each in turn, they are among the first 32.
    assert "other" not in order[batches.MOST :]


def test_beyond_what_can_be_decided_in_time_an_ask_is_refused_at_once(loop: Looping) -> None:
    roomy()
    flood, other = Desk(), Desk()
    # Nothing was measured yet, so a call of 32 counts for 50 ms: 256 of them are 0.4 s.
    sent = loop.send([*(start(flood) for _ in range(1000)), start(other)])
    decisions = answers(sent)
    refused = [each for each in decisions[:1000] if isinstance(each, Overloaded)]
    assert len(refused) == 1000 - 255
    assert {each.retry_after for each in refused} == {1, 2}  # 640 of them are decided in a second
    assert outcomes(decisions[1000:]) == [ADMITTED]  # it took the place of one of the flood
    assert outcomes(decisions).count(ADMITTED) == 256
    assert Run.objects.count() == 256
    assert loop.admits(start(flood))


def test_a_refusal_is_known_before_the_ask_is_read(loop: Looping) -> None:
    roomy()
    flood, other = Desk(), Desk()
    refusals: list[dict[str, str]] = []

    def look() -> None:
        """In the turn of the loop in which all of the flood came."""
        refusals.append(
            {
                f"{operation} of {name}": type(
                    loop.gatherer.refusal(operation, sender=desk.caller.digest)
                ).__name__
                for operation in OPERATIONS
                for name, desk in (("flood", flood), ("other", other))
            }
        )

    sent = loop.send([start(flood) for _ in range(300)])
    loop.loop.call_soon_threadsafe(look)
    answers(sent)
    loop.loop.call_soon_threadsafe(look)
    wait_until(lambda: len(refusals) == 2)
    full, free = refusals
    refused = [name for name, refusal in full.items() if refusal == "Overloaded"]
    assert refused == ["start of flood", "finish of flood", "spend of flood"]
    assert {refusal for name, refusal in full.items() if name not in refused} == {"NoneType"}
    assert set(free.values()) == {"NoneType"}


def test_decisions_do_not_wait_for_the_end_of_a_turn(loop: Looping) -> None:
    """While requests come without end, what was decided is answered between them."""
    roomy()
    desk = Desk()
    assert outcomes(loop.ask(start(desk), start(desk))) == [ADMITTED] * 2  # has a connection
    decided: list[Answer] = []

    def read_requests() -> None:
        def answered() -> bool:
            loop.gatherer.look()
            return len(decided) == 40

        wait_until(answered)

    def submit() -> None:
        for _ in range(40):  # two calls
            loop.gatherer.submit(
                start(desk), sender=b"", arrived=loop.loop.time(), done=decided.append
            )
        loop.loop.call_soon(read_requests)  # when they are sent

    loop.loop.call_soon_threadsafe(submit)
    wait_until(lambda: len(decided) == 40)
    assert outcomes(decided) == [ADMITTED] * 40


def test_while_nothing_is_decided_asks_are_refused_at_once(loop: Looping) -> None:
    roomy()
    desk = Desk()
    with holding("hold_counters()"):
        stuck = loop.send([start(desk), start(desk)])
        wait_until(lambda: loop.refuses_at_once(start(desk)))
        assert not any(each.done() for each in stuck)
    assert outcomes(answers(stuck)) == [ADMITTED] * 2
    wait_until(lambda: loop.admits(start(desk)))


def test_nothing_is_prepared_where_a_pooler_is_between(
    loop: Looping, settings: LazySettings
) -> None:
    roomy()
    desk = Desk()
    settings.PGBOUNCER = True
    for _ in range(3):
        assert outcomes(loop.ask(start(desk), start(desk))) == [ADMITTED] * 2
        assert loop.admits(start(desk))
    assert not any(each._prepared for each in loop.connections)
    settings.PGBOUNCER = False
    assert outcomes(loop.ask(start(desk), start(desk))) == [ADMITTED] * 2
    assert any(each._prepared for each in loop.connections)


def test_the_database_of_another_environment_decides_nothing(loop: Looping) -> None:
    factories.make_work_order("w1", max_concurrent_runs=9)
    desk = Desk()
    ask = start(desk)
    Deployment.objects.update(environment="production")
    assert outcomes(loop.ask(ask, ask)) == ["Unavailable"] * 2
    assert not authority.outage.away
    Deployment.objects.update(environment="development")
    assert outcomes(loop.ask(ask, ask)) == [ADMITTED] * 2
    assert Run.objects.count() == 2


def test_alerts_are_announced(loop: Looping) -> None:
    factories.make_work_order("w1", usd_per_day="1.00", max_concurrent_runs=99)
    desk = Desk()
    OrmQ.objects.all().delete()
    factories.set_limit("global", "day", "usd", Decimal("1.00"))
    assert outcomes(loop.ask(*(start(desk, usd="0.50") for _ in range(2)))) == [ADMITTED] * 2
    wait_until(OrmQ.objects.exists)


def test_an_error_of_whoever_asked_is_nobody_elses(loop: Looping) -> None:
    factories.make_work_order("w1", max_concurrent_runs=9)
    desk = Desk()
    ask = start(desk)

    def fail(answer: object) -> None:
        raise RuntimeError("not today")

    def submit() -> None:
        loop.gatherer.submit(ask, sender=b"", arrived=loop.loop.time(), done=fail)

    loop.loop.call_soon_threadsafe(submit)
    assert outcomes(loop.ask(ask, ask)) == [ADMITTED] * 2
    assert loop.admits(ask)
