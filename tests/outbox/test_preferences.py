"""What each person chooses, the ceiling of an hour, and what neither holds back."""

from datetime import UTC, datetime, time, timedelta

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from opslog.exceptions import NotAllowedNow
from opslog.models import MessagePolicy, NotificationPreference, OutboxMessage, Severity
from opslog.outbox import delivery, preferences
from tests.factories import make_user
from tests.outbox.queueing import State, queue
from tests.outbox.sinks import HttpSink, SmtpSink
from tests.trail import meta_of, trail

WANTED = {
    "channel": "email",
    "least_severity": "info",
    "quiet_from": None,
    "quiet_until": None,
    "time_zone": "UTC",
}


@pytest.fixture
def anna(committed_db: str) -> User:
    return make_user("anna", ["auditor"], email="anna@example.org", is_staff=True)


def states() -> list[str]:
    return list(OutboxMessage.objects.order_by("id").values_list("state", flat=True))


def test_what_is_less_severe_than_chosen_is_not_sent(anna: User, smtp: SmtpSink) -> None:
    preferences.choose(anna, {**WANTED, "least_severity": "error"})
    for severity in Severity:
        queue([anna], key=severity, severity=severity)
    delivery.deliver_due()
    assert states() == [State.SKIPPED, State.SKIPPED, State.SENT, State.SENT]
    assert len(smtp.mails) == 2


def test_what_needs_a_signature_is_always_sent(anna: User, smtp: SmtpSink) -> None:
    now = datetime.now(UTC)
    quiet = {
        "quiet_from": (now - timedelta(minutes=5)).time(),
        "quiet_until": (now + timedelta(minutes=30)).time(),
    }
    preferences.choose(anna, {**WANTED, **quiet, "channel": "none", "least_severity": "critical"})
    MessagePolicy.objects.update(per_person_hour=1)
    for number in range(3):
        queue([anna], key=str(number), mandatory=True)
    delivery.deliver_due()
    assert (states(), len(smtp.mails)) == ([State.SENT] * 3, 3)


def test_over_the_ceiling_is_one_digest(anna: User, smtp: SmtpSink) -> None:
    MessagePolicy.objects.update(per_person_hour=5)
    for number in range(20):
        queue([anna], key=str(number), what=f"Message {number}", severity=Severity.WARNING)
    delivery.deliver_due()
    assert len(smtp.mails) == 5
    digest = OutboxMessage.objects.get(topic="digest")
    assert digest.subject == "Digest: 15 messages"
    assert digest.severity == "warning"
    assert digest.ready_at.minute == digest.ready_at.second == 0
    OutboxMessage.objects.filter(pk=digest.pk).update(ready_at=Now(), due_at=Now())
    delivery.deliver_due()
    assert len(smtp.mails) == 6
    text = smtp.mails[-1].get_content()
    assert [f"Message {number} (" in text for number in range(20)] == [False] * 5 + [True] * 15


def test_another_persons_ceiling_is_their_own(anna: User, smtp: SmtpSink) -> None:
    MessagePolicy.objects.update(per_person_hour=1)
    ben = make_user("ben", email="ben@example.org")
    for number in range(2):
        queue([anna, ben], key=str(number))
    delivery.deliver_due()
    assert sorted(mail["To"] for mail in smtp.mails) == ["anna@example.org", "ben@example.org"]


def test_quiet_hours_end_in_one_digest(anna: User, smtp: SmtpSink) -> None:
    now = timezone.now()
    quiet = {
        "quiet_from": (now - timedelta(hours=1)).time(),
        "quiet_until": (now + timedelta(hours=1)).time(),
    }
    preferences.choose(anna, {**WANTED, **quiet})
    for number in range(3):
        queue([anna], key=str(number))
    delivery.deliver_due()
    assert not smtp.mails
    digest = OutboxMessage.objects.get(topic="digest")
    assert digest.subject == "Digest: 3 messages"
    assert abs(digest.ready_at - (now + timedelta(hours=1))) < timedelta(seconds=1)


BERLIN = {"quiet_from": time(22), "quiet_until": time(7), "time_zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("now", "until"),
    [
        # In winter Berlin is an hour ahead of UTC, in summer two.
        (datetime(2026, 1, 10, 20, 59, tzinfo=UTC), None),
        (datetime(2026, 1, 10, 21, 0, tzinfo=UTC), datetime(2026, 1, 11, 6, 0, tzinfo=UTC)),
        (datetime(2026, 1, 11, 5, 59, tzinfo=UTC), datetime(2026, 1, 11, 6, 0, tzinfo=UTC)),
        (datetime(2026, 1, 11, 6, 0, tzinfo=UTC), None),
        (datetime(2026, 7, 10, 20, 0, tzinfo=UTC), datetime(2026, 7, 11, 5, 0, tzinfo=UTC)),
        # The night in which clocks go forward.
        (datetime(2026, 3, 28, 22, 0, tzinfo=UTC), datetime(2026, 3, 29, 5, 0, tzinfo=UTC)),
    ],
)
def test_quiet_hours_are_of_their_zone(now: datetime, until: datetime | None) -> None:
    assert preferences.quiet_until(NotificationPreference(**BERLIN), now) == until


def test_a_channel_instead_of_email(
    anna: User, smtp: SmtpSink, http: HttpSink, settings: Settings
) -> None:
    (fingerprint, _), *_ = preferences.channel_choices()[1:]
    preferences.choose(anna, {**WANTED, "channel": fingerprint})
    queue([anna], key="1")
    queue([anna], key="2")
    queue("channels", key="2")  # which is sent there once
    queue([anna], key="3", mandatory=True)
    delivery.deliver_due()
    assert len(http.posts) == 2
    assert "For anna" in http.posts[0][1] + http.posts[1][1]
    assert len(smtp.mails) == 1
    settings.TOLLGATE_NOTIFY_SECRET_URLS = []  # a channel that is gone: email again
    queue([anna], key="4")
    delivery.deliver_due()
    assert len(smtp.mails) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_zone": "Europe/Nowhere"},
        {"channel": "not-on-the-list"},
        {"quiet_from": time(22)},
        {"quiet_from": time(22), "quiet_until": time(22)},
    ],
)
def test_what_cannot_be_chosen(db: None, wrong: dict[str, object]) -> None:
    with pytest.raises(NotAllowedNow):
        preferences.choose(make_user("anna"), {**WANTED, **wrong})


def test_the_page_is_of_whoever_looks_at_it(anna: User) -> None:
    browser = Client()
    browser.force_login(anna, backend="django.contrib.auth.backends.ModelBackend")
    page = browser.get("/admin/notifications/").content.decode()
    assert "What needs your signature" in page
    form = {
        "channel": "none",
        "least_severity": "error",
        "quiet_from": "22:00",
        "quiet_until": "07:00",
        "time_zone": "Europe/Berlin",
    }
    assert browser.post("/admin/notifications/", form).status_code == 302
    chosen = NotificationPreference.objects.get(pk=anna.pk)
    assert (chosen.channel, chosen.least_severity, chosen.quiet_from) == ("none", "error", time(22))
    answer = browser.post("/admin/notifications/", {**form, "time_zone": "Mars"})
    assert "IANA" in answer.content.decode()
    kind = "NOTIFICATION_PREFERENCE_CHANGED"
    assert trail(kind) == [(kind, f"user {anna.pk}", "anna")]
    changed = meta_of(kind)["preferences"]
    assert changed["channel"] == {"old": "email", "new": "none"}
    assert set(changed) == set(form)
    assert browser.post("/admin/notifications/", form).status_code == 302
    assert len(trail(kind)) == 1  # nothing has changed


def test_the_policy_is_changed_with_a_reason(db: None) -> None:
    before = MessagePolicy.objects.get()
    wanted = {name: getattr(before, name) for name in preferences.POLICY_FIELDS}
    with pytest.raises(NotAllowedNow, match="Nothing"):
        preferences.set_policy(wanted, by="root", reason="x")
    wanted["per_person_hour"] = before.per_person_hour + 5
    with pytest.raises(NotAllowedNow, match="reason"):
        preferences.set_policy(wanted, by="root", reason=" ")
    preferences.set_policy(wanted, by="root", reason="nights")
    assert MessagePolicy.objects.get().per_person_hour == wanted["per_person_hour"]
    kind = "MESSAGE_POLICY_CHANGED"
    assert trail(kind) == [(kind, "message_policy 1", "root")]
    assert meta_of(kind) == {
        "changes": {
            "per_person_hour": {"old": before.per_person_hour, "new": wanted["per_person_hour"]}
        },
        "reason": "nights",
    }
