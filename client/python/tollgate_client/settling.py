"""Settlements: sent until they arrive, because the money was spent.

A settlement waits for nobody's retry policy. It is sent for as long as the lease of its run lives
(and for `RetryPolicy.total` at least), with a journal until the service has it: whoever leaves a
run waits for a while, and after that a background thread goes on, for both clients: it outlives the
event loop of a program that ends.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import quote

from .answers import failure, retry_after
from .core import START, parsed
from .errors import InvalidRequest, Refused, TollgateError, Unavailable
from .journal import Entry, Journal
from .processes import register
from .retrying import RetryPolicy
from .steps import Disk, Pause, Send, Steps, T, Trouble
from .values import Admission, Settlement, usd_text

log = logging.getLogger("tollgate_client")

LOOK_SECONDS = 0.25  # how soon the background notices that the program ends
SHORTEST_ATTEMPT_SECONDS = 1.0


class Doing(Protocol):
    def run(self, steps: Steps[T]) -> T: ...


@dataclass(slots=True, eq=False)
class Delivery:
    """A settlement on its way. `until`: when it is given up, by the monotonic clock; None: never,
    as the journal has it. `mine`: of this process, not one that an earlier process left.
    `fallback`: dollars to settle at where the service does not take the usage."""

    entry: Entry
    until: float | None
    arrived: Callable[[Settlement], None]
    fallback: Decimal | None = None
    journaled: bool = False
    kept: bool = True
    mine: bool = True
    attempts: int = 0
    due: float = 0.0

    @property
    def cost(self) -> str:
        body = self.entry.body
        return f"${body['costUsd']}" if "costUsd" in body else f"{body.get('usage')}"

    def is_given_up(self, at: float) -> bool:
        return self.until is not None and at >= self.until


@dataclass(slots=True, eq=False)
class Withdrawal:
    """A start whose caller is gone before its answer. It is asked once more with its key, and the
    run that it got is cancelled: nothing was spent in it."""

    body: Mapping[str, Any]
    key: str
    until: float
    entry_of: Callable[[str], Entry]
    mine: bool = True
    attempts: int = 0
    due: float = 0.0


class Settler:
    """Sends the settlements of one client. `wait` (seconds) is how long leaving a run, and the end
    of the program, wait for them; 0 leaves them to the background at once. `journal_first`: they
    are on disk before they are sent, and not only once that has failed."""

    def __init__(
        self,
        sender: Doing,
        *,
        retry: RetryPolicy,
        wait: float,
        journal: Journal | None,
        journal_first: bool,
        token: str,
        ended: Callable[[Settlement], None],
    ) -> None:
        self._sender = sender
        self._retry = retry
        self.wait = wait
        self._journal = journal
        self._journal_first = journal_first
        self._token = token
        self._ended = ended
        self._start_anew()
        register(self)

    def _start_anew(self) -> None:
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self._queue: list[Delivery | Withdrawal] = []
        self._thread: threading.Thread | None = None
        self._give_up_at: float | None = None
        self._looked = self._journal is None

    def renew_after_fork(self) -> None:
        """The parent's settlements are the parent's to send."""
        self._start_anew()

    @property
    def has_looked(self) -> bool:
        """Whether nothing of earlier processes is left to look for."""
        return self._looked

    @property
    def is_busy(self) -> bool:
        """Whether something of this process is in the background. Takes no lock."""
        return any(work.mine for work in list(self._queue))

    def settling(
        self, delivery: Delivery, *, wait: float | None = None, journal_first: bool = False
    ) -> Steps[Settlement]:
        """Send it, for `wait` seconds at most (None: as the client has it), then in the background.

        A delivery that is not `kept` is neither journaled nor left to the background. Raises
        Unavailable where it has not arrived yet, another TollgateError where the service does not
        take it.
        """
        try:
            if delivery.kept and (journal_first or self._journal_first):
                yield Disk(lambda: self._write(delivery))
            ends = time.monotonic() + (self.wait if wait is None else wait)
            if delivery.until is not None:
                ends = min(ends, delivery.until)
            trouble = "it is sent in the background"
            while (left := ends - time.monotonic()) > 0:
                try:
                    return (
                        yield from self._sending(
                            delivery, seconds=max(left, SHORTEST_ATTEMPT_SECONDS)
                        )
                    )
                except Unavailable as error:
                    trouble = str(error)
                except TollgateError:
                    raise
                except Exception as error:  # a bug here is no reason to fail what was paid for
                    log.exception("run %s is not settled yet", delivery.entry.run_id)
                    trouble = repr(error)
                    delivery.due = ends
                if delivery.due >= ends or self._closed.is_set():
                    break
                yield Pause(max(0.0, delivery.due - time.monotonic()))
        except TollgateError:
            raise
        except BaseException:  # Ctrl-C, a cancelled task: the program goes, the settlement stays
            if delivery.kept:
                self._hand_over(delivery)
            raise
        if delivery.kept:
            self._hand_over(delivery)
        raise Unavailable(f"the settlement has not arrived: {trouble}")

    def hand_over(self, work: Delivery | Withdrawal) -> None:
        """Leave it to the background."""
        self._hand_over(work)

    def _write(self, delivery: Delivery) -> bool:
        if self._journal and not delivery.journaled and self._journal.write(delivery.entry):
            delivery.journaled, delivery.until = True, None
        return delivery.journaled

    def resume(self) -> None:
        """Send what earlier processes left in the journal, in the background; once in a process."""
        if self._looked or self._journal is None:
            return
        self._looked = True
        known = {each.entry.name for each in self._queue if isinstance(each, Delivery)}
        for entry in self._journal.entries():
            if entry.name not in known:
                log.info("run %s: its settlement is in the journal", entry.run_id)
                self._hand_over(
                    Delivery(entry, None, lambda settlement: None, journaled=True, mine=False)
                )

    def waiting(self, run_id: str) -> Entry | None:
        """The settlement of this run that has not arrived yet, whoever wrote it."""
        with self._changed:
            entries = [each.entry for each in self._queue if isinstance(each, Delivery)]
        if self._journal:
            entries += self._journal.entries()
        return next((entry for entry in entries if entry.run_id == run_id), None)

    def flush(self, within: float | None = None) -> int:
        """Wait until everything has arrived, for `within` seconds at most (None: as the client has
        it). Returns how many settlements of this process have not."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._pending(), self.wait if within is None else within
            )
            return self._pending()

    def close(self, *, wait: bool = True) -> None:
        """Flush, and let the background end; what it leaves undone is logged. `wait` False leaves
        it to the background, which ends by itself."""
        if not wait and self._pending():
            return
        self.flush()
        self._closed.set()
        with self._changed:
            self._give_up_at = time.monotonic()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self.wait)

    def _pending(self) -> int:
        return sum(1 for work in self._queue if work.mine)

    def _sending(self, delivery: Delivery, *, seconds: float | None = None) -> Steps[Settlement]:
        """One attempt. Raises Unavailable where another may fare better."""
        delivery.attempts += 1
        entry = delivery.entry
        path = f"/api/work-orders/runs/{quote(entry.run_id, safe='')}/finish"
        pause: float | None = None
        try:
            answer = yield Send(path, dict(entry.body), None, seconds)
            if not answer.is_success:
                pause = retry_after(answer)
                raise failure(answer)
            settlement = parsed(Settlement.parse, answer)
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
            if error.status == 400 and delivery.fallback is not None and "usage" in entry.body:
                yield from self._fall_back(delivery, error)
            self._refused(delivery, error)
            raise
        if self._journal and delivery.journaled:
            self._journal.remove(delivery.entry)
        delivery.arrived(settlement)
        self._ended(settlement)
        return settlement

    def _fall_back(self, delivery: Delivery, error: InvalidRequest) -> Steps[None]:
        """Usage that the service does not take must not leave the run open: it costs the
        reservation. Raises Unavailable, to send that."""
        entry, amount = delivery.entry, delivery.fallback or Decimal(0)
        log.error(
            "run %s: the service does not take the usage %s (%s); it is settled at its reservation",
            *(entry.run_id, delivery.cost, error),
        )
        body = {"status": entry.body["status"], "costUsd": usd_text(amount)}
        delivery.entry, delivery.fallback = replace(entry, body=body), None
        if delivery.journaled:
            delivery.journaled = False
            yield Disk(lambda: self._write(delivery))
        delivery.due = time.monotonic()
        raise Unavailable("the usage was not accepted") from error

    def _withdrawing(self, work: Withdrawal) -> Steps[Delivery | None]:
        """One attempt: the cancellation of the run, or None where none was admitted. Raises
        Unavailable where another attempt may fare better."""
        work.attempts += 1
        pause: float | None = None
        try:
            answer = yield Send(START, work.body, work.key)
            if not answer.is_success:
                pause = retry_after(answer)
                raise failure(answer)
            admission = parsed(lambda data: Admission.parse(data, replayed=False), answer)
        except (Trouble, Unavailable) as error:
            work.due = time.monotonic() + self._retry.pause(
                attempt=work.attempts, retry_after=pause
            )
            raise Unavailable(str(error)) from error
        except (Refused, InvalidRequest):
            return None
        if admission.status != "running":
            return None
        return Delivery(work.entry_of(admission.run_id), work.until, lambda settlement: None)

    def _refused(self, delivery: Delivery, error: Refused | InvalidRequest) -> None:
        """An answer that no retry changes. A token that may not settle it (401, 403) may be
        replaced, and what another token wrote may be unknown to this one alone (404): the journal
        keeps these for the next process."""
        kept = error.status in (401, 403) or (
            error.status == 404 and delivery.entry.token != self._token
        )
        if self._journal and delivery.journaled and not kept:
            self._journal.remove(delivery.entry)

    def _hand_over(self, work: Delivery | Withdrawal) -> None:
        with self._changed:
            self._queue.append(work)
            self._changed.notify_all()
            if self._thread is not None:
                return
            # Not a daemon: the interpreter waits for it, and it ends by itself (see _is_over).
            self._thread = threading.Thread(target=self._work, name="tollgate-settlements")
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is ending already
                self._thread = None
                self._queue.remove(work)
                self._lost(work, "the program ends")

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
                work = min(due, key=lambda each: each.due)
            if self._attempt(work):
                with self._changed:
                    self._queue.remove(work)
                    self._changed.notify_all()
        for each in left:
            self._lost(each, "there was no more time")

    def _is_over(self, now: float) -> bool:
        if self._give_up_at is None and not threading.main_thread().is_alive():
            self._give_up_at = now + self.wait
        if not self._queue:
            return True
        ending = self._give_up_at is not None
        return ending and (not self._pending() or now >= (self._give_up_at or 0.0))

    def _attempt(self, work: Delivery | Withdrawal) -> bool:
        """Whether it is done with, one way or the other."""
        try:
            if isinstance(work, Withdrawal):
                return self._attempt_withdrawal(work)
            self._write(work)
            self._sender.run(self._sending(work))
        except Unavailable as error:
            if work.until is not None and work.due >= work.until:
                self._lost(work, str(error))
                return True
            return False
        except TollgateError as error:
            log.error(  # noqa: TRY400  (expected: no traceback)
                "%s was not settled: %s", self._named(work), error
            )
        except Exception:  # a bug must not end the others
            log.exception("%s was not settled", self._named(work))
        else:
            log.info("%s is settled", self._named(work))
        return True

    def _attempt_withdrawal(self, work: Withdrawal) -> bool:
        cancellation = self._sender.run(self._withdrawing(work))
        if cancellation is not None:
            with self._changed:
                self._queue.append(cancellation)
        return True

    @staticmethod
    def _named(work: Delivery | Withdrawal) -> str:
        if isinstance(work, Withdrawal):
            return f"a start of {work.body.get('workOrderId')} that was cancelled"
        return f"run {work.entry.run_id} at {work.cost}"

    def _lost(self, work: Delivery | Withdrawal, why: str) -> None:
        if isinstance(work, Withdrawal):
            log.warning("%s may be open until its lease ends: %s", self._named(work), why)
        elif self._write(work):
            log.warning(
                "run %s: its settlement at %s stays in the journal (%s)",
                *(work.entry.run_id, work.cost, why),
            )
        else:
            log.error(
                "run %s was not settled at %s, and is at its reservation when its lease ends: %s",
                *(work.entry.run_id, work.cost, why),
            )
