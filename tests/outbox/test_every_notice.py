"""Every kind of message has its parts in one order: what, from what to what, by whom, when, how
bad, what to do, and where."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from budgets import accounts, alerts, approvals, clock
from budgets.alerts import notices as alert_notices
from budgets.approvals import corrections, rule_changes
from budgets.approvals.rules import Rule
from budgets.finops.reviews import working
from budgets.models import Alert, MonthlyReview
from budgets.reports import notify
from opslog import liveness, outbox
from opslog.incidents import notices as incident_notices
from opslog.incidents.detecting import record_verdict
from opslog.models import Heartbeat, OutboxMessage, Severity
from opslog.outbox import preferences
from opslog.outbox.notices import Notice
from tests.admission.desk import Desk, run_of
from tests.approvals.people import ask, decide, everybody
from tests.factories import make_token, make_user, make_work_order
from tests.incidents.findings import make_finding, whole_hour
from workorders import tokens
from workorders.models import ServiceToken

BASE = Path(__file__).resolve().parents[2]
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
FORM = re.compile(
    r"\A(?P<what>[^\n]+)\n\n"
    r"Change: (?P<old>[^\n]+?) → (?P<new>[^\n]+)\n"
    r"By: (?P<by>[^\n]+)\n"
    rf"When: {MOMENT}\n"
    r"Severity: (info|warning|error|critical)\n"
    r"What to do: [^\n]+[.]\n"
    r"https?://[^\s]+(\n|\Z)"
)
TOPIC = re.compile(r'topic=(?:"(\w+)"|(\w+(?:\.\w+)?))|^(?:TOPIC|GLASS|DIGEST) = "(\w+)"', re.M)


def in_form(message: OutboxMessage) -> None:
    text = outbox.shown(message)
    found = FORM.match(text)
    assert found, f"{message.topic}: {text}"
    # Plain words: nobody acts as "operations", and no name of a column is shown.
    assert found["by"] not in ("", "None"), text
    assert "None" not in found["new"], text


def topics_in_the_code() -> set[str]:
    """As literals, or as constants of their modules."""
    named: set[str] = set()
    for floor in ("opslog", "workorders", "budgets"):
        for file in (BASE / floor).rglob("*.py"):
            text = file.read_text()
            if "outbox.send(" in text or "notices.notify(" in text or file.name == "preferences.py":
                named |= {a or c for a, _, c in TOPIC.findall(text) if a or c}
    return named


@pytest.fixture
def people(committed_db: str) -> dict[str, User]:
    return everybody()


def test_every_kind_of_message_is_in_form(people: dict[str, User]) -> None:
    """One of each kind, by the functions that send them."""
    send_of_approvals(people)
    send_of_accounts(people)
    send_of_the_rest(people)
    kinds = set(OutboxMessage.objects.values_list("topic", flat=True))
    assert topics_in_the_code() <= kinds
    for message in OutboxMessage.objects.all():
        in_form(message)


def send_of_approvals(people: dict[str, User]) -> None:
    request = ask(people, usd="60.00")  # asked, finance is notified
    with transaction.atomic():
        from budgets.approvals import notices

        notices.reminder(request, 1, [people["vp"]])
        request.token_owner = people["director"]
        notices.taken_over(request, by=people["asker"])
        notices.asked(
            request,
            "w1",
            {"usd_per_day": (Decimal(2), Decimal(11))},
            ["operations"],
            usd_per_day=Decimal(11),
            parties=[],
        )
    request.refresh_from_db()
    decide(request, people["vp"])  # signed
    decide(request, people["finance"], "refuse")  # closed
    grants = approvals.raise_at_once(
        "w1", new={"usd_per_day": Decimal(20)}, minutes=60, reason="night", by=people["operations"]
    )
    with transaction.atomic():
        notices.glass_overdue(grants[0])
    approvals.review(grants[0].pk, by=people["director"], text="it was right")
    wanted = [Rule("max_concurrent_runs", Decimal(1), None, {"vp": 1})]
    rule_changes.replace("max_concurrent_runs", wanted, by=people["administrator"], reason="a test")


def send_of_accounts(people: dict[str, User]) -> None:
    from budgets.accounts import notices

    accounts.create(
        by=make_user("root", is_superuser=True),
        values={"username": "new", "email": "new@example.com"},
        groups={"auditor"},
    )
    with transaction.atomic():
        from budgets.accounts import links

        links.issue(people["auditor"], by="root", mailed=False)
        notices.notify(
            people["auditor"],
            "Many failed log-ins as auditor",
            change="fewer than 10 → 12 failed log-ins in 15 minutes",
            by="somebody",
            action="Set a new password.",
            key="1",
            topic="failed_logins",
        )
        notices.notify(None, "New members", change="24 → 48 hours", by="root", key="2")


def send_of_the_rest(people: dict[str, User]) -> None:
    now = timezone.now()
    token, _ = make_token()
    ServiceToken.objects.filter(pk=token.pk).update(
        created_at=now - timedelta(days=80), expires_at=now + timedelta(days=2)
    )
    tokens.remind()
    working.open_review(datetime(2026, 10, 1, tzinfo=UTC).date(), by="tollgate")
    assert MonthlyReview.objects.exists()
    notify.tell(clock.today() - timedelta(days=1))
    record_verdict(make_finding(until=whole_hour(now)), now=now)
    Heartbeat.objects.create(name="worker", at=now - timedelta(minutes=10))
    liveness.watch(["worker"], now=now)
    desk = Desk()
    run = run_of(desk.start(usd="0.50"))
    desk.finish(run, usd="90.00")
    from uuid import UUID

    corrections.ask(
        "run", UUID(run), Decimal(1), seen=Decimal(90), reason="a slip", by=people["operations"]
    )
    alerts.tell()
    with transaction.atomic():
        for kind in Alert.Kind:
            Alert.objects.create(
                kind=kind, key=f"x{kind}", message=f"An alert of {kind}", meta=META
            )
        # As many as one digest needs.
    alerts.tell()
    message = OutboxMessage.objects.filter(recipient_type="person", mandatory=False).first()
    assert message is not None
    claimed = outbox.claim()
    assert claimed is not None
    preferences.add_to_digest(claimed, preferences.Way(digest_at=now, why="a test"))


META: dict[str, Any] = {
    "budgetId": 1, "scope": "global", "subject": "", "window": "day", "measure": "usd",
    "used": "8.50", "amount": "10.00", "threshold": "8.00", "thresholdName": "80%",
    "severity": "warning", "windowStart": "x", "enabled": True, "by": "anna", "reason": "a test",
    "tier": 80, "projected": "12.00", "costUsd": "9.00", "reservedUsd": "1.00", "tokenId": 1,
    "value": "12", "over": "10", "times": 12,
}  # fmt: skip


@pytest.mark.parametrize("kind", Alert.Kind)
@pytest.mark.parametrize("meta", [META, {}])
def test_every_kind_of_alert_says_from_what_to_what(kind: Alert.Kind, meta: dict[str, Any]) -> None:
    """Also one of before, whose row has less."""
    alert = Alert(kind=kind, message="It happened", meta=meta, created_at=timezone.now())
    notice = alert_notices.notice_of([alert])
    assert "→" in notice.change
    assert notice.action.endswith(".")
    assert notice.severity in Severity


@pytest.mark.parametrize("kind", incident_notices.HAPPENED)
def test_every_turn_of_an_incident_says_what_to_do(db: None, kind: str) -> None:
    now = timezone.now()
    incident = record_verdict(make_finding(until=whole_hour(now)), now=now)
    assert incident is not None
    notice = incident_notices.notice_of(incident, kind, "a sentence")
    assert "→" in notice.change
    assert incident_notices.HAPPENED[kind] in notice.what
    assert kind in incident_notices.ACTIONS


def test_subjects_of_an_incident_differ_by_what_happened(db: None) -> None:
    now = timezone.now()
    incident = record_verdict(make_finding(until=whole_hour(now)), now=now)
    assert incident is not None
    subjects = {
        incident_notices.notice_of(incident, kind, "x").headline
        for kind in incident_notices.HAPPENED
    }
    assert len(subjects) == len(incident_notices.HAPPENED)


@pytest.mark.parametrize("part", ["what", "change", "by", "action"])
def test_no_part_is_empty(part: str) -> None:
    parts = dict.fromkeys(("what", "change", "by", "action"), "x") | {part: " "}
    with pytest.raises(ValueError, match=part):
        Notice(**parts, at=timezone.now(), severity=Severity.INFO)


def test_the_address_of_a_text_cannot_be_forged(db: None) -> None:
    """What somebody writes has no place for an address of its own."""
    make_work_order()
    notice = Notice(
        what="x\x1fy", change="a → b", by="c", at=timezone.now(), severity=Severity.INFO,
        action="Nothing.", details="z\x1f",
    )  # fmt: skip
    assert notice.text.count("\x1f") == 1
