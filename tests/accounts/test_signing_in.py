"""Log-ins, log-outs, failures and lock-outs leave events; failures in counts."""

from datetime import timedelta

import pytest
from django.contrib.auth import authenticate
from django.test import Client, RequestFactory
from django.utils import timezone

from budgets.accounts import signing_in
from budgets.models import FailedLogins
from budgets.tasks import watch_accounts
from opslog.models import OperationsEvent, OutboxMessage
from tests.access.walking import BACKEND
from tests.accounts.house import House


def fail(name: str, times: int, address: str = "192.0.2.7") -> None:
    """As the form of log-in does it, without its guard."""
    request = RequestFactory().post("/account/login/", REMOTE_ADDR=address)
    for _ in range(times):
        signing_in.failed(None, {"username": name, "password": "***"}, request)


def events(kind: str) -> list[OperationsEvent]:
    return list(OperationsEvent.objects.filter(kind=kind).order_by("id"))


def test_in_and_out(house: House) -> None:
    client = Client()
    client.force_login(house["ops"], backend=BACKEND)
    client.logout()
    (came,), (went,) = events("USER_LOGGED_IN"), events("USER_LOGGED_OUT")
    for event in (came, went):
        assert (event.actor, event.owner_type, event.owner_id) == (
            "ops",
            "user",
            str(house["ops"].pk),
        )
        assert event.meta["personId"] == house["ops"].pk


def test_a_true_failure_is_one(house: House) -> None:
    request = RequestFactory().post("/account/login/", REMOTE_ADDR="192.0.2.7")
    assert authenticate(request, username="ops", password="no") is None
    (event,) = events("LOGIN_FAILED")
    assert event.meta | {"sourceIp": "192.0.2.7", "count": 1} == event.meta
    assert "no" not in event.meta.values()


def test_many_failures_are_two_events(house: House) -> None:
    fail("ops", 50)
    assert [event.meta["count"] for event in events("LOGIN_FAILED")][:1] == [1]
    FailedLogins.objects.update(since=timezone.now() - timedelta(minutes=16))
    assert watch_accounts() == (0, 1)
    found = events("LOGIN_FAILED")
    assert [event.meta["count"] for event in found] == [1, 49]
    assert found[1].message == "49 failed log-ins as ops"
    assert not FailedLogins.objects.exists()
    assert watch_accounts() == (0, 0)


def test_the_next_window_writes_what_is_left_of_the_last(house: House) -> None:
    fail("ops", 5)
    FailedLogins.objects.update(since=timezone.now() - timedelta(minutes=16))
    fail("ops", 2)
    assert [event.meta["count"] for event in events("LOGIN_FAILED")] == [1, 4, 1]


def test_addresses_are_told_apart_and_unknown_names_are_not_kept(house: House) -> None:
    fail("ops", 2, "192.0.2.1")
    fail("ops", 2, "192.0.2.2")
    for name in ("hunter2", "Tr0ub4dor&3", "a\0b", ""):
        fail(name, 3, "192.0.2.1")
    found = events("LOGIN_FAILED")
    assert [(each.owner_id, each.meta["sourceIp"]) for each in found] == [
        (str(house["ops"].pk), "192.0.2.1"),
        (str(house["ops"].pk), "192.0.2.2"),
        ("", "192.0.2.1"),
    ]
    assert "hunter2" not in "".join(f"{each.message}{each.meta}" for each in found)
    assert FailedLogins.objects.get(person=None).count == 12


def test_from_ten_on_the_person_and_the_administrators_are_told_once(house: House) -> None:
    fail("ops", 5, "192.0.2.1")
    fail("ops", 4, "192.0.2.2")
    assert not OutboxMessage.objects.filter(topic="failed_logins").exists()
    fail("ops", 30, "192.0.2.3")
    messages = OutboxMessage.objects.filter(topic="failed_logins")
    assert set(messages.values_list("recipient_label", flat=True)) == {"ann", "bob", "ops", "root"}
    assert len(messages) == 4


def test_a_lock_out_is_one_event(house: House) -> None:
    request = RequestFactory().post("/account/login/", REMOTE_ADDR="192.0.2.7")
    for _ in range(3):
        signing_in.locked_out(request, "ops")
    (event,) = events("LOGIN_LOCKED_OUT")
    assert (event.owner_id, event.meta["sourceIp"]) == (str(house["ops"].pk), "192.0.2.7")


@pytest.mark.parametrize("name", ["ops", "unknown"])
def test_the_guard_tells_of_its_lock_out(house: House, name: str) -> None:
    client = Client(REMOTE_ADDR="192.0.2.7")
    for _ in range(12):
        client.post("/account/login/", {"login": name, "password": "wrong"})
    assert len(events("LOGIN_LOCKED_OUT")) == 1
    assert [event.meta["count"] for event in events("LOGIN_FAILED")][:1] == [1]
