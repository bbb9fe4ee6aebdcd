"""Who hears of a request, and when: at the asking, at 25, 50 and 75 % of its life, at its end."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import User

from budgets import approvals
from budgets.approvals.reminders import steps_due
from budgets.models import ChangeRequest
from opslog.models import OperationsEvent, OutboxMessage
from tests.approvals.people import ask, decide, everybody

ASKED = datetime(2026, 3, 14, 12, tzinfo=UTC)
LIFE = timedelta(hours=24)


@pytest.mark.parametrize(
    ("part", "steps"), [(0, 0), (0.2499, 0), (0.25, 1), (0.5, 2), (0.7499, 2), (0.75, 3), (2, 3)]
)
def test_steps(part: float, steps: int) -> None:
    assert steps_due(ASKED, ASKED + LIFE, ASKED + part * LIFE) == steps


@pytest.fixture
def people(db: None) -> Iterator[dict[str, User]]:
    with time_machine.travel(ASKED, tick=False):
        yield everybody()


def recipients(topic: str, people: dict[str, User]) -> list[str]:
    """The names of those who were sent a message of that topic, once for each."""
    names = {str(user.pk): name for name, user in people.items()}
    rows = OutboxMessage.objects.filter(topic=topic).order_by("id")
    return sorted(names.get(pk, pk) for pk in rows.values_list("recipient", flat=True))


def later(part: float) -> "time_machine.travel":
    return time_machine.travel(ASKED + part * LIFE, tick=False)


def waiting(people: dict[str, User], usd: str) -> ChangeRequest:
    """A request that was asked at the moment the clock shows."""
    request = ask(people, usd=usd)
    ChangeRequest.objects.filter(pk=request.pk).update(created_at=ASKED)
    return request


def test_those_who_may_sign_hear_of_it(people: dict[str, User]) -> None:
    waiting(people, "9.99")
    assert recipients("cap_change_asked", people) == [
        "operations"
    ]  # not who asked, though of the group
    assert recipients("cap_change_finance", people) == []


@pytest.mark.parametrize(("usd", "finance"), [("10.00", []), ("10.01", ["finance"])])
def test_finance_hears_of_what_goes_over_ten_dollars(
    people: dict[str, User], usd: str, finance: list[str]
) -> None:
    waiting(people, usd)
    assert recipients("cap_change_asked", people) == ["director"]
    assert recipients("cap_change_finance", people) == finance


def test_reminders_come_once_each_and_end_with_administrators(people: dict[str, User]) -> None:
    waiting(people, "60.00")
    with later(0.2):
        assert approvals.remind() == 0
    for part, count in ((0.25, 2), (0.5, 4), (0.75, 7)):
        with later(part):
            assert approvals.remind() == 1
            assert approvals.remind() == 0
            assert len(recipients("cap_change_reminder", people)) == count
    assert recipients("cap_change_reminder", people).count("administrator") == 1


def test_who_has_signed_is_not_reminded(people: dict[str, User]) -> None:
    decide(waiting(people, "60.00"), people["vp"])
    with later(0.3):
        approvals.remind()
    assert recipients("cap_change_reminder", people) == ["finance"]


def test_after_a_pause_one_reminder_and_not_three(people: dict[str, User]) -> None:
    waiting(people, "9.99")
    with later(0.6):
        assert approvals.remind() == 1
    assert recipients("cap_change_reminder", people) == ["operations"]


def test_the_job_closes_what_nobody_decided(people: dict[str, User]) -> None:
    request = waiting(people, "9.99")
    with later(0.99):
        assert approvals.close_overdue() == 0
    with later(1):
        assert approvals.remind() == 0
        assert approvals.close_overdue() == 1
        assert approvals.close_overdue() == 0
    request.refresh_from_db()
    assert request.status == ChangeRequest.Status.EXPIRED
    assert OperationsEvent.objects.filter(kind="CAP_CHANGE_EXPIRED").count() == 1
    # Whoever was asked is notified of how it ended, too.
    assert recipients("cap_change_closed", people) == ["asker", "operations"]


def test_the_end_is_told_to_who_asked_and_who_signed(people: dict[str, User]) -> None:
    request = waiting(people, "60.00")
    decide(request, people["vp"])
    assert recipients("cap_change_signed", people) == ["asker"]
    decide(request, people["finance"], "refuse")
    assert recipients("cap_change_closed", people) == ["asker", "vp"]


def test_a_decision_that_is_undone_sends_nothing(people: dict[str, User]) -> None:
    from django.db import transaction

    request = waiting(people, "9.99")
    before = OutboxMessage.objects.count()

    @transaction.atomic
    def decide_in_vain() -> None:
        decide(request, people["operations"])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        decide_in_vain()
    assert OutboxMessage.objects.count() == before
