"""Decisions that come at the same moment, on real connections; and rows that nobody may rewrite."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, connection, connections

from budgets import approvals
from budgets.exceptions import Refused
from budgets.models import CapChange
from tests.approvals.test_workflow import Status, ask, decide, everybody
from tests.factories import make_user

RACERS: dict[str, Callable[[Any, dict[str, User]], Any]] = {
    "approve": lambda request, people: decide(request, people["operations"]),
    "approve too": lambda request, people: decide(request, people["operations-2"]),
    "refuse": lambda request, people: decide(request, people["operations-3"], "refuse"),
    "cancel": lambda request, people: approvals.cancel(request.pk, by=people["asker"]),
}
ROUNDS = 8


def race(request: Any, people: dict[str, User]) -> list[str]:
    """The names of those who won."""
    barrier = threading.Barrier(len(RACERS))

    def run(name: str) -> str:
        barrier.wait()
        try:
            RACERS[name](request, people)
        except Refused:
            return ""
        finally:
            connection.close()
        return name

    with ThreadPoolExecutor(len(RACERS)) as pool:
        return [name for name in pool.map(run, RACERS) if name]


def test_exactly_one_end_wins(committed_db: str) -> None:
    people = everybody()
    for number in (2, 3):
        people[f"operations-{number}"] = make_user(f"operations-{number}", groups=["operations"])
    for turn in range(ROUNDS):
        request = ask(people, runs=101 + turn)
        (winner,) = race(request, people)
        request.refresh_from_db()
        ended = {"refuse": Status.REFUSED, "cancel": Status.CANCELLED}
        assert request.status == ended.get(winner, Status.APPLIED)
        applied = CapChange.objects.filter(request=request).count()
        assert applied == (request.status == Status.APPLIED)


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
    assert request.status == Status.APPLIED
    assert CapChange.objects.filter(request=request).count() == 1


@pytest.mark.parametrize("table", ["change_votes", "cap_changes", "operations_events"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {}"])
def test_what_is_written_stays(committed_db: str, table: str, statement: str) -> None:
    """The application's role lacks the right; the owner, who has it, meets the trigger."""
    people = everybody()
    decide(ask(people, usd="9.99"), people["operations"])
    with pytest.raises(DatabaseError, match="permission denied"), connection.cursor() as cursor:
        cursor.execute(statement.format(table))
    with pytest.raises(IntegrityError, match="append-only"):
        connections["owner"].cursor().execute(statement.format(table))
