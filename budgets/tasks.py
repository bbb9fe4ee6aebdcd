"""Jobs of the budgets. Each is safe to run twice, and nothing is wrong while none of them runs."""

from django.db import connection, transaction
from django.utils import timezone

from budgets import accounts, alerts, approvals, clock
from budgets.accounts import signing_in
from budgets.admission import direct_spend
from budgets.alerts import refusals, rules
from budgets.controls import automatic_mitigation, limits
from budgets.finops.bills import monthly_budgets
from budgets.finops.hotspots import measuring
from budgets.finops.reviews import working
from budgets.reports import notify
from budgets.usage import history, redis_mirror
from opslog.outbox import health_ping
from opslog.tasks import run_triage


def watch_accounts() -> tuple[int, int]:
    """Close account changes that nobody confirmed in time, and record the failed log-ins of windows
    that are over. Returns how many of each."""
    return accounts.close_overdue(), signing_in.record_the_rest()


def watch_requests() -> tuple[int, int, int, int]:
    """Apply cap change requests that are complete by now (a voter is back in their group, say),
    remind of those that wait, close those that nobody decided in time, and report break-glass
    reviews that are overdue.

    Returns how many of each. Expiry itself is found under the lock, with or without this job.
    """
    return (
        approvals.complete_pending(),
        approvals.remind(),
        approvals.close_overdue(),
        approvals.report_overdue(),
    )


def expire_leases() -> int:
    """Settle every run whose lease is over at its reservation; returns how many.

    Nothing depends on this running: a full concurrency limit reaps by itself, and an open
    reservation counts like a settled one.
    """
    return _in_batches("SELECT tollgate.share_limits()", REAP, size=200)


def tell_alerts() -> int:
    """Notify people of alerts; each is sent once, however often this runs."""
    return alerts.tell()


def sweep_alerts() -> int:
    """Every minute: thresholds that were passed without an admission, refusals, the alert rules;
    then the messages of all of them."""
    limits.follow_price_book()
    flush_refusals()
    new = alerts.sweep() + refusals.report(now=timezone.now()) + rules.evaluate()
    return new + alerts.tell()


def flush_refusals() -> int:
    """Every minute: write the events of refusals that were grouped, once their second is over.
    Returns how many."""
    return _in_batches("SELECT tollgate.flush_refusals_v1(%s)")


def keep_hours_of_spend() -> int:
    """Sums of the hours that are over, for the charts of the first page."""
    return history.keep_hours()


def tell_daily_report() -> int:
    """The budget report of each day that is over, from 00:05 UTC on, once."""
    return notify.tell_due()


def measure_hotspots() -> int:
    """The ranges of the hotspot registry, from telemetry."""
    return measuring.measure()


def open_monthly_review() -> int:
    """The reviews of months that are over, on the first of the next or as soon as it can."""
    return working.open_due(clock.today())


def watch_monthly_budgets() -> int:
    """Tiers of the monthly budgets that were reached; people are notified once of each."""
    return monthly_budgets.watch(clock.today())


def mirror_spend() -> bool:
    """The day's settled spend to Redis, where one is in the settings."""
    return redis_mirror.mirror()


def triage() -> int | None:
    """Every quarter of an hour: judge the cost, then tell the health check that it was judged."""
    try:
        found = run_triage()
    except Exception:
        ping_health("triage", "failed")
        raise
    ping_health("triage", "succeeded")
    return found


def ping_health(task: str, status: str) -> bool:
    """Report a task, how it ended, and how the day's budget stands, to HEALTHCHECK_URL."""
    day = direct_spend.day_status()
    return health_ping.ping(
        task, status, {"budget_usd": float(day.spent_usd), "budget_blocked": day.blocked}
    )


def tidy() -> tuple[int, int]:
    """Drop idempotency records that are replayed no more, and the counters of slots, minutes and
    hours long past.

    Returns how many of each. Counters of days stay: they are the history that reports use. In small
    batches of rows that nobody holds: whoever settles an old run has the row that all starts need.
    """
    return _in_batches(OLD_RECORDS), _in_batches(OLD_MINUTES)


BATCH = 500
REAP = "SELECT tollgate.reap_v1(NULL, %s)"
OLD_RECORDS = """
WITH gone AS (DELETE FROM idempotency_records WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_records WHERE created_at < now() - interval '48 hours'
    LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING 1)
SELECT count(*) FROM gone
"""
OLD_MINUTES = """
WITH gone AS (DELETE FROM counters WHERE id = ANY (ARRAY(
    SELECT id FROM counters
    WHERE ("window" IN ('minute', 'rolling_minute') AND starts_at < now() - interval '1 hour')
        OR ("window" IN ('rolling_hour', 'hour') AND starts_at < now() - interval '1 day')
    LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING 1)
SELECT count(*) FROM gone
"""


def _in_batches(*statements: str, size: int = BATCH) -> int:
    """How many rows the last of these has done, in batches of so many, each with the others in a
    transaction of its own: nobody waits long for their locks."""
    done = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in statements[:-1]:
                cursor.execute(statement)
            cursor.execute(statements[-1], [size])
            some = int(cursor.fetchone()[0])
        done += some
        if some < size:
            return done


def mitigate_incidents() -> tuple[int, int]:
    """Every minute: end automatic mitigations whose time is over, then apply what open incidents
    propose, for the levers that are switched on. Returns how many of each."""
    now = timezone.now()
    return automatic_mitigation.end_overdue(now=now), automatic_mitigation.apply_proposals(now=now)
