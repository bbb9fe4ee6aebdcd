"""Which asks go when, over which connection, and what becomes of each."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
from django.conf import settings
from django.db import connection as django_connection

from budgets import alerts
from budgets.admission import metrics
from budgets.admission.batches import MOST, Ask
from budgets.gathering import calls
from budgets.gathering.connection import (
    OVERDUE,
    UNCONFIRMED,
    Connection,
    Outcome,
    connect,
)
from budgets.gathering.queue import LONGEST_CALL, Done, Line, Waiting
from opslog.database import authority
from opslog.exceptions import Overloaded, Unavailable, WrongDatabase

log = logging.getLogger("tollgate.gatherer")

LANES = 1  # batches under way at a time
ALONE = 4  # calls of one ask under way at a time
# Of an ask's time, TOLLGATE_DATABASE_TIMEOUT, each with the largest share of it that may be.
SENDING_SECONDS, SENDING_SHARE = 1.0, 0.5  # spent before it was here: the most that counts
LEAST_SECONDS, LEAST_SHARE = 0.2, 0.25  # that must be left when it is sent
# The same, where calls take long (LONGEST_CALL); with SENDING_SHARE less than all of it, or an ask
# that took long to send would never go.
CALL_SHARE = 0.4
PATIENCE_SECONDS = 0.025  # for which a call of one ask holds back what arrives meanwhile
LOCK_SECONDS = 2.0  # lock_timeout: a call that takes longer does not wait for a lock
TICK_SECONDS = 0.1
TRIES = 3
AWAY = "the database is unreachable"
UNDECIDED = "the database did not decide"
# Of a whole call these mean that it was rolled back: bad input, a broken constraint, a
# serialization failure, a deadlock. What comes after a commit is none of them.
BAD_INPUT = ("22", "23")
ROLLED_BACK = ("40001", "40P01")


class Gatherer:
    """One for each process. All of it runs on the loop.

    An ask that comes while nothing is under way goes at once, by the routine for one, over a
    connection of its own: should it have to wait for its work order, it holds up nobody for long.
    What arrives while a call is under way goes with the next one, as a batch.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._batches = Line(lanes=LANES, most=MOST, guess=0.05)
        self._singles = Line(lanes=ALONE, most=1, guess=0.01)
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._leader: Waiting | None = None  # the call of one that holds back what arrives
        self._patience: asyncio.TimerHandle | None = None
        self._soon = False
        self._tick: asyncio.TimerHandle | None = None
        self._closing: asyncio.Future[None] | None = None
        self._alerts = ThreadPoolExecutor(1, thread_name_prefix="alerts")
        self._announcing = False
        authority.outage.watch(self._learn)

    def submit(self, ask: Ask, *, sender: bytes, arrived: float, done: Done) -> None:
        """Has the ask decided. On the loop.

        `sender` is the digest of the token, for fairness. `arrived`, by the loop's clock, is when
        the ask's time began; it has TOLLGATE_DATABASE_TIMEOUT seconds. `done` is called once, on
        the loop and never from within this call: with the decision, or with Unavailable, or with
        Overloaded where nothing was decided for want of time. A denial of `stale_prices` is the
        caller's to ask again. What may have been decided is never sent again.
        """
        if authority.outage.away or self._closing is not None:
            self._loop.call_soon(done, Unavailable(AWAY))
            return
        now = self._loop.time()
        # A client that sends slowly is not refused for that.
        arrived = max(arrived, now - seconds_of(SENDING_SECONDS, SENDING_SHARE))
        deadline = arrived + settings.TOLLGATE_DATABASE_TIMEOUT
        alone = ask.operation == "extend" or ask.fields.get("dry_run")
        waiting = Waiting(ask, sender, arrived, now, deadline, done)
        self._enter(self._singles if alone else self._batches, waiting)

    async def close(self) -> None:
        """Answers what is waiting, then ends the connections."""
        if self._closing is None:
            self._closing = self._loop.create_future()
            self._go_soon()
        await self._closing
        for each in list(self._connections):
            each.close()
        authority.outage.forget(self._learn)
        self._alerts.shutdown()

    # What waits.

    def _enter(self, line: Line, waiting: Waiting) -> None:
        """Unless it would have to wait for too long. A sender that has little waiting displaces
        one that has much."""
        now = self._loop.time()
        refused = None
        if line.is_stuck(now):
            refused = waiting
        elif line.queue.size >= line.room:
            refused = line.queue.displace(waiting.sender) or waiting
        if refused is not None:
            metrics.OVERLOADED.inc()
            self._loop.call_soon(refused.answer, line.refuse(now))
        if refused is not waiting:
            line.queue.add(waiting)
            self._go_soon()

    def _in_time(self, line: Line, taken: Sequence[Waiting]) -> list[Waiting]:
        """Without those that have too little time left to be sent: a call that is not over in the
        time of one of its asks is lost for all of them."""
        latest = self._latest(line)
        left = []
        for each in taken:
            if each.deadline > latest:
                left.append(each)
            else:
                metrics.OVERLOADED.inc()
                each.answer(Overloaded(UNDECIDED))
        return left

    def _drop_overdue(self) -> None:
        self._tick = None
        for line in (self._batches, self._singles):
            self._in_time(line, list(line.queue.overdue(self._latest(line))))
        self._go()

    def _latest(self, line: Line) -> float:
        """The deadline that a call, sent now, just meets."""
        call = min(2 * line.seconds, seconds_of(LONGEST_CALL, CALL_SHARE))
        return self._loop.time() + max(seconds_of(LEAST_SECONDS, LEAST_SHARE), call)

    def _learn(self) -> None:
        """The database is away. (From any thread.)"""
        self._loop.call_soon_threadsafe(self._fail_all, AWAY)

    def _fail_all(self, reason: str) -> None:
        for line in (self._batches, self._singles):
            for each in line.queue.take(line.queue.size):
                each.answer(Unavailable(reason))
        self._go_soon()

    # Sending.

    def _go_soon(self) -> None:
        """All that this turn of the loop reads goes together."""
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._go)

    def _go(self) -> None:
        self._soon = False
        batches, singles = self._batches, self._singles
        while singles.queue.size and singles.has_lane:
            if (own := self._connection()) is None:
                break
            self._send(own, self._in_time(singles, singles.queue.take(1)), alone=True)
        while batches.queue.size and batches.has_lane and self._leader is None:
            if (own := self._connection()) is None:
                break
            taken = self._in_time(batches, batches.queue.take(MOST))
            alone = len(taken) == 1 and singles.has_lane
            if alone:
                self._lead(taken[0])
            self._send(own, taken, alone=alone)
        if (batches.queue.size or singles.queue.size) and self._tick is None:
            self._tick = self._loop.call_later(TICK_SECONDS, self._drop_overdue)
        if self._closing is not None and not self._closing.done() and self._is_through():
            self._closing.set_result(None)

    def _is_through(self) -> bool:
        under_way = self._batches.under_way or self._singles.under_way or self._connecting
        return not (self._batches.queue.size or self._singles.queue.size or under_way)

    def _connection(self) -> Connection | None:
        """An idle one. If there is none, another is being opened, and what waits goes then."""
        if self._idle:
            return self._idle.pop()
        if self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())
        return None

    async def _connect(self) -> None:
        try:
            own = await connect(self._loop, self._lost)
        except WrongDatabase as error:
            self._fail_all(str(error))
        except Exception as error:  # whatever it is, there is no connection
            self._begin_outage(type(error).__name__)
            self._fail_all(UNDECIDED)
        else:
            self._connections.add(own)
            self._idle.append(own)
        finally:
            self._connecting = None
        self._go()

    def _lost(self, own: Connection) -> None:
        self._connections.discard(own)
        if own in self._idle:
            self._idle.remove(own)

    def _lead(self, waiting: Waiting) -> None:
        self._leader = waiting
        self._patience = self._loop.call_later(PATIENCE_SECONDS, self._follow, waiting)

    def _follow(self, leader: Waiting) -> None:
        """The leader is through, or takes too long to be waited for."""
        if self._leader is leader:
            self._leader = None
            if self._patience is not None:
                self._patience.cancel()
            self._go_soon()

    def _send(self, own: Connection, asks: list[Waiting], *, alone: bool) -> None:
        if not asks:
            self._idle.append(own)
            return
        try:
            call = (
                calls.of_one(asks[0].ask, own.adapt)
                if alone
                else calls.of_batch([each.ask for each in asks], own.adapt)
            )
        except Exception as error:  # one of them cannot be sent: shown when each goes by itself
            self._idle.append(own)
            self._not_sent(asks, error, alone=alone)
            return
        line, now = self._singles if alone else self._batches, self._loop.time()
        line.under_way += 1
        metrics.GATHERED.observe(len(asks))
        for each in asks:
            each.tries += 1
            metrics.GATHERING.observe(now - each.queued)
        own.send(
            call,
            until=min(each.deadline for each in asks),
            done=lambda own, outcome: self._ended(own, asks, outcome, alone=alone, since=now),
        )

    def _not_sent(self, asks: list[Waiting], error: Exception, *, alone: bool) -> None:
        if alone:
            log.error("an ask could not be sent", exc_info=error)
            self._follow(asks[0])
            asks[0].answer(Unavailable(UNDECIDED))
        else:
            for each in asks:
                self._enter(self._singles, each)

    # What became of it.

    def _ended(
        self,
        own: Connection,
        asks: list[Waiting],
        outcome: Outcome,
        *,
        alone: bool,
        since: float,
    ) -> None:
        now = self._loop.time()
        line = self._singles if alone else self._batches
        line.ended(len(asks), seconds=now - since, now=now)
        if not own.closed:
            self._idle.append(own)
        if alone:
            self._follow(asks[0])
        if outcome.result is None:
            self._failed(asks, outcome, alone=alone, seconds=now - since)
            self._go_soon()
            return
        self._go()  # first the next call is on its way, then the answers
        try:
            answered = (
                calls.answer_of_one(outcome.result, own.adapt)
                if alone
                else calls.answers_of_batch(outcome.result)
            )
        except Exception:
            log.exception("what the database answered cannot be read")
            answered = []
        self._answer(asks, answered)

    def _answer(self, asks: Sequence[Waiting], answered: calls.Answered) -> None:
        left = dict(enumerate(asks))
        alerted = False
        for n, decision, alert in answered:
            waiting = left.pop(n)
            alerted = alerted or alert
            if decision.status == 0 and decision.denial == "alone":
                self._enter(self._singles, waiting)
            else:
                waiting.answer(decision)
        for each in left.values():
            each.answer(Unavailable(UNDECIDED))
        if alerted:
            self._announce()

    def _failed(
        self, asks: list[Waiting], outcome: Outcome, *, alone: bool, seconds: float
    ) -> None:
        state = outcome.sqlstate
        again = state in ROLLED_BACK and asks[0].tries < TRIES
        if again or (not alone and (state[:2] in BAD_INPUT or state in ROLLED_BACK)):
            for each in asks:
                self._enter(self._singles, each)
            return
        error = Unavailable(UNDECIDED)
        if state == psycopg.errors.LockNotAvailable.sqlstate:
            log.warning("a lock was not acquired in time")
            authority.outage.suspect()
            error = Overloaded(UNDECIDED)
            metrics.OVERLOADED.inc(len(asks))
        elif state == UNCONFIRMED:
            log.error("the synchronous standby did not confirm a decision")
            authority.outage.suspect()
        elif alone and outcome.reason == OVERDUE and seconds < LOCK_SECONDS:
            authority.outage.suspect()  # it may have waited for its work order
        elif not state or state[:2] == "08" or state[:3] == "57P":
            self._begin_outage(outcome.reason or state)
        else:
            log.error("database refused a decision", extra={"sqlstate": state})
        for each in asks:
            each.answer(error)

    def _begin_outage(self, reason: str) -> None:
        authority.outage.begin(reason, django_connection.get_connection_params())

    def _announce(self) -> None:
        """Alerts are queued by a thread: the answer does not wait for that."""
        if not self._announcing:
            self._announcing = True
            self._alerts.submit(self._tell)

    def _tell(self) -> None:
        self._announcing = False
        try:
            alerts.tell_soon()
        finally:
            django_connection.close()


def seconds_of(most: float, share: float) -> float:
    """Of the time of an ask, which may be set to less than the usual parts of it."""
    return min(most, share * settings.TOLLGATE_DATABASE_TIMEOUT)
