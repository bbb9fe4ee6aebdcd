"""Telling people of alerts: rows that admission, settlement or a sweep wrote, turned into messages.

An alert is written in the transaction that it tells of; the message follows within seconds. Should
the process die in between, the job of every minute finds the alert.
"""

import logging

import sentry_sdk
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Now
from django.urls import reverse

from budgets.models import Alert
from opslog import jobs, outbox
from opslog.templatetags.tollgate import subject_url

log = logging.getLogger("tollgate.alerts")

BATCH = 100
JOB = "budgets.tasks.tell_alerts"
TRIAGE = "budgets.tasks.triage"


def tell_soon() -> None:
    """Have the job worker tell of new alerts. An answer that is given already is not held up by a
    queue that cannot be reached: the job of every minute tells then."""
    try:
        jobs.enqueue(JOB)
    except Exception:  # the decision stands, whatever becomes of its announcement
        log.exception("no job could be enqueued to tell of alerts")


def sweep() -> int:
    """Alerts for thresholds that were passed by settlement, or by a change of the limit itself.
    Gives how many are new."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tollgate.alert_sweep_v1()")
        return int(cursor.fetchone()[0])


def tell() -> int:
    """Queue the messages of all alerts that nobody was told of; gives how many alerts.

    Two workers at once take different alerts; a message is keyed by its alert besides.
    """
    told = 0
    with transaction.atomic():
        for alert in (
            Alert.objects.select_for_update(skip_locked=True).filter(told_at=None).order_by("id")
        )[:BATCH]:
            for to in (operators(), "channels"):
                outbox.send(
                    topic=alert.kind,
                    to=to,
                    subject=alert.message,
                    text=alert.message,
                    link=page_of(alert),
                    key=str(alert.pk),
                )
            tell_sentry(alert)
            if alert.kind == Alert.Kind.BREAKER_OPENED:
                jobs.enqueue(TRIAGE)
            told += 1
            Alert.objects.filter(pk=alert.pk).update(told_at=Now())
    return told


def page_of(alert: Alert) -> str:
    """Where to look: the page of what it is about, else its own."""
    return subject_url(alert) or reverse("admin:budgets_alert_change", args=[alert.pk])


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


def operators() -> list[User]:
    return list(User.objects.filter(is_active=True, groups__name="operations"))
