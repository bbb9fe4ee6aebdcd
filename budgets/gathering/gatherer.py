"""Which asks go when, over which connection, and what becomes of each."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
from django.conf import settings
from django.db import connection as django_connection

from budgets import alerts, batches
from budgets.batches import Ask
from budgets.gathering import calls
from budgets.gathering.connection import Connection, Outcome, connect
from budgets.gathering.queue import Done, FairQueue, Waiting
from opslog import authority
from opslog.exceptions import Unavailable, WrongDatabase

log = logging.getLogger("tollgate.gatherer")

LANES = 1  # batches under way at a time
ALONE = 4  # calls of one ask under way at a time
LEAST_SECONDS = 0.2  # of an ask's time must be left when it is sent
PATIENCE_SECONDS = 0.025  # for which a call of one ask holds back what arrives meanwhile
TICK_SECONDS = 0.1
TRIES = 3
UNDECIDED = "the database did not decide"
# Of a whole call these mean that it was rolled back: nothing was done.
NOTHING_DONE = ("22", "23")
ROLLED_BACK = ("40001", "40P01")


class Gatherer:
    """One for each process. All of it runs on the loop.

    An ask that comes while nothing is under way goes at once, by the routine for one, over a
    connection of its own: should it wait for its work order, it holds up nobody for long. What
    arrives while a call is under way goes with the next one, as a batch.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue = FairQueue()
        self._single: deque[Waiting] = deque()  # those that cannot be in a batch
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._batches = 0
        self._singles = 0
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
        the loop and never from within this call: with the decision, or with Unavailable (its
        subclass Overloaded where there was no time for it). A denial of `stale_prices` is the
        caller's to ask again. The ask is never sent again once it may have been decided.
        """
        if authority.outage.away or self._closing is not None:
            self._loop.call_soon(done, Unavailable("the database is unreachable"))
            return
        deadline = arrived + settings.TOLLGATE_DATABASE_TIMEOUT
        waiting = Waiting(ask, sender, arrived, deadline, done)
        if ask.operation == "extend" or ask.fields.get("dry_run"):
            self._single.append(waiting)
        else:
            self._queue.add(waiting)
        self._go_soon()

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

    # Sending.

    def _go_soon(self) -> None:
        """All that this turn of the loop reads goes together."""
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._go)

    def _go(self) -> None:
        self._soon = False
        while self._single and self._singles < ALONE:
            if (own := self._connection()) is None:
                break
            self._send_one(own, self._single.popleft())
        while self._queue.size and self._batches < LANES and self._leader is None:
            if (own := self._connection()) is None:
                break
            taken = self._in_time(self._queue.take(batches.MOST))
            if not taken:
                self._idle.append(own)
            elif len(taken) == 1 and self._singles < ALONE:
                self._lead(taken[0])
                self._send_one(own, taken[0])
            else:
                self._send_batch(own, taken)
        if (self._queue.size or self._single) and self._tick is None:
            self._tick = self._loop.call_later(TICK_SECONDS, self._drop_overdue)
        if self._closing is not None and not self._closing.done() and self._is_through():
            self._closing.set_result(None)

    def _is_through(self) -> bool:
        under_way = self._batches or self._singles or self._connecting
        return not (self._queue.size or self._single or under_way)

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
            self._connecting = None
            self._fail_all(Unavailable(str(error)))
        except Exception as error:
            self._connecting = None
            authority.outage.begin(type(error).__name__, django_connection.get_connection_params())
            self._fail_all(Unavailable(UNDECIDED))
        else:
            self._connecting = None
            self._connections.add(own)
            self._idle.append(own)
        self._go()

    def _in_time(self, taken: list[Waiting]) -> list[Waiting]:
        """Without those that have too little time left."""
        latest = self._loop.time() + LEAST_SECONDS
        left = []
        for each in taken:
            if each.deadline > latest:
                left.append(each)
            else:
                each.answer(Unavailable(UNDECIDED))
        return left

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

    def _send_one(self, own: Connection, waiting: Waiting) -> None:
        if not self._in_time([waiting]):
            self._idle.append(own)
            self._follow(waiting)
            return
        try:
            call = calls.of_one(waiting.ask, own.adapt)
        except Exception:
            log.exception("an ask could not be sent")
            self._idle.append(own)
            self._follow(waiting)
            waiting.answer(Unavailable(UNDECIDED))
            return
        waiting.tries += 1
        self._singles += 1
        own.send(
            call,
            until=waiting.deadline,
            done=lambda own, outcome: self._one_ended(own, waiting, outcome),
        )

    def _send_batch(self, own: Connection, asks: list[Waiting]) -> None:
        try:
            call = calls.of_batch([each.ask for each in asks], own.adapt)
        except Exception:  # one of them, which is shown when each goes by itself
            self._idle.append(own)
            self._single.extend(asks)
            self._go_soon()
            return
        self._batches += 1
        own.send(
            call,
            until=min(each.deadline for each in asks),
            done=lambda own, outcome: self._batch_ended(own, asks, outcome),
        )

    # What became of it.

    def _one_ended(self, own: Connection, waiting: Waiting, outcome: Outcome) -> None:
        self._singles -= 1
        if not own.closed:
            self._idle.append(own)
        if outcome.sqlstate in ROLLED_BACK and waiting.tries < TRIES:
            self._single.append(waiting)
        elif outcome.result is None:
            self._look_into(outcome)
            waiting.answer(Unavailable(UNDECIDED))
        else:
            self._answer([waiting], calls.answer_of_one(outcome.result, own.adapt))
        self._follow(waiting)
        self._go_soon()

    def _batch_ended(self, own: Connection, asks: list[Waiting], outcome: Outcome) -> None:
        self._batches -= 1
        if not own.closed:
            self._idle.append(own)
        if outcome.result is not None:
            self._go()  # first the next batch is on its way, then the answers
            self._answer(asks, calls.answers_of_batch(outcome.result))
        elif outcome.sqlstate[:2] in NOTHING_DONE or outcome.sqlstate in ROLLED_BACK:
            self._single.extend(asks)
            self._go_soon()
        else:
            self._look_into(outcome)
            for each in asks:
                each.answer(Unavailable(UNDECIDED))
            self._go_soon()

    def _answer(self, asks: Sequence[Waiting], answered: calls.Answered) -> None:
        left = set(asks)
        alerted = False
        for n, decision, alert in answered:
            waiting = asks[n]
            left.discard(waiting)
            alerted = alerted or alert
            if decision.status == 0 and decision.denial == "alone":
                self._single.append(waiting)
                self._go_soon()
            else:
                waiting.answer(decision)
        for each in left:
            each.answer(Unavailable(UNDECIDED))
        if alerted:
            self._announce()

    def _look_into(self, outcome: Outcome) -> None:
        state = outcome.sqlstate
        if not state or state[:2] == "08" or state[:3] == "57P":
            reason = outcome.reason or state
            authority.outage.begin(reason, django_connection.get_connection_params())
        elif state == psycopg.errors.LockNotAvailable.sqlstate:
            log.warning("a lock was not had in time")
            authority.outage.suspect()
        else:
            log.error("database refused a decision", extra={"sqlstate": state})

    def _lost(self, own: Connection) -> None:
        self._connections.discard(own)
        if own in self._idle:
            self._idle.remove(own)

    def _learn(self) -> None:
        """The database is away. (From any thread.)"""
        self._loop.call_soon_threadsafe(self._fail_all, Unavailable("the database is unreachable"))

    def _fail_all(self, error: Unavailable) -> None:
        failed = [*self._queue.take(self._queue.size), *self._single]
        self._single.clear()
        for each in failed:
            each.answer(error)
        self._go_soon()

    def _drop_overdue(self) -> None:
        self._tick = None
        latest = self._loop.time() + LEAST_SECONDS
        for each in self._queue.overdue(latest):
            each.answer(Unavailable(UNDECIDED))
        kept = self._in_time(list(self._single))
        self._single = deque(kept)
        self._go()

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
