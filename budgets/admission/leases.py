"""Ending runs whose lease is over, outside of an admission."""

from django.db import connection, transaction

BATCH = 200


def expire() -> int:
    """Settle every run whose lease is over at its reservation; gives how many.

    In batches, each a transaction of its own, so that no admission waits long for the counters.
    Nothing depends on this running: a full concurrency limit reaps by itself, and an open
    reservation counts like a settled one.
    """
    ended = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT tollgate.share_limits()")
            cursor.execute("SELECT tollgate.reap_v1(NULL, %s)", [BATCH])
            reaped = int(cursor.fetchone()[0])
        ended += reaped
        if reaped < BATCH:
            return ended
