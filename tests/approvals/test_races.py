"""Decisions that come at the same moment, on real connections; and rows that nobody may rewrite."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, connection, connections
from django.db.models import QuerySet
from django.utils import timezone

from budgets import approvals
from budgets.exceptions import Refused
from budgets.models import CapChange, ChangeRequest
from opslog.models import OperationsEvent
from tests.approvals.people import ask, decide, everybody
from tests.factories import make_user, set_caps
from workorders.models import WorkOrder

RACES = 1000
CONTROL_RACES = 60

ENDS = {
    "approve": ChangeRequest.Status.APPLIED,
    "approve too": ChangeRequest.Status.APPLIED,
    "refuse": ChangeRequest.Status.REFUSED,
    "cancel": ChangeRequest.Status.CANCELLED,
    "expire": ChangeRequest.Status.EXPIRED,
}
TERMINAL_EVENTS = (
    "WORK_ORDER_CAP_CHANGE",
    "CAP_CHANGE_REFUSED",
    "CAP_CHANGE_CANCELLED",
    "CAP_CHANGE_EXPIRED",
)


def expire(request: ChangeRequest, people: dict[str, User]) -> None:
    ChangeRequest.objects.filter(pk=request.pk).update(expires_at=timezone.now())
    if not approvals.close_overdue():
        raise Refused("it was decided before")
    request.refresh_from_db()
    if request.status != ChangeRequest.Status.EXPIRED:
        raise Refused("it was decided meanwhile")


RACERS: dict[str, Callable[[Any, dict[str, User]], Any]] = {
    "approve": lambda request, people: decide(request, people["operations"]),
    "approve too": lambda request, people: decide(request, people["operations-2"]),
    "refuse": lambda request, people: decide(request, people["operations-3"], "refuse"),
    "cancel": lambda request, people: approvals.cancel(request.pk, by=people["asker"]),
    "expire": expire,
    "edit": lambda request, people: approvals.edit(
        request.pk,
        new={"usd_per_day": Decimal("1.50"), "runs_per_day": 998},
        justification="second thoughts",
        expected_cost_impact="$1 a day",
        by=people["asker"],
    ),
}


def racers() -> dict[str, User]:
    people = everybody()
    for name in ("operations-2", "operations-3"):
        people[name] = make_user(name, groups=["operations"])
    return people


@pytest.mark.parametrize("first", ENDS)
def test_whichever_end_comes_first_is_the_only_one(db: None, first: str) -> None:
    """Which of them win the races below is chance. Here each of them does."""
    people = racers()
    request = ask(people, runs=101)
    RACERS[first](request, people)
    for other in (name for name in RACERS if name != first):
        with pytest.raises(Refused):
            RACERS[other](request, people)
    request.refresh_from_db()
    assert request.status == ENDS[first]
    assert OperationsEvent.objects.filter(kind__in=TERMINAL_EVENTS).count() == 1


class Track:
    """Six runners, each with a connection of its own that it keeps from race to race."""

    def __init__(self) -> None:
        self.people = racers()
        self.pool = ThreadPoolExecutor(len(RACERS))
        self.barrier = threading.Barrier(len(RACERS))

    def run(self, name: str) -> str:
        """The runner's name, or "" when it learned that it lost."""
        # Each reads the request for itself, as each browser has a page of its own.
        request = ChangeRequest.objects.get(pk=self.request.pk)
        self.barrier.wait()
        try:
            RACERS[name](request, self.people)
        except Refused:
            return ""
        except IntegrityError:
            return "stopped by a constraint"
        return name

    def race(self, turn: int) -> tuple[list[str], int]:
        """Who believes to have won, and how many terminal events there are."""
        set_caps(WorkOrder.objects.get(), 100, "2.00")
        self.request = ask(self.people, runs=101 + turn % 800)
        won = [name for name in self.pool.map(self.run, RACERS) if name and name != "edit"]
        # Whoever finds it expired under the lock closes it, and learns that it has expired.
        won = won or ["expire"]
        events = OperationsEvent.objects.filter(
            kind__in=TERMINAL_EVENTS, meta__requestId=self.request.pk
        ).count()
        ChangeRequest.objects.filter(status=ChangeRequest.Status.PENDING).update(
            status=ChangeRequest.Status.CANCELLED, decided_at=timezone.now()
        )
        return won, events

    def close(self) -> None:
        barrier = threading.Barrier(len(RACERS))

        def part(_: int) -> None:
            barrier.wait()
            connection.close()

        list(self.pool.map(part, range(len(RACERS))))
        self.pool.shutdown()


def test_exactly_one_end_wins(committed_db: str) -> None:
    track = Track()
    for turn in range(RACES):
        (winner,), events = track.race(turn)
        request = ChangeRequest.objects.get(pk=track.request.pk)
        assert request.status == ENDS[winner]
        assert events == 1
        applied = CapChange.objects.filter(request=request).count()
        assert applied == (request.status == ChangeRequest.Status.APPLIED)
    track.close()


def test_without_the_lock_several_ends_win(
    committed_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuerySet, "select_for_update", lambda self, **kwargs: self.all())
    track = Track()
    races = [track.race(turn) for turn in range(CONTROL_RACES)]
    track.close()
    assert any(len(won) > 1 or events > 1 for won, events in races)


def test_two_last_signatures_apply_once(committed_db: str) -> None:
    people = everybody()
    request = ask(people, usd="60.00")
    barrier = threading.Barrier(2)

    def sign(name: str) -> None:
        barrier.wait()
        decide(request, people[name])
        connection.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(sign, ["finance", "vp"]))
    request.refresh_from_db()
    assert request.status == ChangeRequest.Status.APPLIED
    assert CapChange.objects.filter(request=request).count() == 1


@pytest.mark.parametrize(
    ("table", "column"),
    [("change_votes", "comment"), ("cap_changes", "reason"), ("operations_events", "actor")],
)
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = ''", "DELETE FROM {}", "TRUNCATE {}"])
def test_what_is_written_stays(committed_db: str, table: str, column: str, statement: str) -> None:
    """The application's role lacks the right; the owner, who has it, meets the trigger."""
    people = everybody()
    decide(ask(people, usd="9.99"), people["operations"])
    with pytest.raises(DatabaseError, match="permission denied"), connection.cursor() as cursor:
        cursor.execute(statement.format(table, column))
    with pytest.raises(IntegrityError, match="append-only"):
        connections["owner"].cursor().execute(statement.format(table, column))
