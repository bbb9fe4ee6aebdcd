"""A month of the log that is not wanted any more: dropped by the owner, with a signed tombstone.

Only what is sealed, and is as it was sealed, expires. The seals and their lists of hashes stay.
"""

import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime

from django.db import OperationalError, connections, transaction

from opslog import events
from opslog.exceptions import NotAllowedNow
from opslog.models import EventTombstone, Seal
from opslog.seal_format.findings import Report
from opslog.seal_format.snapshots import Snapshot
from opslog.sealing import keys
from opslog.sealing.chain import Chain
from opslog.sealing.rows import EVENT_ROW, reading
from opslog.sealing.verifier import Comparison, listing

OWNER = "owner"
PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'operations_events'::regclass
    AND c.relname ~ '^operations_events_\\d{4}_\\d\\d$'
ORDER BY 1
"""
STRAY = """
SELECT count(*) FROM operations_events_default WHERE created_at >= %s AND created_at < %s
"""
# Dropping takes the whole log for a moment, and admissions wait meanwhile: never for long.
PATIENCE_MS, ATTEMPTS = 200, 25


@dataclass(frozen=True, slots=True)
class Month:
    first: date
    partition: str

    @property
    def begin(self) -> datetime:
        return datetime(self.first.year, self.first.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        year, month = divmod(self.first.year * 12 + self.first.month, 12)
        return datetime(year, month + 1, 1, tzinfo=UTC)

    def __str__(self) -> str:
        return f"{self.first:%Y-%m}"


def months(*, before: date, now: datetime) -> list[Month]:
    """Those that are there, and are over, and begin before that month."""
    with connections[OWNER].cursor() as cursor:
        cursor.execute(PARTITIONS)
        found = [
            Month(date(int(name[-7:-3]), int(name[-2:]), 1), name) for (name,) in cursor.fetchall()
        ]
    return [each for each in found if each.first < before and each.end <= now]


def expire(month: Month, *, by: str, reason: str, now: datetime) -> EventTombstone:
    """Drop the month's partition. Raises NotAllowedNow where it is not sealed or not intact, or
    where the log is too busy; keys.NoKey where nothing can be signed."""
    signer = keys.in_use()
    owner = connections[OWNER]
    with transaction.atomic(using=OWNER):
        keys.hold_lock(OWNER)
        with owner.cursor() as cursor:
            # Nobody writes into a month that is over, but somebody may not have committed yet.
            cursor.execute(f'LOCK TABLE "{month.partition}" IN SHARE MODE')
            cursor.execute(STRAY, [month.begin, month.end])
            if cursor.fetchone()[0]:
                raise NotAllowedNow(f"{month}: some of its events are in the default partition.")
        report = examine(month)
        if report.findings:
            raise NotAllowedNow(f"{month}: {report.findings[0].text} See verify_events.")
        if report.unsealed:
            raise NotAllowedNow(f"{month}: {report.unsealed} events are in no seal yet.")
        seals = Seal.objects.using(OWNER).filter(
            events_from__gte=month.begin, events_from__lt=month.end
        )
        digest, count = hashlib.sha256(), 0
        for own_hash in seals.order_by("number").values_list("hash", flat=True).iterator():
            digest.update(bytes(own_hash))
            count += 1
        stone = EventTombstone(
            month=month.first,
            partition=month.partition,
            event_count=report.events,
            seal_count=count,
            seals_digest=digest.digest(),
            reason=reason,
            by=by,
            expired_at=now,
            key_id=signer.key_id,
        )
        stone.signature = signer.sign(stone.statement())
        stone.save(using=OWNER, force_insert=True)
        events.record(
            "EVENTS_EXPIRED",
            message=f"{report.events} events of {month} expired: {reason}",
            actor=by,
            owner=("event_month", str(month)),
            label=str(month),
            meta={
                "partition": month.partition,
                "events": report.events,
                "seals": count,
                "sealsDigest": digest.hexdigest(),
                "reason": reason,
            },
            using=OWNER,
        )
        _drop(month)
    return stone


def examine(month: Month) -> Report:
    """Compare the partition with its seals."""
    report, owner = Report(), connections[OWNER]
    last = Seal.objects.using(OWNER).first()
    chain = Chain()
    if last is not None:
        chain.snapshot, chain.after_id = Snapshot.parse(last.snapshot), last.after_id
    query = f'SELECT {EVENT_ROW} FROM "{month.partition}" ORDER BY id, created_at'  # noqa: S608
    with listing(owner, month.begin, month.end) as lists, reading(owner, query) as rows:
        comparison = Comparison(report, chain, lists)
        while some := rows.next():
            comparison.take(some)
        comparison.finish()
    report.unsealed += comparison.inserted_count
    return report


def _drop(month: Month) -> None:
    for attempt in range(ATTEMPTS):
        try:
            with transaction.atomic(using=OWNER), connections[OWNER].cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {PATIENCE_MS}")
                cursor.execute(f'DROP TABLE "{month.partition}"')
        except OperationalError:
            if attempt == ATTEMPTS - 1:
                raise NotAllowedNow(f"{month}: the log is too busy now; try again.") from None
            time.sleep(PATIENCE_MS / 1000)
        else:
            return
