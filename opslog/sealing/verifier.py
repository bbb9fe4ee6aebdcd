"""`verify_events`: is the log what was sealed? Two streams, side by side, in bounded memory.

First the chain (`chain`), then the events in the order of their ids beside the lists of the seals:
a list is taken in when its lowest id comes up, and let go when its highest has passed.
"""

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import chain as chained
from typing import Any

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from opslog.database.query import one, run
from opslog.models import Heartbeat, Seal
from opslog.seal_format import merkle
from opslog.seal_format.findings import Kind, Report
from opslog.sealing import keys
from opslog.sealing.chain import Chain, verify_chain
from opslog.sealing.heads import KnownHeads
from opslog.sealing.rows import EVENT_ROW, Row, declared, reading
from opslog.sealing.sealer import HEARTBEAT, SEALER

EVENTS = f"SELECT {EVENT_ROW} FROM operations_events ORDER BY id, created_at"  # noqa: S608
LISTS = """
SELECT s.number, s.root, s.event_count, s.first_id, s.last_id, s.events_from, m.event_ids,
    m.leaf_hashes
FROM seals s LEFT JOIN seal_members m ON m.seal = s.number
WHERE s.event_count > 0 AND (%(from)s::timestamptz IS NULL
    OR (s.events_from >= %(from)s AND s.events_from < %(to)s))
ORDER BY s.first_id, s.number
"""
LISTS_AT_ONCE = 50
SHOWN = 20  # ids in one finding
TOO_LONG = timedelta(minutes=5)

Progress = Callable[[int], None]


@dataclass(slots=True)
class OpenSeal:
    """A seal whose events are coming up. `left` of them were not seen yet."""

    number: int
    last_id: int
    month: date
    ids: list[int]
    hashes: bytes
    left: int
    modified: list[int] = field(default_factory=list)
    inserted: list[int] = field(default_factory=list)

    def hash_of(self, position: int) -> bytes:
        return self.hashes[32 * position : 32 * position + 32]


Place = tuple[OpenSeal, int]


class Comparison:
    """Events beside the lists of the seals. Both must come in the order of their ids."""

    def __init__(self, report: Report, chain: Chain, lists: Iterator[tuple[Any, ...]]) -> None:
        self.report = report
        self.chain = chain
        self._lists = lists
        self._next = next(lists, None)
        self._expected: dict[int, Place] = {}
        self._again: dict[int, list[Place]] = {}  # one id, more than one event: by hand only
        self._open: list[tuple[int, int, OpenSeal]] = []
        self._wrong: tuple[Row, Place] | None = None  # the last row that was not as sealed
        self.inserted: list[int] = []
        self.inserted_count = 0
        self.of_gaps = [0] * len(chain.gaps)
        self.oldest_unsealed: datetime | None = None

    def take(self, rows: list[Row]) -> None:
        """The next rows of the log."""
        self._take_in(rows[-1].id)
        expected, report = self._expected, self.report
        for row in rows:
            place = expected.pop(row.id, None)
            if place is not None and self._again:
                place = self._choose(row, place)
            if place is None:
                self._without_place(row)
                continue
            seal, position = place
            seal.left -= 1
            if row.leaf == seal.hashes[32 * position : 32 * position + 32]:
                report.sealed += 1
            else:
                seal.modified.append(row.id)
                self._wrong = (row, place)
        report.events += len(rows)
        self._let_go(rows[-1].id)

    def finish(self) -> None:
        self._take_in(None)
        self._let_go(None)

    def _take_in(self, up_to: int | None) -> None:
        while self._next is not None and (up_to is None or self._next[3] <= up_to):
            number, root, size, _, last_id, events_from, ids, hashes = self._next
            self._next = next(self._lists, None)
            if ids is None:
                self.report.found(
                    Kind.MISSING, f"The list of the events of seal {number} is gone.", seal=number
                )
                continue
            if number not in self.chain.untrusted:
                self._check_list(number, bytes(root), size, hashes)
            last_id = max(last_id, max(ids, default=last_id))
            month = events_from.date().replace(day=1)
            seal = OpenSeal(number, last_id, month, ids, bytes(hashes), len(ids))
            heapq.heappush(self._open, (last_id, number, seal))
            for position, each in enumerate(ids):
                place = (seal, position)
                if each in self._expected:
                    self._again.setdefault(each, []).append(place)
                else:
                    self._expected[each] = place

    def _check_list(self, number: int, root: bytes, size: int, hashes: bytes) -> None:
        """The seal's root vouches for the list; where it does not, the list was changed too."""
        leaves = merkle.split(bytes(hashes))
        if merkle.root(leaves) == root:
            return
        there = len(leaves)
        if there < size:
            kind, what = Kind.DELETED, f"{size - there} of its {size} events were taken out of"
        elif there > size:
            kind, what = Kind.INSERTED, f"{there - size} events were added to"
        else:
            kind, what = Kind.MODIFIED, "hashes were changed in"
        self.report.found(kind, f"Seal {number}: {what} its list.", seal=number)

    def _choose(self, row: Row, place: Place) -> Place:
        """Of several events with this id the one that is like the row, else any."""
        others = self._again.pop(row.id, None)
        if others is None:
            return place
        places = [place, *others]
        chosen = next((each for each in places if each[0].hash_of(each[1]) == row.leaf), places[0])
        places.remove(chosen)
        self._expected[row.id] = places[0]
        if places[1:]:
            self._again[row.id] = places[1:]
        return chosen

    def _without_place(self, row: Row) -> None:
        if self._wrong is not None:
            other, (seal, position) = self._wrong
            if other.id == row.id and seal.hash_of(position) == row.leaf:
                # A copy with the same id stood before the true one.
                seal.modified.remove(other.id)
                self.report.sealed += 1
                self._wrong = None
                row = other
        chain, transaction_id = self.chain, row.xact
        for place, gap in enumerate(chain.gaps):
            if gap.covers(transaction_id):
                self.of_gaps[place] += 1
                return
        if row.id <= chain.after_id or chain.snapshot.sees(transaction_id):
            self.inserted_count += 1
            if len(self.inserted) < SHOWN:
                self.inserted.append(row.id)
            return
        self.report.unsealed += 1
        at = row.created_at
        if self.oldest_unsealed is None or at < self.oldest_unsealed:
            self.oldest_unsealed = at

    def _let_go(self, passed: int | None) -> None:
        while self._open and (passed is None or self._open[0][0] <= passed):
            _, _, seal = heapq.heappop(self._open)
            if seal.left:
                self._account_for_missing(seal)
            if seal.modified:
                self.report.found(
                    Kind.MODIFIED,
                    f"Seal {seal.number}: {listed(seal.modified)} not as sealed.",
                    seal=seal.number,
                    events=tuple(seal.modified[:SHOWN]),
                )

    def _account_for_missing(self, seal: OpenSeal) -> None:
        gone = []
        for position, each in enumerate(seal.ids):
            if self._expected.get(each) == (seal, position):
                del self._expected[each]
                gone.append(each)
                if others := self._again.pop(each, None):
                    self._expected[each] = others[0]
                    if others[1:]:
                        self._again[each] = others[1:]
        if seal.month in self.chain.expired:
            self.report.expired += len(gone)
            return
        self.report.found(
            Kind.DELETED,
            f"Seal {seal.number}: {listed(gone)} no longer in the log.",
            seal=seal.number,
            events=tuple(gone[:SHOWN]),
        )


def verify(
    known: KnownHeads,
    *,
    pinned: set[bytes],
    too_long: timedelta = TOO_LONG,
    progress: Progress = lambda done: None,
) -> Report:
    """Compare the log with its seals. `pinned`: public keys known from outside of the database.

    Reads in one view of the database, and writes nothing.
    """
    with transaction.atomic():
        run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return examine(known, pinned=pinned, too_long=too_long, progress=progress)


def own_key() -> set[bytes]:
    """The public part of the private key here, which is outside of the database too. At the very
    first seal, the head file does not know it yet."""
    try:
        key = keys.local_public_key()
    except keys.NoKey:
        return set()
    return {key} if key else set()


def examine(
    known: KnownHeads, *, pinned: set[bytes], too_long: timedelta, progress: Progress
) -> Report:
    """The same, in a view of the database that the caller holds."""
    report = Report()
    (now,) = one("SELECT clock_timestamp()")
    looked = Heartbeat.objects.filter(name=SEALER).values_list("at", flat=True).first()
    seals = Seal.objects.order_by("number").iterator(chunk_size=1000)
    chain = verify_chain(report, known, pinned, seals)
    with listing() as lists, reading(connection, EVENTS) as events:
        comparison = Comparison(report, chain, lists)
        while rows := events.next():
            comparison.take(rows)
            progress(len(rows))
        comparison.finish()
    _tell(report, chain, comparison)
    _tell_of_delay(report, comparison, now=now, looked=looked, too_long=too_long)
    report.findings.sort(key=lambda each: (each.seal or 0, each.kind))
    return report


@contextmanager
def listing(
    database: BaseDatabaseWrapper = connection,
    begin: datetime | None = None,
    end: datetime | None = None,
) -> Iterator[Iterator[tuple[Any, ...]]]:
    """The seals with their lists, by their lowest id, through a cursor of the server; of all
    events, or of those of a time."""
    params = {"from": begin, "to": end}
    with declared(database, LISTS, params, at_once=LISTS_AT_ONCE) as fetch:
        yield chained.from_iterable(iter(lambda: fetch().fetchall(), []))


def listed(ids: list[int]) -> str:
    """“event #7 is”, “events #7, #9 and 40 more are”."""
    if len(ids) == 1:
        return f"event #{ids[0]} is"
    shown = ", ".join(f"#{each}" for each in ids[:SHOWN])
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"events {shown}{more} are"


def _tell(report: Report, chain: Chain, comparison: Comparison) -> None:
    if comparison.inserted_count:
        ids = comparison.inserted
        more = comparison.inserted_count - len(ids)
        shown = ", ".join(f"#{each}" for each in ids) + (f" and {more} more" if more else "")
        report.found(
            Kind.INSERTED,
            f"Events that stand where all was sealed, and are in no seal: {shown}.",
            events=tuple(ids),
        )
    for gap, events in zip(chain.gaps, comparison.of_gaps, strict=True):
        if events:
            report.found(
                Kind.MISSING,
                f"{events} events have no seal because no. {gap.first} to {gap.last} are missing.",
                seal=gap.first,
            )


def _tell_of_delay(
    report: Report,
    comparison: Comparison,
    *,
    now: datetime,
    looked: datetime | None,
    too_long: timedelta,
) -> None:
    """An event that committed late is old and yet new: what counts is when the sealer looked.

    That time is in a row that can be forged; so a seal an hour is asked for besides.
    """
    oldest = comparison.oldest_unsealed
    silent = looked is None or now - looked > too_long
    if oldest is not None and now - oldest > too_long and silent:
        report.found(
            Kind.UNSEALED,
            f"{report.unsealed} events wait for a seal, the oldest since "
            f"{oldest:%Y-%m-%d %H:%M:%S} UTC; the sealer last looked "
            f"{f'at {looked:%Y-%m-%d %H:%M:%S} UTC' if looked else 'never'}.",
        )
        return
    begun = report.sealed_at or oldest
    if begun is not None and now - begun > HEARTBEAT + too_long:
        report.found(
            Kind.UNSEALED,
            f"The newest seal is of {begun:%Y-%m-%d %H:%M:%S} UTC; there has to be one an hour."
            if report.sealed_at
            else f"{report.unsealed} events wait for the first seal.",
        )
