"""The sealer: puts every committed event that no seal has yet into numbered, signed batches.

It reads, and inserts into tables of its own: no row of the log and no lock of an admission is
touched. Which events are new is asked of snapshots, never of ids (`snapshots`). A turn is one
transaction a window; a process that ends in one leaves nothing behind.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError

from opslog.database.query import one, value
from opslog.models import Heartbeat, Seal, SealMembers
from opslog.seal_format import encoding, merkle
from opslog.seal_format.snapshots import NOTHING, Snapshot
from opslog.seal_format.statements import NO_SEAL, Signer
from opslog.sealing import heads, keys
from opslog.sealing.rows import EVENT_ROW, Row, all_rows, reading

SEALER = "sealer"  # its row in `heartbeats`: when it last looked and left nothing unsealed
HEARTBEAT = timedelta(hours=1)
MOST_EVENTS = 10_000  # in one seal: 400 kB of hashes
WINDOW = 50_000  # transactions looked at in one of ours

log = logging.getLogger("tollgate.seals")

SELECT = f"SELECT {EVENT_ROW}, date_trunc('month', created_at, 'UTC') AS month"
# One month after the other, so that a month can expire with its seals.
ORDER = "ORDER BY month, id, created_at"
NEW = f"""{SELECT} FROM operations_events
WHERE id > %(after_id)s AND (xact = ANY (%(late)s)
    OR (xact >= %(begin)s AND xact < %(end)s AND xact <> ALL (%(running)s)))
{ORDER}"""
LOWEST = """
SELECT min(xact) FROM operations_events
WHERE xact >= %(begin)s AND xact < %(end)s AND xact <> ALL (%(running)s) AND id > %(after_id)s
"""
# Another life of the database: its transactions are counted anew, from a lower number. What was
# restored without a seal was not over in the last snapshot; what is new has ids beyond all sealed.
REMAINDER = f"""{SELECT} FROM operations_events
WHERE id > %(after_id)s
    AND (xact >= %(ceiling)s OR xact = ANY (%(running)s) OR id > %(last_sealed)s)
{ORDER}"""
LAST_OF_LIFE = """
SELECT greatest(%(last_sealed)s, (SELECT max(id) FROM operations_events WHERE xact >= %(ceiling)s))
"""


@dataclass(frozen=True)
class Turn:
    """What came of it. `busy`: another sealer is at work, and does the same."""

    seals: int = 0
    events: int = 0
    busy: bool = False
    complete: bool = True

    def __add__(self, other: "Turn") -> "Turn":
        return Turn(
            self.seals + other.seals,
            self.events + other.events,
            self.busy or other.busy,
            other.complete,
        )


@dataclass
class Chain:
    """The end of the chain, to which a transaction adds."""

    number: int
    hash: bytes
    snapshot: Snapshot
    after_id: int
    sealed_at: datetime | None

    @classmethod
    def read(cls) -> "Chain":
        last = Seal.objects.first()
        if last is None:
            return cls(0, NO_SEAL, NOTHING, 0, None)
        return cls(
            last.number,
            bytes(last.hash),
            Snapshot.parse(last.snapshot),
            last.after_id,
            last.sealed_at,
        )


def seal(*, seconds: float = 40) -> Turn:
    """Seal all that is committed, for so many seconds at most, and tell the heads outside.

    Raises `keys.NoKey` where nothing can be signed.
    """
    if connection.in_atomic_block:
        raise TransactionManagementError("Seals are committed before their heads go outside.")
    until = time.monotonic() + seconds
    turn = Turn(complete=False)
    while not turn.complete and not turn.busy and time.monotonic() < until:
        turn += _seal_a_window()
    heads.bring_up_to_date()
    return turn


def _seal_a_window() -> Turn:
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                # One view of everything, from the first statement on. Should another sealer commit
                # between this view and the lock, its number is taken and nothing is written here.
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                # What is sealed must not be lost if the machine stops: this flush takes along
                # what admissions committed without waiting for theirs.
                cursor.execute("SET LOCAL synchronous_commit = on")
            if not keys.try_lock():
                return Turn(busy=True)
            turn, looked_at = _seal_what_is_new()
    except IntegrityError:
        return Turn(busy=True)
    if turn.complete:
        Heartbeat.objects.update_or_create(name=SEALER, defaults={"at": looked_at})
    return turn


def _seal_what_is_new() -> tuple[Turn, datetime]:
    seen, now = one("SELECT pg_current_snapshot()::text, now()")
    current, chain = Snapshot.parse(seen), Chain.read()
    signer = keys.signer(now=now)
    turn = Turn()
    covered = current
    if current.ceiling < chain.snapshot.ceiling:
        turn = _seal_remainder(chain, current, signer, now)
    else:
        begin = chain.snapshot.ceiling
        while True:
            covered = current.up_to(begin + WINDOW)
            turn = _seal_rows(NEW, _new_since(chain, begin, covered), chain, covered, signer, now)
            if turn.seals or covered.ceiling == current.ceiling:
                break
            # Nothing there: on to the first transaction that wrote an event, without empty seals.
            lowest = _lowest(chain, covered.ceiling, current)
            begin = current.ceiling if lowest is None else lowest
    complete = covered.ceiling == current.ceiling
    due = chain.sealed_at is None or now - chain.sealed_at >= HEARTBEAT
    if complete and not turn.seals and due:
        _append(chain, [], current, signer, now)
        turn = Turn(seals=1)
    return Turn(turn.seals, turn.events, complete=complete), now


def _new_since(chain: Chain, begin: int, covered: Snapshot) -> dict[str, Any]:
    return {
        "late": [each for each in chain.snapshot.running if covered.sees(each)],
        "begin": begin,
        "end": covered.ceiling,
        "running": list(covered.running),
        "after_id": chain.after_id,
    }


def _lowest(chain: Chain, begin: int, current: Snapshot) -> int | None:
    found: int | None = value(
        LOWEST,
        {
            "begin": begin,
            "end": current.ceiling,
            "running": list(current.running),
            "after_id": chain.after_id,
        },
    )
    return found


def _seal_remainder(chain: Chain, current: Snapshot, signer: Signer, now: datetime) -> Turn:
    """The first seals after a restore into a server whose transactions count lower."""
    log.warning("the database was restored: events are distinguished by id from here on")
    last_sealed = (
        Seal.objects.filter(event_count__gt=0)
        .order_by("-last_id")
        .values_list("last_id", flat=True)
        .first()
        or 0
    )
    before = chain.snapshot
    (after_id,) = one(LAST_OF_LIFE, {"last_sealed": last_sealed, "ceiling": current.ceiling})
    params = {
        "after_id": chain.after_id,
        "ceiling": before.ceiling,
        "running": list(before.running),
        "last_sealed": last_sealed,
    }
    chain.after_id = after_id
    turn = _seal_rows(REMAINDER, params, chain, current, signer, now)
    if not turn.seals:
        _append(chain, [], current, signer, now)
        turn = Turn(seals=1)
    return turn


def _seal_rows(
    query: str,
    params: dict[str, Any],
    chain: Chain,
    covered: Snapshot,
    signer: Signer,
    now: datetime,
) -> Turn:
    turn = Turn()
    with reading(connection, query, params) as reader:
        for batch in batches(all_rows(reader)):
            _append(chain, batch, covered, signer, now)
            turn += Turn(seals=1, events=len(batch))
    return turn


def batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """As many as one seal takes, of one month each."""
    batch: list[Row] = []
    month = None
    for row in rows:
        at = row.created_at
        if batch and (len(batch) == MOST_EVENTS or (at.year, at.month) != month):
            yield batch
            batch = []
        if not batch:
            month = (at.year, at.month)
        batch.append(row)
    if batch:
        yield batch


def _append(
    chain: Chain, rows: list[Row], covered: Snapshot, signer: Signer, now: datetime
) -> None:
    """Add one seal to the chain, and which events it holds."""
    leaves = [row.leaf for row in rows]
    sealed = Seal(
        number=chain.number + 1,
        previous=chain.hash,
        root=merkle.root(leaves),
        event_count=len(rows),
        first_id=rows[0].id if rows else None,
        last_id=rows[-1].id if rows else None,
        events_from=min(row.created_at for row in rows) if rows else None,
        events_to=max(row.created_at for row in rows) if rows else None,
        sealed_at=now,
        snapshot=str(covered),
        after_id=chain.after_id,
        encoding=encoding.VERSION,
        key_id=signer.key_id,
    )
    statement = sealed.statement()
    sealed.hash, sealed.signature = statement.hash(), signer.sign(statement.text())
    sealed.save(force_insert=True)
    if rows:
        SealMembers.objects.create(
            seal=sealed, event_ids=[row.id for row in rows], leaf_hashes=b"".join(leaves)
        )
    chain.number, chain.hash = sealed.number, sealed.hash
    chain.snapshot, chain.sealed_at = covered, now
