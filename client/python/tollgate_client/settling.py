"""Settlements: sent until they arrive, because the money was spent.

A settlement waits for nobody's retry policy. It is sent for as long as the lease of its run lives
(and for `RetryPolicy.total` at least), with a journal until the service has it: whoever leaves a
run waits for a while, and after that a background thread goes on.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from .answers import Answer, body_of, failure, retry_after
from .errors import InvalidRequest, Refused, TollgateError, Unavailable
from .journal import Entry, Journal
from .processes import register
from .retrying import RetryPolicy
from .sending import Trouble
from .values import Settlement

log = logging.getLogger("tollgate_client")

LOOK_SECONDS = 0.25  # how soon the background notices that the program ends
SHORTEST_ATTEMPT_SECONDS = 1.0


class Attempts(Protocol):
    def attempt(
        self, path: str, body: dict[str, object], *, seconds: float | None = None
    ) -> Answer: ...


@dataclass(slots=True, eq=False)
class Delivery:
    """A settlement on its way. `until`: when it is given up, by the monotonic clock; None: never,
    as the journal has it. `mine`: of this process, not one that an earlier process left."""

    entry: Entry
    until: float | None
    arrived: Callable[[Settlement], None]
    journaled: bool = False
    mine: bool = True
    attempts: int = 0
    due: float = 0.0

    @property
    def cost(self) -> str:
        body = self.entry.body
        return f"${body['costUsd']}" if "costUsd" in body else f"{body.get('usage')}"

    def is_given_up(self, at: float) -> bool:
        return self.until is not None and at >= self.until


class Settler:
    """Sends the settlements of one client. `wait` (seconds) is how long leaving a run, and the end
    of the program, wait for them; 0 leaves them to the background at once."""

    def __init__(
        self,
        sender: Attempts,
        *,
        retry: RetryPolicy,
        wait: float,
        journal: Journal | None,
        token: str,
        ended: Callable[[Settlement], None],
    ) -> None:
        self._sender = sender
        self._retry = retry
        self._wait = wait
        self._journal = journal
        self._token = token
        self._ended = ended
        self._start_anew()
        register(self)

    def _start_anew(self) -> None:
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self._queue: list[Delivery] = []
        self._thread: threading.Thread | None = None
        self._give_up_at: float | None = None
        self._looked = self._journal is None

    def renew_after_fork(self) -> None:
        """The parent's settlements are the parent's to send."""
        self._start_anew()

    def settle(
        self, delivery: Delivery, *, wait: float | None = None, keep: bool = True
    ) -> Settlement:
        """Send it, for `wait` seconds at most (None: as the client has it), then in the background.

        `keep` False: neither the journal nor the background has it. Raises Unavailable where it has
        not arrived yet, another TollgateError where the service does not take it.
        """
        if keep and self._journal and self._journal.write(delivery.entry):
            delivery.journaled, delivery.until = True, None
        ends = time.monotonic() + (self._wait if wait is None else wait)
        if delivery.until is not None:
            ends = min(ends, delivery.until)
        trouble = "it is sent in the background"
        try:
            while (left := ends - time.monotonic()) > 0:
                try:
                    return self._send(delivery, seconds=max(left, SHORTEST_ATTEMPT_SECONDS))
                except Unavailable as error:
                    trouble = str(error)
                except TollgateError:
                    raise
                except Exception as error:  # a bug here is no reason to fail what was paid for
                    log.exception("run %s is not settled yet", delivery.entry.run_id)
                    trouble = repr(error)
                    delivery.due = ends
                if delivery.due >= ends:
                    break
                if self._closed.wait(max(0.0, delivery.due - time.monotonic())):
                    break
        except TollgateError:
            raise
        except BaseException:  # Ctrl-C: the program goes, the settlement stays
            if keep:
                self._hand_over(delivery)
            raise
        if keep:
            self._hand_over(delivery)
        raise Unavailable(f"the settlement has not arrived: {trouble}")

    def resume(self) -> None:
        """Send what earlier processes left in the journal, in the background; once in a process."""
        if self._looked or self._journal is None:
            return
        self._looked = True
        known = {delivery.entry.name for delivery in self._queue}
        for entry in self._journal.entries():
            if entry.name not in known:
                log.info("run %s: its settlement is in the journal", entry.run_id)
                self._hand_over(
                    Delivery(entry, None, lambda settlement: None, journaled=True, mine=False)
                )

    def waiting(self, run_id: str) -> Entry | None:
        """The settlement of this run that has not arrived yet, whoever wrote it."""
        with self._changed:
            entries = [each.entry for each in self._queue]
        if self._journal:
            entries += self._journal.entries()
        return next((entry for entry in entries if entry.run_id == run_id), None)

    def flush(self, within: float | None = None) -> int:
        """Wait until everything has arrived, for `within` seconds at most (None: as the client has
        it). Returns how many settlements of this process have not."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._pending(), self._wait if within is None else within
            )
            return self._pending()

    def close(self) -> None:
        """Flush, and let the background end; what it leaves undone is logged."""
        self.flush()
        self._closed.set()
        with self._changed:
            self._give_up_at = time.monotonic()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._wait)

    def _pending(self) -> int:
        return sum(1 for delivery in self._queue if delivery.mine)

    def _send(self, delivery: Delivery, *, seconds: float | None = None) -> Settlement:
        """One attempt. Raises Unavailable where another may fare better."""
        delivery.attempts += 1
        entry = delivery.entry
        path = f"/api/work-orders/runs/{quote(entry.run_id, safe='')}/finish"
        pause: float | None = None
        try:
            answer = self._sender.attempt(path, dict(entry.body), seconds=seconds)
            if not answer.is_success:
                pause = retry_after(answer)
                raise failure(answer)
            settlement = parsed_settlement(answer)
        except (Trouble, Unavailable, Refused) as error:
            # No limit refuses a settlement; whoever says so is asked again.
            if isinstance(error, Refused) and error.status < 500 and error.status != 429:
                self._refused(delivery, error)
                raise
            delivery.due = time.monotonic() + self._retry.pause(
                attempt=delivery.attempts, retry_after=pause
            )
            raise Unavailable(str(error)) from error
        except InvalidRequest as error:
            self._refused(delivery, error)
            raise
        if self._journal and delivery.journaled:
            self._journal.remove(entry)
        delivery.arrived(settlement)
        self._ended(settlement)
        return settlement

    def _refused(self, delivery: Delivery, error: Refused | InvalidRequest) -> None:
        """An answer that no retry changes. A token that may not settle it (401, 403) may be
        replaced, and what another token wrote may be unknown to this one alone (404): the journal
        keeps these for the next process."""
        kept = error.status in (401, 403) or (
            error.status == 404 and delivery.entry.token != self._token
        )
        if self._journal and delivery.journaled and not kept:
            self._journal.remove(delivery.entry)

    def _hand_over(self, delivery: Delivery) -> None:
        with self._changed:
            self._queue.append(delivery)
            self._changed.notify_all()
            if self._thread is not None:
                return
            # Not a daemon: the interpreter waits for it, and it ends by itself (see _is_over).
            self._thread = threading.Thread(target=self._work, name="tollgate-settlements")
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is ending already
                self._thread = None
                self._queue.remove(delivery)
                self._lost(delivery, "the program ends")

    def _work(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                if self._is_over(now):
                    left, self._queue, self._thread = self._queue, [], None
                    self._changed.notify_all()
                    break
                due = [each for each in self._queue if each.due <= now]
                if not due:
                    nearest = min(each.due for each in self._queue) - now
                    self._changed.wait(min(nearest, LOOK_SECONDS))
                    continue
                delivery = min(due, key=lambda each: each.due)
            if self._attempt(delivery):
                with self._changed:
                    self._queue.remove(delivery)
                    self._changed.notify_all()
        for delivery in left:
            self._lost(delivery, "there was no more time")

    def _is_over(self, now: float) -> bool:
        if self._give_up_at is None and not threading.main_thread().is_alive():
            self._give_up_at = now + self._wait
        if not self._queue:
            return True
        ending = self._give_up_at is not None
        return ending and (not self._pending() or now >= (self._give_up_at or 0.0))

    def _attempt(self, delivery: Delivery) -> bool:
        """Whether it is done with, one way or the other."""
        try:
            self._send(delivery)
        except Unavailable as error:
            if delivery.is_given_up(delivery.due):
                self._lost(delivery, str(error))
                return True
            return False
        except TollgateError as error:
            log.error(  # noqa: TRY400  (expected: no traceback)
                "run %s was not settled at %s: %s", delivery.entry.run_id, delivery.cost, error
            )
        except Exception:  # a bug must not end the others
            log.exception("run %s was not settled at %s", delivery.entry.run_id, delivery.cost)
        else:
            log.info("run %s is settled at %s", delivery.entry.run_id, delivery.cost)
        return True

    def _lost(self, delivery: Delivery, why: str) -> None:
        if delivery.journaled:
            log.warning(
                "run %s: its settlement at %s stays in the journal (%s)",
                *(delivery.entry.run_id, delivery.cost, why),
            )
        else:
            log.error(
                "run %s was not settled at %s, and is at its reservation when its lease ends: %s",
                *(delivery.entry.run_id, delivery.cost, why),
            )


def parsed_settlement(answer: Answer) -> Settlement:
    """Raises Unavailable for what is not the contract's."""
    try:
        return Settlement.parse(body_of(answer))
    except (ArithmeticError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(f"an answer that is not the contract's: {error!r}") from error
