"""Jobs of the budgets. Each is safe to run twice, and nothing is wrong while none of them runs."""

from datetime import timedelta

from django.utils import timezone

from budgets import approvals, leases
from budgets.models import Counter, IdempotencyRecord

REPLAY_HOURS = 48


def watch_requests() -> tuple[int, int]:
    """Remind of cap change requests that wait, and close those that nobody decided in time.

    Gives how many of each. Expiry itself is found under the lock, with or without this job.
    """
    return approvals.remind(), approvals.close_overdue()


def expire_leases() -> int:
    return leases.expire()


def tidy() -> tuple[int, int]:
    """Drop idempotency records that are replayed no more, and the counters of minutes long past.

    Gives how many of each. Counters of days stay: they are the history that reports read.
    """
    now = timezone.now()
    records, _ = IdempotencyRecord.objects.filter(
        created_at__lt=now - timedelta(hours=REPLAY_HOURS)
    ).delete()
    minutes, _ = Counter.objects.filter(
        window="minute", starts_at__lt=now - timedelta(hours=1)
    ).delete()
    return records, minutes
