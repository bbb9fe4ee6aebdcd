"""What is queued, when it is due, who gets it: the outbox without a network."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.db.transaction import TransactionManagementError
from django_q.models import OrmQ
from pytest_django import Settings

from opslog import outbox
from opslog.exceptions import NotAllowedNow
from opslog.models import OperationsEvent, OutboxMessage, Severity
from opslog.outbox.notices import DETAILS_LENGTH, EARLIER, Notice
from tests.factories import make_user

State = OutboxMessage.State
PARTS = ("what", "change", "by", "at", "severity", "action", "details", "subject")
NOON = datetime(2026, 3, 14, 12, 0, 5, tzinfo=UTC)


def notice(**given: Any) -> Notice:
    return Notice(
        **{
            "what": "A cap change was approved",
            "change": "USD/day 2.00 → 5.00",
            "by": "anna",
            "at": NOON,
            "severity": Severity.INFO,
            "action": "Nothing.",
            **given,
        }
    )


def queue(to: Sequence[User] | str, key: str = "request-1:approved", **given: Any) -> None:
    """Queue in a transaction of its own, as a decision would."""
    with transaction.atomic():
        outbox.send(
            **{
                "topic": "cap-change",
                "to": () if to == "channels" else to,
                "channels": to == "channels",
                "notice": notice(
                    **{name: given.pop(name) for name in list(given) if name in PARTS}
                ),
                "link": "/admin/budgets/changerequest/1/change/",
                "key": key,
                **given,
            }
        )


def make_due() -> None:
    """As if the time to wait, or the lease of a claim, had passed."""
    hour = timedelta(hours=24)
    OutboxMessage.objects.update(due_at=Now() - hour, claimed_until=F("claimed_until") - hour)


def claimed() -> OutboxMessage:
    message = outbox.claim()
    assert message is not None
    return message


def test_one_row_for_each_and_no_job(committed_db: str) -> None:
    queue([make_user("anna"), make_user("ben")])
    assert set(OutboxMessage.objects.values_list("recipient_label", "state")) == {
        ("anna", State.WAITING),
        ("ben", State.WAITING),
    }
    assert OrmQ.objects.count() == 0  # a process of its own looks into the table


def test_a_rollback_leaves_nothing(committed_db: str) -> None:
    anna = make_user("anna")
    with pytest.raises(RuntimeError), transaction.atomic():  # noqa: PT012
        queue([anna])
        raise RuntimeError
    assert OutboxMessage.objects.count() == OrmQ.objects.count() == 0


def test_outside_of_a_transaction_nothing_is_queued(committed_db: str) -> None:
    with pytest.raises(TransactionManagementError):
        outbox.send(topic="t", to=[make_user()], notice=notice(), link="/", key="k")


@pytest.mark.parametrize(
    ("second", "rows"),
    [
        ({}, 1),
        ({"subject": "Other words"}, 1),
        ({"key": "request-2:approved"}, 2),
        ({"topic": "reminder"}, 2),
    ],
)
def test_the_same_message_is_queued_once(db: None, second: dict[str, str], rows: int) -> None:
    anna = make_user("anna")
    queue([anna, anna])
    queue([anna], **second)
    assert OutboxMessage.objects.count() == rows


def test_decisions_that_race_queue_it_once(committed_db: str) -> None:
    people = [make_user(f"person-{number}") for number in range(5)]
    barrier = threading.Barrier(4)

    def tell(turn: int) -> None:
        barrier.wait()
        queue(people if turn % 2 else people[::-1])
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tell, range(4)))
    assert OutboxMessage.objects.count() == len(people)


@pytest.mark.parametrize(
    "link", ["", "admin/", "https://evil.example/", "//evil.example/", "/a b", "/a\nb", "/ä"]
)
def test_a_link_is_a_path_of_ours(db: None, link: str) -> None:
    with pytest.raises(ValueError, match="path"):
        queue([make_user()], link=link)


def test_the_database_refuses_foreign_links_too(db: None) -> None:
    queue([make_user()])
    with pytest.raises(IntegrityError, match="outbox_messages_link_is_a_path"):
        OutboxMessage.objects.update(link="//evil.example/")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("Cap\r\nBcc: all@evil.example", "Cap Bcc: all@evil.example"),
        ("one\u2028two\x00three\x85four", "one two three four"),
        ("\u202egnp.exe", "gnp.exe"),
        ("x" * 500, "x" * 199 + "…"),
    ],
)
def test_a_subject_is_one_line(db: None, given: str, stored: str) -> None:
    queue([make_user()], subject=given)
    assert OutboxMessage.objects.get().subject == stored


def test_details_keep_their_lines_and_have_a_length(db: None) -> None:
    queue([make_user()], details="one\r\ntwo\x00\n" + "x" * 20_000)
    _, _, details = OutboxMessage.objects.get().text.partition("\n\x1f\n\n")
    assert details.startswith("one\ntwo")
    assert len(details) == DETAILS_LENGTH


def test_no_channel_no_message(db: None, settings: Settings) -> None:
    settings.TOLLGATE_NOTIFY_SECRET_URLS = []
    queue("channels")
    assert OutboxMessage.objects.count() == OrmQ.objects.count() == 0


def test_back_off_doubles_to_a_quarter_of_an_hour_and_ends_after_eight_hours(
    committed_db: str,
) -> None:
    queue([make_user("anna")])
    waited = []
    for attempt in range(1, 8):
        message = claimed()
        assert message.attempts == attempt
        assert outbox.mark_failed(message, "ConnectionRefusedError.")
        row = OutboxMessage.objects.annotate(wait=F("due_at") - Now()).get()
        waited.append(round(row.wait.total_seconds() / 60, 1))
        assert outbox.claim() is None  # not before its time
        make_due()
    assert waited == [1, 2, 4, 8, 15, 15, 15]
    OutboxMessage.objects.update(ready_at=Now() - timedelta(hours=8, seconds=1))
    assert outbox.mark_failed(claimed(), "ConnectionRefusedError.")
    row.refresh_from_db()
    assert (row.state, row.error) == (State.FAILED, "ConnectionRefusedError.")
    assert outbox.claim() is None
    event = OperationsEvent.objects.get(kind="MESSAGE_FAILED")
    assert event.meta == {"topic": "cap-change", "attempts": 8, "error": "ConnectionRefusedError."}


def test_a_service_is_waited_for_as_long_as_it_asks(committed_db: str) -> None:
    queue([make_user("anna")])
    outbox.mark_failed(claimed(), "The service answered 429.", wait=timedelta(minutes=40))
    row = OutboxMessage.objects.annotate(wait=F("due_at") - Now()).get()
    assert round(row.wait.total_seconds() / 60, 1) == 40


def test_messages_to_one_recipient_are_in_order(committed_db: str) -> None:
    """The first has failed once: the second does not overtake it, and others do not wait."""
    anna, ben = make_user("anna"), make_user("ben")
    queue([anna], key="on")
    outbox.mark_failed(claimed(), "ConnectionRefusedError.")
    queue([anna], key="off")
    queue([ben], key="on")
    others = claimed()
    assert others.recipient == str(ben.pk)
    assert outbox.mark_sent(others)
    assert outbox.claim() is None
    make_due()
    first = claimed()
    assert (first.recipient, first.key) == (str(anna.pk), "on")
    assert outbox.claim() is None  # it is on its way
    outbox.mark_sent(first)
    assert claimed().key == "off"


def test_what_is_merged_is_one_message_that_says_all_of_it(committed_db: str) -> None:
    anna = make_user("anna")
    merge = outbox.Merge("switch:1")
    for key, change in (("1", "off → on"), ("2", "on → off"), ("3", "off → on")):
        queue([anna], key=key, change=change, what=f"Switch, turn {key}", merge=merge)
    (row,) = OutboxMessage.objects.all()
    assert row.subject == "Switch, turn 3"
    _, _, earlier = row.text.partition(EARLIER)
    assert earlier.splitlines() == [
        "- 2026-03-14 12:00:05 UTC: Switch, turn 1 (off → on), by anna",
        "- 2026-03-14 12:00:05 UTC: Switch, turn 2 (on → off), by anna",
    ]
    wait = OutboxMessage.objects.annotate(wait=F("ready_at") - Now()).get().wait
    assert timedelta() < wait <= merge.settle
    # What comes after it was sent waits until its minute is over.
    OutboxMessage.objects.update(ready_at=Now() - timedelta(seconds=20), due_at=Now())
    outbox.mark_sent(claimed())
    queue([anna], key="4", merge=merge)
    wait = OutboxMessage.objects.annotate(wait=F("ready_at") - Now()).get(key="4").wait
    assert timedelta(seconds=30) < wait <= timedelta(seconds=40)


def test_a_claim_is_a_lease(committed_db: str) -> None:
    """A worker that died leaves its message to the next; if it was only slow, it comes too late."""
    queue([make_user()])
    first = claimed()
    assert outbox.claim() is None
    make_due()
    second = claimed()
    assert second.pk == first.pk
    assert second.attempts == 2
    assert not outbox.mark_failed(first, "late")
    assert outbox.mark_sent(second)
    row = OutboxMessage.objects.get()
    assert (row.state, row.error, row.claimed_until) == (State.SENT, "", None)


def test_workers_never_claim_the_same(committed_db: str) -> None:
    queue([make_user(f"person-{number}") for number in range(30)])
    barrier = threading.Barrier(4)

    def work(_: int) -> list[int]:
        barrier.wait()
        found = []
        while message := outbox.claim():
            found.append(message.pk)
        connection.close()
        return found

    with ThreadPoolExecutor(4) as pool:
        taken = [pk for found in pool.map(work, range(4)) for pk in found]
    assert sorted(taken) == sorted(OutboxMessage.objects.values_list("pk", flat=True))


def test_no_claim_inside_a_transaction(db: None) -> None:
    with pytest.raises(TransactionManagementError):
        outbox.claim()


def test_retry_is_for_what_ended_unsent(committed_db: str) -> None:
    admin = make_user("admin")
    queue([make_user("anna")])
    message = claimed()
    with pytest.raises(NotAllowedNow, match="waiting"):
        outbox.retry(message.pk, by=admin, reason="a test")
    outbox.mark_failed(message, "ConnectionRefusedError.", final=True)
    outbox.retry(message.pk, by=admin, reason="a test")
    again = claimed()
    assert (again.pk, again.attempts) == (message.pk, 1)
    assert OperationsEvent.objects.get(kind="MESSAGE_RETRIED").actor == "admin"
    outbox.mark_sent(again)
    with pytest.raises(NotAllowedNow, match="sent"):
        outbox.retry(message.pk, by=admin, reason="a test")
