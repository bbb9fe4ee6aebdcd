"""The database ended, frozen, stopped or cut off in the middle of a batch: on a PostgreSQL of this
module's own, so that nobody else's tests are stopped."""

import itertools
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import psycopg
import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from budgets.admission import Decision, counters
from budgets.admission.batches import Ask
from config.run.data_folder import DataFolder
from config.run.embedded import EmbeddedPostgres
from config.run.scratch import scratch_database
from opslog.database import authority
from tests import factories
from tests.admission.desk import Desk
from tests.batches.looping import Answer, Looping, answers, looping, outcomes, start
from tests.batches.own_postgres import Own
from tests.clusters import pointing_at
from tests.waiting import in_time, timed, wait_until
from workorders.models import Run

ADMITTED = (201, "")
FIRST_SECONDS = 3
AFTERWARDS_SECONDS = 0.5
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def own(
    tmp_path_factory: pytest.TempPathFactory,
    pristine_database: str,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Own]:
    folder: Path = tmp_path_factory.mktemp("own-postgres")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o711)
    postgres = EmbeddedPostgres(DataFolder(folder / "data"), fast=True)
    postgres.start()
    try:
        with (
            pointing_at(postgres.folder.app_url(), postgres.folder.owner_url()),
            scratch_database() as name,
            factories.inside(name, django_db_blocker),
        ):
            factories.lift_limits()
            yield Own(postgres, name)
    finally:
        postgres.stop()


@pytest.fixture
def loop(own: Own) -> Iterator[Looping]:
    wait_until(lambda: not authority.outage.away)
    with looping() as running:
        yield running


@pytest.fixture
def ask(own: Own) -> Ask:
    """Of a work order of its own."""
    connections["default"].close()  # its session may be gone
    work_order = f"w{next(NUMBERS)}"
    factories.make_work_order(
        work_order, runs_per_day=99_999, usd_per_day="99999", max_concurrent_runs=99_999
    )
    return start(Desk(factories.make_token(name=work_order)[1]), work_order)


def written(ask: Ask) -> set[str]:
    connections["default"].close()
    return {
        str(pk) for pk in Run.objects.filter(wo_id=ask.fields["wo"]).values_list("pk", flat=True)
    }


def runs(outcomes: Sequence[Answer]) -> set[str]:
    """Those that were acknowledged."""
    return {
        msgspec.json.decode(each.body)["runId"]
        for each in outcomes
        if isinstance(each, Decision) and each.status == 201
    }


def comes_back(loop: Looping, ask: Ask) -> set[str]:
    """Returns what it admitted."""
    return wait_until(lambda: runs(loop.ask(ask)))


def test_the_session_of_a_batch_is_terminated(own: Own, loop: Looping, ask: Ask) -> None:
    with psycopg.connect(**connections["owner"].get_connection_params()) as holder:
        holder.execute("SELECT tollgate.hold_counters()")
        sent = loop.send([ask] * 16)
        own.superuser("SELECT pg_terminate_backend(%s)", own.waiting("advisory"))
        assert outcomes(answers(sent)) == ["Unavailable"] * 16
        holder.rollback()
    assert comes_back(loop, ask) == written(ask)
    assert not list(counters.differences())


def test_a_call_is_canceled(own: Own, loop: Looping, ask: Ask) -> None:
    """It may come after the commit: nobody hears that nothing was decided and asks again."""
    with psycopg.connect(**connections["owner"].get_connection_params()) as holder:
        holder.execute("SELECT tollgate.hold_counters()")
        sent = loop.send([ask] * 16)
        pid = own.waiting("advisory")
        own.superuser("SELECT pg_cancel_backend(%s)", pid)
        assert outcomes(answers(sent)) == ["Unavailable"] * 16
        holder.rollback()
    assert loop.sessions == {pid}  # it goes on
    assert comes_back(loop, ask) == written(ask)


def test_a_process_of_the_database_is_killed_under_load(own: Own, loop: Looping, ask: Ask) -> None:
    """All sessions end, and the database recovers. What was acknowledged is there."""
    acknowledged = runs(loop.ask(*[ask] * 40))
    sent = [each for _ in range(5) for each in loop.send([ask] * 40)]
    wait_until(lambda: any(each.done() for each in sent))
    os.kill(next(iter(loop.sessions)), signal.SIGKILL)
    decisions = answers(sent)
    assert set(outcomes(decisions)) <= {ADMITTED, "Unavailable", "Overloaded"}
    acknowledged |= runs(decisions) | comes_back(loop, ask)
    # One batch may have been committed and not acknowledged.
    assert acknowledged <= written(ask)
    assert len(written(ask)) <= len(acknowledged) + 32
    connections["default"].close()
    assert not list(counters.differences())


def test_frozen(own: Own, loop: Looping, ask: Ask) -> None:
    assert outcomes(loop.ask(ask)) == [ADMITTED]
    with own.frozen():
        decisions = loop.ask(*[ask] * 200)
        assert set(outcomes(decisions)) == {"Unavailable", "Overloaded"}
        wait_until(lambda: authority.outage.away)
        for _ in range(3):
            decisions = in_time(AFTERWARDS_SECONDS, lambda: loop.ask(*[ask] * 200))
            assert set(outcomes(decisions)) == {"Unavailable"}
    comes_back(loop, ask)
    wait_until(lambda: outcomes(loop.ask(*[ask] * 200)) == [ADMITTED] * 200)


def test_frozen_asks_are_answered_in_time(own: Own, loop: Looping, ask: Ask) -> None:
    """The first ones of an outage; a busy machine is given another."""

    def soon() -> bool:
        comes_back(loop, ask)
        with own.frozen():
            result, seconds = timed(lambda: loop.ask(*[ask] * 200))
        assert ADMITTED not in outcomes(result)
        return seconds < FIRST_SECONDS

    wait_until(soon)
    comes_back(loop, ask)


def test_cut_off_and_back(own: Own, loop: Looping, ask: Ask) -> None:
    assert outcomes(loop.ask(ask)) == [ADMITTED]
    own.superuser(f"ALTER DATABASE {own.database} WITH ALLOW_CONNECTIONS false")
    own.end_sessions()
    decisions = [each for _ in range(3) for each in loop.ask(*[ask] * 40)]
    assert set(outcomes(decisions)) == {"Unavailable"}
    assert authority.outage.away
    own.superuser(f"ALTER DATABASE {own.database} WITH ALLOW_CONNECTIONS true")
    assert {*comes_back(loop, ask)} < written(ask)


def test_sessions_that_end_while_idle_are_opened_anew(own: Own, loop: Looping, ask: Ask) -> None:
    assert outcomes(loop.ask(ask)) == [ADMITTED]
    before = loop.sessions
    own.end_sessions()
    wait_until(lambda: not loop.sessions)
    assert outcomes(loop.ask(ask)) == [ADMITTED]
    assert not loop.sessions & before


@pytest.mark.parametrize("number", [1, 3])
def test_no_standby_confirms_what_was_committed(
    own: Own, loop: Looping, ask: Ask, number: int
) -> None:
    """Of one, and of a batch. The service is away until a standby confirms, or none has to."""
    assert outcomes(loop.ask(ask)) == [ADMITTED]
    own.superuser("ALTER SYSTEM SET synchronous_standby_names TO 'nobody'")
    try:
        wait_until(lambda: own.reloaded("synchronous_standby_names") == "nobody")
        sent = loop.send([ask] * number)
        own.superuser("SELECT pg_cancel_backend(%s)", own.waiting("SyncRep"))
        assert set(outcomes(answers(sent))) == {"Unavailable"}
    finally:
        own.superuser("ALTER SYSTEM RESET synchronous_standby_names")
        wait_until(lambda: own.reloaded("synchronous_standby_names") == "")
    comes_back(loop, ask)
