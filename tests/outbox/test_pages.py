"""The messages in the admin: everybody reads, administrators have one sent again."""

import pytest
from django.test import Client

from opslog import outbox
from opslog.models import OperationsEvent, OutboxMessage
from tests.factories import make_user
from tests.outbox.queueing import State, queue

LIST = "/admin/opslog/outboxmessage/"


@pytest.fixture
def message(db: None) -> OutboxMessage:
    queue([make_user("anna")], subject="Cap of <b>w1</b>")
    OutboxMessage.objects.update(state=State.FAILED, attempts=10, error="TimeoutError.")
    return OutboxMessage.objects.get()


def browser_of(group: str) -> Client:
    client = Client()
    client.force_login(
        make_user(group, groups=[group], is_staff=True),
        backend="django.contrib.auth.backends.ModelBackend",
    )
    return client


def test_a_failure_is_seen_by_everybody(message: OutboxMessage) -> None:
    browser = browser_of("auditor")
    for address in (LIST, f"{LIST}{message.pk}/change/"):
        page = browser.get(address).content.decode()
        assert "TimeoutError." in page
        assert "Cap of &lt;b&gt;w1&lt;/b&gt;" in page
        assert "Send it again" not in page


def test_an_administrator_has_it_sent_again(message: OutboxMessage) -> None:
    browser = browser_of("administrator")
    assert "Send it again" in browser.get(f"{LIST}{message.pk}/change/").content.decode()
    browser.get(f"{LIST}{message.pk}/retry/")
    message.refresh_from_db()
    assert message.state == State.FAILED  # to look is not to act
    browser.post(f"{LIST}{message.pk}/retry/", {"reason": ""})
    message.refresh_from_db()
    assert message.state == State.FAILED
    browser.post(f"{LIST}{message.pk}/retry/", {"reason": "the server is back"})
    message.refresh_from_db()
    assert (message.state, message.attempts) == (State.WAITING, 0)
    event = OperationsEvent.objects.get(kind="MESSAGE_RETRIED")
    assert (event.actor, event.meta["reason"]) == ("administrator", "the server is back")
    again = browser.post(f"{LIST}{message.pk}/retry/", {"reason": "once more"}).content.decode()
    assert "This message is waiting." in again


@pytest.mark.parametrize("group", ["auditor", "operations", "vp"])
def test_nobody_else_does(message: OutboxMessage, group: str) -> None:
    answer = browser_of(group).post(f"{LIST}{message.pk}/retry/", {"reason": "why not"})
    assert answer.status_code == 403
    message.refresh_from_db()
    assert message.state == State.FAILED


def test_a_page_shows_where_the_link_leads(message: OutboxMessage) -> None:
    page = browser_of("auditor").get(f"{LIST}{message.pk}/change/").content.decode()
    assert outbox.address_of(message) in page
