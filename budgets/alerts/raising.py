"""Notifying people of alerts: rows that admission, settlement or a job wrote become messages.

An alert is written in the transaction of what it reports; the message follows within seconds.
Should the process die in between, the job of every minute finds the alert. Alerts that are about
the same occurrence are one message.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import groupby

import sentry_sdk
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.urls import reverse

from budgets.alerts.notices import notice_of
from budgets.models import Alert, AlertRule
from opslog import jobs, outbox
from opslog.database import query
from opslog.groups import OPERATIONS, members
from opslog.outbox import Merge
from opslog.pages import subjects

log = logging.getLogger("tollgate.alerts")

BATCH = 100
JOB = "budgets.tasks.tell_alerts"
TRIAGE = "budgets.tasks.triage"
# What is merged with earlier messages about the same, and for how long; the rest is not.
MINUTE, FIVE = timedelta(minutes=1), timedelta(minutes=5)
Kind = Alert.Kind
WITHIN = {
    Kind.KILL_SWITCH: MINUTE,
    Kind.DIMENSION_TIER: MINUTE,
    Kind.MONTH_PROJECTION: MINUTE,
    Kind.PREFLIGHT: MINUTE,
    Kind.BREAKER_OPENED: MINUTE,
    Kind.BREAKER_HALF_OPEN: MINUTE,
    Kind.BREAKER_CLOSED: MINUTE,
    Kind.BUDGET_THRESHOLD: FIVE,
    Kind.COST_SURPRISE: FIVE,
    Kind.COST_REFUSED: FIVE,
    Kind.COST_UNPRICED: FIVE,
}


def tell_soon() -> None:
    """Have the job worker notify people of new alerts. An answer that is given already is not held
    up by a queue that cannot be reached: the job of every minute does it then."""
    try:
        jobs.enqueue(JOB)
    except Exception:  # the decision stands, whatever becomes of its announcement
        log.exception("no job could be enqueued to notify people of alerts")


def sweep() -> int:
    """Alerts for thresholds that were passed by settlement, or by a change of the limit itself.
    Returns how many are new."""
    return int(query.one("SELECT tollgate.alert_sweep_v1()")[0])


def tell() -> int:
    """Queue the messages of all alerts that nobody was notified of; returns how many alerts.

    Two workers at once take different alerts; a message is also keyed by its alert.
    """
    with transaction.atomic():
        waiting = Alert.objects.select_for_update(skip_locked=True).filter(told_at=None)
        found = sorted(waiting.order_by("id")[:BATCH], key=lambda each: (about(each), each.pk))
        for subject, same in groupby(without_outdone(found), key=about):
            _send(list(same), subject)
        for alert in found:
            tell_sentry(alert)
        if any(alert.kind == Kind.BREAKER_OPENED for alert in found):
            jobs.enqueue(TRIAGE)
        Alert.objects.filter(pk__in=[each.pk for each in found]).update(told_at=Now())
    return len(found)


def _send(same: Sequence[Alert], subject: str) -> None:
    last = same[-1]
    within = WITHIN.get(Kind(last.kind))
    outbox.send(
        topic=last.kind,
        to=recipients(last),
        channels=True,
        notice=notice_of(same),
        link=page_of(last) if len(same) == 1 else page_of_all(same),
        key=str(last.pk),
        merge=Merge(subject, within=within) if within else None,
    )


def without_outdone(found: Sequence[Alert]) -> list[Alert]:
    """Without lower thresholds of what has reached a higher one in the same moment: a jump from
    nothing to all of a limit is one message."""
    highest: dict[tuple[object, ...], Decimal] = {}
    for each in found:
        if each.kind == Kind.BUDGET_THRESHOLD:
            place = _place(each)
            highest[place] = max(highest.get(place, Decimal(0)), _threshold(each))
    return [
        each
        for each in found
        if each.kind != Kind.BUDGET_THRESHOLD or _threshold(each) >= highest[_place(each)]
    ]


def _place(alert: Alert) -> tuple[object, ...]:
    return tuple(alert.meta.get(name) for name in ("budgetId", "subject", "amount", "windowStart"))


def _threshold(alert: Alert) -> Decimal:
    return Decimal(str(alert.meta.get("threshold") or 0))


def about(alert: Alert) -> str:
    """What makes alerts one message: of one limit the same threshold, whoever reached it; of one
    switch or breaker its moves; of one token its costs; all tiers of the monthly budgets."""
    meta = alert.meta
    match alert.kind:
        case Kind.BUDGET_THRESHOLD:
            if meta.get("severity") == "blocked":
                return f"limit:{meta.get('budgetId')}:blocked"
            return f"limit:{meta.get('budgetId')}:{meta.get('thresholdName')}"
        case Kind.KILL_SWITCH:
            return f"kill_switch:{alert.owner_id}"
        case Kind.BREAKER_OPENED | Kind.BREAKER_HALF_OPEN | Kind.BREAKER_CLOSED:
            return f"breaker:{alert.owner_type}:{alert.owner_id}"
        case Kind.COST_SURPRISE | Kind.COST_REFUSED:
            return f"{alert.kind}:{meta.get('tokenId')}"
        case Kind.COST_UNPRICED:
            return f"{alert.kind}:{meta.get('model')}"
        case Kind.DIMENSION_TIER | Kind.MONTH_PROJECTION | Kind.PREFLIGHT:
            return alert.kind
    return f"{alert.kind}:{alert.pk}"


def page_of(alert: Alert) -> str:
    """Where to look: the page of what it is about, else its own."""
    return subjects.url_of(alert.owner_type, alert.owner_id) or reverse(
        "admin:budgets_alert_change", args=[alert.pk]
    )


def page_of_all(same: Sequence[Alert]) -> str:
    """The page of what all of them are about; else the list of alerts."""
    pages = {page_of(each) for each in same}
    return pages.pop() if len(pages) == 1 else reverse("admin:budgets_alert_changelist")


def tell_sentry(alert: Alert) -> None:
    """The day's budget of everything: its warning as a warning, its limit as an error."""
    meta = alert.meta
    if (meta.get("scope"), meta.get("window"), meta.get("measure")) != ("global", "day", "usd"):
        return
    if not settings.TOLLGATE_SENTRY_SECRET_DSN:
        return
    with sentry_sdk.new_scope() as scope:
        figures = {name: meta.get(name) for name in ("used", "amount", "threshold")}
        scope.set_context("budget", figures)
        level = "warning" if alert.severity == "warning" else "error"
        sentry_sdk.capture_message(alert.message, level=level)  # type: ignore[arg-type]


def recipients(alert: Alert) -> list[User]:
    """The group of the rule that made it; operations for everything else."""
    if alert.kind == Kind.RULE and alert.owner_id.isdigit():
        rule = AlertRule.objects.select_related("group").filter(pk=alert.owner_id).first()
        if rule is not None and rule.group is not None:
            return members(rule.group.name)
    return members(OPERATIONS)
