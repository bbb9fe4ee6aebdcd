"""Messages on their way: through real sockets, to people and to channels."""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from django.forms.models import model_to_dict
from django.test import Client
from pytest_django import DjangoDbBlocker, Settings

from config.run.scratch import scratch_service
from opslog import outbox
from opslog.models import OperationsEvent, OutboxMessage
from opslog.outbox import delivery, posting
from tests.factories import inside, make_user
from tests.outbox.queueing import State, claimed, make_due, queue
from tests.outbox.sinks import HttpSink, SmtpSink, served
from tests.waiting import wait_until

SECRETS = ("hunter2", "user-of-it", "path-token", "header-token")


def the_one() -> OutboxMessage:
    return OutboxMessage.objects.get()


def test_a_person_gets_an_email(committed_db: str, smtp: SmtpSink) -> None:
    queue([make_user("anna", email="anna@example.org")], subject="Cap\nBcc: eve@evil.example")
    assert delivery.deliver_due() == 1
    assert (the_one().state, the_one().sent_at is None) == (State.SENT, False)
    (mail,) = smtp.mails
    assert mail["Subject"] == "Cap Bcc: eve@evil.example"
    assert mail["To"] == "anna@example.org"
    assert mail["Bcc"] is None
    assert mail["Message-ID"] == f"<outbox-{the_one().pk}@tollgate.example>"
    assert mail.get_content().splitlines() == [
        "A cap change was approved",
        "",
        "Change: USD/day 2.00 → 5.00",
        "By: anna",
        "When: 2026-03-14 12:00:05 UTC",
        "Severity: info",
        "What to do: Nothing.",
        "https://tollgate.example/admin/budgets/changerequest/1/change/",
    ]
    assert delivery.deliver_due() == 0


@pytest.mark.parametrize(
    ("person", "backend", "reason"),
    [
        ({"email": "a@example.org"}, "dummy", "No mail is configured (EMAIL_URL)."),
        ({"email": ""}, "smtp", "This person has no email address."),
        ({"email": "a@example.org", "is_active": False}, "smtp", "account is switched off"),
    ],
)
def test_without_a_way_it_is_skipped_not_failed(
    committed_db: str,
    smtp: SmtpSink,
    settings: Settings,
    person: dict[str, Any],
    backend: str,
    reason: str,
) -> None:
    settings.EMAIL_BACKEND = f"django.core.mail.backends.{backend}.EmailBackend"
    queue([make_user("anna", **person)])
    delivery.deliver_due()
    assert the_one().state == State.SKIPPED
    assert reason in the_one().error
    assert not smtp.mails


def test_a_mail_server_that_refuses_is_asked_again(committed_db: str, smtp: SmtpSink) -> None:
    smtp.refuse = 451
    queue([make_user("anna", email="anna@example.org")])
    delivery.deliver_due()
    assert (the_one().state, the_one().attempts) == (State.WAITING, 1)
    assert the_one().error == "SMTPRecipientsRefused 451."  # and nothing of its answer
    smtp.refuse = 0
    assert delivery.deliver_due() == 0  # not before its time
    make_due()
    delivery.deliver_due()
    assert (the_one().state, the_one().attempts, len(smtp.mails)) == (State.SENT, 2, 1)


def test_a_channel_is_told(committed_db: str, http: HttpSink) -> None:
    queue("channels", details="<b>raised</b>")
    delivery.deliver_due()
    assert the_one().state == State.SENT
    ((path, body),) = http.posts
    assert path == "/path-token"
    payload = json.loads(body)
    assert (payload["title"], payload["type"]) == ("A cap change was approved", "info")
    assert payload["message"].splitlines()[-3:] == [
        "https://tollgate.example/admin/budgets/changerequest/1/change/",
        "",
        "<b>raised</b>",
    ]


def test_one_bad_target_does_not_stop_the_others(
    committed_db: str, http: HttpSink, smtp: SmtpSink
) -> None:
    http.status = 500
    queue("channels")
    queue([make_user("anna", email="anna@example.org")])
    assert delivery.deliver_due() == 2
    states = dict(OutboxMessage.objects.values_list("recipient_type", "state"))
    assert states == {"channel": State.WAITING, "person": State.SENT}
    assert OutboxMessage.objects.get(recipient_type="channel").error == "The service answered 500."


def test_two_workers_send_each_message_once(committed_db: str, http: HttpSink) -> None:
    for number in range(12):
        queue("channels", key=f"request-{number}")
    barrier = threading.Barrier(2)

    def work(_: int) -> int:
        barrier.wait()
        tried = delivery.deliver_due()
        connection.close()
        return tried

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(work, range(2))) == 12
    assert len(http.posts) == 12
    assert not OutboxMessage.objects.exclude(state=State.SENT).exists()


def test_a_crash_after_the_claim_delays_it_only(committed_db: str, http: HttpSink) -> None:
    queue("channels")
    claimed()  # and the worker is gone
    assert delivery.deliver_due() == 0
    make_due()
    assert delivery.deliver_due() == 1
    assert (the_one().state, the_one().attempts, len(http.posts)) == (State.SENT, 2, 1)


def test_nothing_is_sent_inside_a_transaction(committed_db: str, http: HttpSink) -> None:
    queue("channels")
    with pytest.raises(TransactionManagementError), transaction.atomic():
        delivery.deliver_due()
    assert not http.posts


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254"])
@pytest.mark.parametrize("looked_up_before", [True, False])
def test_private_networks_are_refused(
    committed_db: str,
    http: HttpSink,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    looked_up_before: bool,
) -> None:
    """Also by the look at each connection alone, as a name that resolves differently meets it."""
    if not looked_up_before:
        monkeypatch.setattr(posting, "has_host", lambda service: False)
    settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS = False
    settings.TOLLGATE_NOTIFY_SECRET_URLS = [f"json://{host}:{http.port}/"]
    queue("channels")
    delivery.deliver_due()
    assert (the_one().state, the_one().error) == (State.FAILED, posting.ON_A_PRIVATE_NETWORK)
    assert not http.posts
    # The control: it is the setting that stands between.
    if host in ("127.0.0.1", "localhost"):
        settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS = True
        outbox.retry(the_one().pk, by=make_user("admin"), reason="a test")
        delivery.deliver_due()
        assert (the_one().state, len(http.posts)) == (State.SENT, 1)


@pytest.mark.parametrize("query", ["", "?redirect=yes"])
def test_redirects_are_not_followed(
    committed_db: str, http: HttpSink, settings: Settings, query: str
) -> None:
    with served(HttpSink()) as other:
        http.status, http.elsewhere = 307, f"http://127.0.0.1:{other.port}/"
        settings.TOLLGATE_NOTIFY_SECRET_URLS = [f"json://127.0.0.1:{http.port}/{query}"]
        queue("channels")
        delivery.deliver_due()
        assert (len(http.posts), other.posts) == (1, [])
    assert (the_one().state, the_one().error) == (State.WAITING, "The service answered 307.")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("syslog://", "reaches this machine only"),
        ("nonsense://whatever/hunter2", "not understood"),
        ("slack://too/short", "not understood"),
    ],
)
def test_addresses_that_cannot_work_fail_at_once(
    committed_db: str, settings: Settings, url: str, reason: str
) -> None:
    settings.TOLLGATE_NOTIFY_SECRET_URLS = [url]
    queue("channels")
    delivery.deliver_due()
    assert the_one().state == State.FAILED
    assert reason in the_one().error


def test_a_channel_that_left_the_settings_is_skipped(
    committed_db: str, http: HttpSink, settings: Settings
) -> None:
    queue("channels")
    settings.TOLLGATE_NOTIFY_SECRET_URLS = []
    delivery.deliver_due()
    assert the_one().state == State.SKIPPED


@pytest.mark.parametrize("failure", ["status", "refused", "closed port", "name"])
def test_credentials_are_in_no_row_log_or_page(
    committed_db: str,
    http: HttpSink,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    failure: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    url = settings.TOLLGATE_NOTIFY_SECRET_URLS[0]
    if failure == "status":
        http.status = 403
    if failure == "refused":
        settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS = False
    if failure == "closed port":
        settings.TOLLGATE_NOTIFY_SECRET_URLS = [url.replace(f":{http.port}/", ":1/")]
    if failure == "name":
        settings.TOLLGATE_NOTIFY_PRIVATE_NETWORKS = False
        settings.TOLLGATE_NOTIFY_SECRET_URLS = [url.replace("127.0.0.1", "nowhere.invalid")]
    queue("channels")
    delivery.deliver_due()
    message = the_one()
    assert message.error
    make_user("root", is_superuser=True, is_staff=True)
    browser = Client()
    browser.force_login(make_user("root"))
    page = browser.get(f"/admin/opslog/outboxmessage/{message.pk}/change/")
    assert page.status_code == 200
    shown = "\n".join(
        (
            repr(model_to_dict(message)),
            repr(list(OperationsEvent.objects.values())),
            caplog.text,
            *capfd.readouterr(),
            page.content.decode(),
        )
    )
    assert message.error in shown
    for secret in SECRETS:
        assert secret not in shown


def test_hosts_are_named_only_where_they_are_hosts(db: None, settings: Settings) -> None:
    settings.TOLLGATE_NOTIFY_SECRET_URLS = [
        "jsons://u:p@hooks.example/x",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/",
    ]
    queue("channels")
    labels = sorted(OutboxMessage.objects.values_list("recipient_label", flat=True))
    assert [label[:-7] for label in labels] == ["jsons hooks.example", "slack"]


def test_a_process_of_its_own_sends_what_was_queued(
    pristine_database: str, django_db_blocker: DjangoDbBlocker
) -> None:
    """The whole way: committed, picked up by the process of messages, sent."""
    with served(HttpSink()) as sink:
        env = {
            "NOTIFY_URLS": f"json://127.0.0.1:{sink.port}/",
            "NOTIFY_PRIVATE_NETWORKS": "1",
            "BASE_URL": "https://tollgate.example/",
        }
        with (
            scratch_service(jobs=True, workers=1, env=env, template=pristine_database) as service,
            inside(service.database, django_db_blocker),
            pytest.MonkeyPatch.context() as patch,
        ):
            from django.conf import settings

            patch.setattr(settings, "TOLLGATE_NOTIFY_SECRET_URLS", [env["NOTIFY_URLS"]])
            queue("channels")
            wait_until(lambda: the_one().state != State.WAITING)
            assert (the_one().state, the_one().attempts) == (State.SENT, 1)
        assert len(sink.posts) == 1
