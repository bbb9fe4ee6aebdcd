"""Targets that hang, drip, refuse or ask to wait: each costs one attempt, and nobody else time."""

import importlib
import json
from datetime import timedelta

import httpx2
import pytest
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import DjangoDbBlocker, Settings

from config.run.scratch import scratch_service
from opslog import outbox
from opslog.models import Heartbeat, OutboxMessage, Severity
from opslog.outbox import attempts, delivery, posting
from tests.factories import inside, make_user
from tests.outbox.sinks import HttpSink, SmtpSink, served
from tests.outbox.test_queue import State, make_due, queue
from tests.waiting import HANG_SECONDS, wait_until


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt has two seconds instead of thirty."""
    importlib.import_module("apprise")  # once, as the process does it, and not in each child
    monkeypatch.setattr(attempts, "ATTEMPT_SECONDS", 2.0)


def deliver_until_handed_over() -> None:
    """A busy machine may end an attempt before it has sent anything: then there is another."""

    def one_round() -> bool:
        make_due()
        delivery.deliver_due()
        return State.WAITING not in states()

    wait_until(one_round)


def states() -> list[str]:
    return list(OutboxMessage.objects.order_by("id").values_list("state", flat=True))


def test_a_server_that_never_greets_is_tried_once_a_round(
    committed_db: str, smtp: SmtpSink, short: None
) -> None:
    smtp.silent_after = "CONNECT"
    people = [make_user(f"p{n}", email=f"p{n}@example.org") for n in range(5)]
    queue(people)
    assert delivery.deliver_due() == 1
    first, *others = OutboxMessage.objects.order_by("id")
    assert (first.state, first.attempts, first.error) == (State.WAITING, 1, "No answer in time.")
    assert [each.attempts for each in others] == [0] * 4  # left alone for the rest of the round


def test_a_slow_mail_server_gets_one_copy(committed_db: str, smtp: SmtpSink, short: None) -> None:
    """It took the whole text and says nothing: it is not sent again."""
    smtp.silent_after = "DATA"
    queue([make_user("anna", email="anna@example.org")])
    deliver_until_handed_over()
    message = OutboxMessage.objects.get()
    assert message.state == State.UNCONFIRMED
    assert "probably arrived" in message.error
    make_due()
    assert (delivery.deliver_due(), len(smtp.mails)) == (0, 1)
    # A person who knows better has it sent again, under the same Message-ID.
    smtp.silent_after = ""
    smtp.go_on.set()
    outbox.retry(message.pk, by=make_user("admin"), reason="it did not arrive")
    delivery.deliver_due()
    assert states() == [State.SENT]
    assert len({mail["Message-ID"] for mail in smtp.mails}) == 1


def test_a_slow_channel_gets_one_copy(committed_db: str, http: HttpSink, short: None) -> None:
    http.silent = True
    queue("channels")
    deliver_until_handed_over()
    make_due()
    assert delivery.deliver_due() == 0
    assert (states(), len(http.posts)) == ([State.UNCONFIRMED], 1)


def test_an_answer_that_drips_is_cut_off(committed_db: str, http: HttpSink, short: None) -> None:
    """Each byte comes in time, and the answer never: the attempt as a whole has an end."""
    http.drips = True
    queue("channels")
    deliver_until_handed_over()
    assert states() == [State.UNCONFIRMED]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        *((status, State.FAILED) for status in (400, 401, 403, 404, 410, 422)),
        *((status, State.WAITING) for status in (408, 425, 429, 500, 503)),
    ],
)
def test_permanent_errors_of_a_channel_are_not_retried(
    committed_db: str, http: HttpSink, status: int, state: str
) -> None:
    http.status = status
    queue("channels")
    delivery.deliver_due()
    assert (states(), len(http.posts)) == ([state], 1)


@pytest.mark.parametrize(
    ("code", "state"), [(421, State.WAITING), (451, State.WAITING), (550, State.FAILED)]
)
def test_permanent_errors_of_a_mail_server_are_not_retried(
    committed_db: str, smtp: SmtpSink, code: int, state: str
) -> None:
    smtp.refuse = code
    queue([make_user("anna", email="anna@example.org")])
    delivery.deliver_due()
    assert states() == [state]


def test_retry_after_is_obeyed(committed_db: str, http: HttpSink) -> None:
    http.status, http.headers = 429, {"Retry-After": "1800"}
    queue("channels")
    delivery.deliver_due()
    wait = OutboxMessage.objects.annotate(wait=F("due_at") - Now()).get().wait
    assert timedelta(minutes=28) < wait <= timedelta(minutes=30)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), ("0", 0), ("²", None), ("soon", None), ("", None), (None, None), ("-5", None)],
)
def test_what_a_retry_after_says(text: str | None, seconds: float | None) -> None:
    assert posting.retry_after(text) == seconds


def test_a_retry_after_that_is_past_waits_for_nothing() -> None:
    assert posting.retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_a_corrected_address_gets_what_waited(
    committed_db: str, http: HttpSink, settings: Settings
) -> None:
    http.status = 404
    queue("channels")
    delivery.deliver_due()
    assert states() == [State.FAILED]
    http.status = 200
    settings.TOLLGATE_NOTIFY_SECRET_URLS = [f"json://127.0.0.1:{http.port}/the-right-path"]
    message = OutboxMessage.objects.get()
    outbox.retry(message.pk, by=make_user("admin"), reason="the address is right now")
    delivery.deliver_due()
    assert states() == [State.SENT]
    assert http.posts[-1][0] == "/the-right-path"


def test_a_channel_that_has_it_already_is_no_corrected_address(
    committed_db: str, http: HttpSink, settings: Settings
) -> None:
    one, two = (f"json://127.0.0.1:{http.port}/{name}" for name in ("one", "two"))
    settings.TOLLGATE_NOTIFY_SECRET_URLS = [one, two]
    queue("channels")
    settings.TOLLGATE_NOTIFY_SECRET_URLS = [two]
    delivery.deliver_due()
    assert sorted(states()) == [State.SENT, State.SKIPPED]
    assert [path for path, _ in http.posts] == ["/two"]


def test_mentions_notify_nobody() -> None:
    text = "@everyone @here <!channel> <@U123> see otto@example.org"
    safe = posting.harmless(text)
    for mention in ("@everyone", "@here", "<!channel>", "<@U123>"):
        assert mention not in safe
    assert "otto@example.org" in safe
    assert safe.replace("\u200b", "") == text


def test_a_long_text_is_split_at_the_limit_of_the_service(
    committed_db: str, http: HttpSink, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import apprise.plugins.custom_json

    monkeypatch.setattr(apprise.plugins.custom_json.NotifyJSON, "body_maxlen", 2000)
    queue("channels", details="\n".join(f"line {number:04}" for number in range(600)))
    delivery.deliver_due()
    texts = [json.loads(body)["message"] for _, body in http.posts]
    assert states() == [State.SENT]
    assert len(texts) >= 3
    assert max(map(len, texts)) <= 2000
    whole = "".join(texts)
    assert all(f"{number:04}" in whole for number in range(600))


@pytest.mark.parametrize(
    ("severity", "kind"),
    [
        (Severity.INFO, "info"),
        (Severity.WARNING, "warning"),
        (Severity.ERROR, "failure"),
        (Severity.CRITICAL, "failure"),
    ],
)
def test_a_channel_sees_how_bad_it_is(
    committed_db: str, http: HttpSink, severity: Severity, kind: str
) -> None:
    queue("channels", severity=severity)
    delivery.deliver_due()
    assert json.loads(http.posts[0][1])["type"] == kind


def test_mails_of_one_thread_are_shown_together(committed_db: str, smtp: SmtpSink) -> None:
    anna = make_user("anna", email="anna@example.org")
    queue([anna], key="1", thread="incident-3", what="Incident #3 detected")
    queue([anna], key="2", thread="incident-3", what="Incident #3 stabilized")
    delivery.deliver_due()
    first, second = smtp.mails
    assert first["References"] == second["References"] == "<incident-3@tollgate.example>"
    assert (first["Subject"], second["Subject"]) == (
        "Incident #3 detected",
        "Incident #3 stabilized",
    )


def test_sixty_messages_to_a_server_that_hangs_hold_up_nothing(
    pristine_database: str, django_db_blocker: DjangoDbBlocker
) -> None:
    """As it was: no lease ended, no job ran, `/readyz` turned 503, and the kill switch was reported
    after four minutes."""
    with served(SmtpSink()) as mail, served(HttpSink()) as channel:
        mail.silent_after = "CONNECT"
        env = {
            "EMAIL_URL": f"smtp://127.0.0.1:{mail.port}",
            "NOTIFY_URLS": f"json://127.0.0.1:{channel.port}/",
            "NOTIFY_PRIVATE_NETWORKS": "1",
        }
        with (
            scratch_service(jobs=True, workers=1, env=env, template=pristine_database) as service,
            inside(service.database, django_db_blocker),
            pytest.MonkeyPatch.context() as patch,
        ):
            hold_up_nothing(service.url, env["NOTIFY_URLS"], channel, patch)


def hold_up_nothing(url: str, address: str, channel: HttpSink, patch: pytest.MonkeyPatch) -> None:
    from django.conf import settings
    from django.utils import timezone

    from budgets.controls import kill_switch
    from tests.admission.desk import Desk, run_of
    from tests.factories import make_work_order
    from workorders.models import Run

    patch.setattr(settings, "TOLLGATE_NOTIFY_SECRET_URLS", [address])
    people = [make_user(f"p{n}", email=f"p{n}@example.org") for n in range(60)]
    queue(people)
    wait_until(lambda: OutboxMessage.objects.filter(attempts=1).exists())
    wait_until(lambda: Heartbeat.objects.filter(name="worker").exists())
    make_work_order()
    run = run_of(Desk().start(lease_seconds=1))
    kill_switch.switch("Global", "", enabled=True, reason="a test", by="anna")
    # The switch is reported to the channel while the mail server hangs.
    wait_until(lambda: any("Kill switch" in body for _, body in channel.posts))
    assert OutboxMessage.objects.filter(recipient_type="person", attempts__gt=0).count() <= 2
    assert httpx2.get(f"{url}/readyz", timeout=HANG_SECONDS).status_code == 200
    wait_until(lambda: Run.objects.get(pk=run).status == "expired")
    beat = Heartbeat.objects.get(name="worker").at
    assert timezone.now() - beat < timedelta(minutes=2)
