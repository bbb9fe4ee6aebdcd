"""Finding events in a log of any length, in bounded time.

Newest first, by the key (created_at, id); a page goes on where the last one ended, so page one
thousand costs what page one costs. One filter *drives*: its index gives its events in that order.
The others are tested on each event that comes by. The driver is the filter that PostgreSQL expects
the fewest events of.

Words have no index: to keep one would burden every admission, which writes an event (measured in
bench/README.md). So the number of events that one request looks at is bounded by time, not by the
length of the log; where that is used up before the page is full, the answer says how far it got,
and the next request goes on from there.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.utils import timezone

from opslog.database.query import one
from opslog.events.filters import (
    Condition,
    Filters,
    Key,
    drivers_of,
    either,
    every,
    tests_of,
    within,
)
from opslog.models import OperationsEvent

PAGE = 50
SECONDS = 0.12  # that one request spends looking, before it says how far it got
FIRST_CHUNK, LARGEST_CHUNK = 500, 20_000
BATCH = 2_000  # rows that an export reads at once

ORDER = "ORDER BY created_at DESC, id DESC"
SCAN = (
    "SELECT id, created_at, kind, message, owner_type, owner_id, actor, meta, request_id"
    " FROM operations_events WHERE"
)
TALLY = (
    "SELECT count(*), (array_agg(created_at ORDER BY created_at, id))[1],"
    " (array_agg(id ORDER BY created_at, id))[1],"
    f" array_agg(id {ORDER}) FILTER (WHERE hit),"
    f" array_agg(created_at {ORDER}) FILTER (WHERE hit)"
)
HIT = "FROM (SELECT id, created_at,"
EXPECT = "EXPLAIN (FORMAT JSON) SELECT 1 FROM operations_events WHERE "


@dataclass(frozen=True, slots=True)
class Found:
    """A page of events. `more` is where the next one begins; None at the end of the log.

    `looked_at` events were read for it. `short`: the time was used up before the page was full.
    """

    events: list[OperationsEvent]
    more: Key | None
    looked_at: int
    short: bool = False


class Search:
    """One pass through the log; what drives it is decided once."""

    def __init__(self, filters: Filters, *, now: datetime) -> None:
        since, until = filters.range(now)
        self.within = within(since, until)
        drivers, tests = drivers_of(filters), tests_of(filters)
        self.driver = self._choose(drivers)
        self.alternatives = drivers.pop(self.driver) if self.driver else [Condition("TRUE")]
        self.test = every([*tests.values(), *(either(each) for each in drivers.values())])
        self.tested = bool(tests or drivers)

    def _choose(self, drivers: dict[str, list[Condition]]) -> str:
        """The filter with the fewest events; "" is none of them: the bare range of time."""
        if len(drivers) < 2 and not (drivers and self.within):
            return next(iter(drivers), "")
        expected = {
            name: sum(self._expected([each, *self.within]) for each in alternatives)
            for name, alternatives in drivers.items()
        }
        if self.within:
            expected[""] = self._expected(self.within)
        return min(expected, key=lambda name: expected[name])

    @staticmethod
    def _expected(conditions: Sequence[Condition]) -> float:
        """How many rows the planner expects: a guess by its statistics, in a millisecond."""
        where = every(conditions)
        (plan,) = one(EXPECT + where.sql, where.params)
        parsed = json.loads(plan) if isinstance(plan, str) else plan
        return float(parsed[0]["Plan"]["Plan Rows"])

    def statement(self, after: Key | None, chunk: int) -> Condition:
        """Looks at the next `chunk` events of the driver: how many there were, where it ended, and
        which of them pass the test."""
        place = (
            # The second says nothing new, but spares the partitions of later months.
            [Condition("(created_at, id) < (%s, %s)", (after.at, after.id)),
             Condition("created_at <= %s", (after.at,))]
            if after
            else []
        )  # fmt: skip
        parts, params = [], []
        for each in self.alternatives:
            where = every([each, *self.within, *place])
            parts.append(f"({SCAN} {where.sql} {ORDER} LIMIT %s)")
            params += [*where.params, chunk]
        scanned = f"({' UNION ALL '.join(parts)}) scanned {ORDER} LIMIT %s"
        tested = f"{TALLY} {HIT} {self.test.sql} AS hit FROM {scanned}) tested"
        return Condition(tested, (*self.test.params, *params, chunk))

    def look(self, after: Key | None, chunk: int) -> tuple[int, Key | None, list[Key]]:
        """How many were looked at, the last of them, and those that match."""
        asked = self.statement(after, chunk)
        count, at, number, ids, moments = one(asked.sql, asked.params)
        hits = [Key(*each) for each in zip(moments or (), ids or (), strict=True)]
        return count, Key(at, number) if count else None, hits


def search(
    filters: Filters,
    *,
    now: datetime | None = None,
    after: Key | None = None,
    size: int = PAGE,
    seconds: float = SECONDS,
) -> Found:
    """The next page, or as much of it as can be found in that time."""
    pass_ = Search(filters, now=now or timezone.now())
    began = time.monotonic()
    keys: list[Key] = []
    looked, place = 0, after
    chunk = FIRST_CHUNK if pass_.tested else size + 1
    while True:
        count, last, hits = pass_.look(place, chunk)
        looked += count
        keys += hits
        if len(keys) > size:
            return Found(_events(keys[:size]), keys[size - 1], looked)
        if count < chunk:
            return Found(_events(keys), None, looked)
        place = last
        spent = time.monotonic() - began
        if spent >= seconds:
            return Found(_events(keys), place, looked, short=True)
        rate = looked / max(spent, 0.001)
        chunk = int(min(LARGEST_CHUNK, chunk * 4, max(FIRST_CHUNK, rate * (seconds - spent))))


def everything(filters: Filters, *, now: datetime) -> Iterator[list[OperationsEvent]]:
    """All that match and were there at that moment, in batches, for an export.

    By key, a statement a batch, not by a cursor of the server: that would hold one transaction
    open for as long as somebody downloads (nothing could be vacuumed meanwhile), and does not pass
    PgBouncer. The log is append-only, so the batches fit together.
    """
    until = min(filters.until, now) if filters.until else now
    pass_ = Search(replace(filters, until=until), now=now)
    place: Key | None = None
    while True:
        count, place, hits = pass_.look(place, BATCH)
        if hits:
            yield _events(hits)
        if count < BATCH:
            return


def _events(keys: Sequence[Key]) -> list[OperationsEvent]:
    found = OperationsEvent.objects.filter(
        pk__in=[key.id for key in keys], created_at__in=[key.at for key in keys]
    )
    return sorted(found, key=lambda event: (event.created_at, event.pk), reverse=True)
