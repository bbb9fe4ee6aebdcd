"""Sums of each hour, computed again from its events whenever something was written into it.

Nothing is added up on the way: an hour is deleted and computed as a whole, so that late, repeated
and concurrent batches cannot make the sums drift from the events.
"""

from datetime import datetime
from typing import Final

from django.db import connection

HOURS_AT_ONCE: Final = 24  # a transaction

# Hours of dropped weeks keep the sums that they have: nothing is left to compute them from.
MARK_STALE = """
INSERT INTO stale_hours (hour)
SELECT generate_series(date_trunc('hour', greatest(%s::timestamptz, first), 'UTC'), last, '1 hour')
FROM (SELECT least(i.first, t.first) AS first, greatest(i.last, t.last) AS last
      FROM (SELECT min(created_at) AS first, max(created_at) AS last FROM inference_events) i,
           (SELECT min(created_at) AS first, max(created_at) AS last FROM tool_calls) t) bounds
"""


def refresh() -> int:
    """Sum up the hours that are stale now; returns how many.

    A bounded number of them in each transaction, newest first. Refreshes at the same time take
    turns. Raises DatabaseError; what was committed until then is right.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM stale_hours")
        (upto,) = cursor.fetchone()
        refreshed = 0
        while upto:
            cursor.execute("SELECT tollgate.refresh_hours_v1(%s, %s)", [upto, HOURS_AT_ONCE])
            (some,) = cursor.fetchone()
            refreshed += some
            if some < HOURS_AT_ONCE:
                break
    return refreshed


def mark_stale(*, since: datetime | None = None) -> int:
    """Let every hour with events be summed up again, or those from `since` on; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(MARK_STALE, [since])
        return int(cursor.rowcount)
