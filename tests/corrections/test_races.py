"""Corrections against each other, and against the run's own end: on real connections."""

import threading
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connections, transaction

from budgets import tasks
from budgets.admission import counters
from budgets.approvals import corrections
from budgets.exceptions import Refused
from budgets.models import CostCorrection
from opslog.models import OperationsEvent
from tests import factories
from tests.admission.desk import Desk, run_of
from workorders.models import Run

pytestmark = pytest.mark.usefixtures("committed_db")


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Each in a thread with a connection of its own; the answers, or what was raised."""
    barrier = threading.Barrier(len(acts))
    answers: list[object] = [None] * len(acts)

    def run(n: int) -> None:
        barrier.wait()
        try:
            answers[n] = acts[n]()
        except Refused as error:
            answers[n] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.fixture
def run(desk: Desk) -> str:
    made = run_of(desk.start(usd="0.50"))
    desk.finish(made, "42.00")
    return made


def test_two_corrections_of_one_cost(run: str) -> None:
    people = [factories.make_user(f"ops{n}", ["operations"]) for n in range(4)]

    def correct(n: int) -> Callable[[], object]:
        return lambda: corrections.ask(
            "run", UUID(run), Decimal(n + 1), seen=Decimal(42), reason="r", by=people[n]
        )

    answers = at_once(*(correct(n) for n in range(4)))
    won = [answer for answer in answers if isinstance(answer, CostCorrection)]
    assert len(won) == 1
    assert Run.objects.get(pk=run).cost == won[0].new_usd
    assert OperationsEvent.objects.filter(kind="COST_CORRECTED").count() == 1
    assert list(counters.differences()) == []


def test_two_confirmations_of_one_correction(run: str) -> None:
    asked = factories.make_user("ops", ["operations"])
    people = [factories.make_user(f"second{n}", ["operations"]) for n in range(4)]
    factories.set_limit("user", "day", "usd", "1000")
    corrections.set_rule(by="t", reason="r", second_person_over_usd=Decimal(1))
    made = corrections.ask("run", UUID(run), Decimal(1), seen=Decimal(42), reason="r", by=asked)

    def confirm(n: int) -> Callable[[], object]:
        return lambda: corrections.decide(made.pk, approve=n % 2 == 0, by=people[n], note="n")

    answers = at_once(*(confirm(n) for n in range(4)))
    assert sum(isinstance(answer, CostCorrection) for answer in answers) == 1
    made.refresh_from_db()
    assert Run.objects.get(pk=run).cost == (1 if made.status == "applied" else 42)
    assert list(counters.differences()) == []


def test_a_correction_against_the_late_end_of_a_run(desk: Desk) -> None:
    """Whichever is first: the cost is that of the one that was accepted, and counted once."""
    ops = factories.make_user("ops", ["operations"])
    for _ in range(5):
        late = run_of(desk.start(usd="0.50", lease_seconds=1))
        with transaction.atomic():
            Run.objects.using("owner").filter(pk=late).update(
                lease_expires_at="2020-01-01T00:00:00Z"
            )
        assert tasks.expire_leases() == 1
        finished, corrected = at_once(
            lambda run=late: desk.finish(run, "0.70"),  # type: ignore[misc]
            lambda run=late: corrections.ask(  # type: ignore[misc]
                "run", UUID(run), Decimal("0.20"), seen=Decimal("0.50"), reason="r", by=ops
            ),
        )
        cost = Run.objects.get(pk=late).cost
        if isinstance(corrected, CostCorrection):
            assert (cost, getattr(finished, "denial", "")) == (Decimal("0.20"), "run_ended")
        else:
            assert (cost, getattr(finished, "status", 0)) == (Decimal("0.70"), 200)
        assert list(counters.differences()) == []
