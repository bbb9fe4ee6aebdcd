"""Messages, queued and claimed as the application does."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from opslog import outbox
from opslog.models import OutboxMessage, Severity
from opslog.outbox.notices import Notice

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
