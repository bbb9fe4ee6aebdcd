"""One person alone: where the second signature may be the same person's.

Off as shipped. Switched on by the operator of the server, it is in effect only while exactly one
active person could sign for anything. What they ask for, they may sign after a waiting time and
with their second factor shown anew. `budgets/sql/solo.sql` has the rule, and holds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from budgets.exceptions import Refused, SecondFactorRequired
from budgets.models import SoloOperatorRule
from budgets.writing import stated
from opslog import outbox
from opslog.database import query
from opslog.models import Severity
from opslog.outbox.notices import Notice

SHORTEST, LONGEST = 15, 1200  # minutes; a request expires after a day
SHIPPED_MINUTES = 60
OWNER = "owner"  # the alias of the database role that may write the rule
IN_EFFECT = "SELECT person_id, waiting FROM tollgate.solo_operator()"
SIGNERS = """
SELECT u.username FROM tollgate.signers() AS s JOIN auth_user AS u ON u.id = s.person_id ORDER BY 1
"""
CONCERNED = """
SELECT person_id FROM tollgate.signers()
UNION SELECT id FROM auth_user WHERE is_active AND is_superuser
"""


@dataclass(frozen=True, slots=True)
class SoloOperator:
    """The one who may sign for themselves now."""

    person_id: int
    waiting: timedelta

    def from_when(self, since: datetime) -> datetime:
        return since + self.waiting

    def why_not_yet(self, since: datetime) -> str:
        """Why what waits since then cannot be signed yet; empty when it can."""
        at = self.from_when(since)
        if timezone.now() >= at:
            return ""
        return f"As the solo operator you can sign from {at:%Y-%m-%d %H:%M} UTC on."

    def require(self, since: datetime, second_factor_at: datetime | None) -> datetime:
        """When the second factor was shown that this signature needs. Raises Refused, and
        SecondFactorRequired where it was not shown since the waiting time was over."""
        if reason := self.why_not_yet(since):
            raise Refused(reason)
        if second_factor_at is None or second_factor_at < self.from_when(since):
            raise SecondFactorRequired(
                "As the solo operator, confirm this with your second factor first."
            )
        return second_factor_at


@dataclass(frozen=True, slots=True)
class Standing:
    """What every page states where it is switched on. `signers` are the usernames of all who could
    sign."""

    minutes: int
    in_effect: bool
    signers: list[str]


def in_effect() -> SoloOperator | None:
    row = query.one(IN_EFFECT)
    return SoloOperator(*row) if row else None


def for_person(person: User) -> SoloOperator | None:
    """The same, if it is this person."""
    solo = in_effect()
    return solo if solo is not None and solo.person_id == person.pk else None


def standing() -> Standing | None:
    """None where it is switched off: one query then."""
    rule = SoloOperatorRule.objects.order_by("-pk").first()
    if rule is None or not rule.enabled:
        return None
    signers = [name for (name,) in query.rows(SIGNERS)]
    return Standing(rule.waiting_minutes, in_effect() is not None, signers)


def metadata(second_factor_at: datetime | None, *, waited_since: datetime) -> dict[str, Any]:
    """What the event of a signature says where it is a solo operator's; nothing for any other."""
    if second_factor_at is None:
        return {}
    return {
        "soloOperator": {
            "waitedSince": waited_since.isoformat(),
            "secondFactorAt": second_factor_at.isoformat(),
        }
    }


def switch(*, enabled: bool, minutes: int, reason: str, by: str) -> SoloOperatorRule:
    """By the operator of the server, with the owner's role. A trigger writes the event; everybody
    who could sign, and administrators, are notified. Raises Refused."""
    reason = stated(reason, "A reason is required.")
    if not SHORTEST <= minutes <= LONGEST:
        raise Refused(f"The waiting time is {SHORTEST} to {LONGEST} minutes.")
    with transaction.atomic():
        with transaction.atomic(using=OWNER):  # the rule and its event
            rule = SoloOperatorRule.objects.using(OWNER).create(
                enabled=enabled, waiting_minutes=minutes, reason=reason, by=by
            )
        people = list(User.objects.filter(pk__in=[pk for (pk,) in query.rows(CONCERNED)]))
        outbox.send(
            topic="account",
            to=people,
            notice=Notice(
                what=f"Solo operator switched {'on' if enabled else 'off'}",
                change="two people sign → one person may sign twice"
                if enabled
                else "one person may sign twice → two people sign",
                by=by,
                severity=Severity.WARNING,
                action="Switch it off with manage.py solo_operator off, if you did not expect this."
                if enabled
                else "Nothing, if you expected this.",
                details=f"Reason: {rule.reason}\n\n{explained(rule)}",
            ),
            link=reverse("admin:index"),
            key=f"solo_operator:{rule.pk}",
            mandatory=True,
        )
    return rule


def explained(rule: SoloOperatorRule) -> str:
    if not rule.enabled:
        return "Approvals and reviews need two people."
    return (
        "While exactly one person can sign, that person may sign what they asked for themselves, "
        f"{rule.waiting_minutes} minutes later and with their second factor."
    )


def covers(solo: SoloOperator | None, groups: set[str], needed: Mapping[str, int]) -> bool:
    """Whether one signature of the solo operator, who is in these groups, fills all slots."""
    return solo is not None and bool(needed) and set(needed) <= groups
