"""A paid piece of work as a context manager."""

import ctypes
import logging
import os
import threading
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .asks import Ask
from .errors import AlreadyEnded, InvalidRequest, Refused, StopRun, TollgateError, Unavailable
from .lease import LeaseKeeper, must_stop, stop_reason
from .processes import belongs_to
from .sending import in_event_loop, refuse_event_loop
from .values import Admission, Extension, Money, Settlement, Usage, usd, usd_text

if TYPE_CHECKING:
    from .client import Tollgate

log = logging.getLogger("tollgate_client")

DEFAULT_LEASE_SECONDS = 900


class Run:
    """One run, from its admission to its settlement.

    Entering asks the service. Inside, `settle` says what it cost so far (the last word counts),
    `extend` asks for more, `checkpoint` raises StopRun once the work has to stop. Leaving settles:

    | how the block ends | status | cost |
    |---|---|---|
    | normally | `success` | as settled, else the reservation (with a warning in the log) |
    | with an exception | `error` | as settled, else the reservation: it may have been spent |
    | after `cancel()` | `cancelled` | nothing was spent |

    **Settling.** Leaving waits for the settlement to arrive (`settle_wait` of the client), and then
    leaves it to the background, which sends it for as long as the lease lives, and to the journal.
    Work that is done and paid for does not fail because of it: what goes wrong is logged with the
    run and its cost, and `settlement` stays None until the service has answered. With
    `on_settle_error="raise"` it is raised where the block ended normally. An exception of the block
    itself always wins, and gets a note.

    **Processes.** A run belongs to the process that entered it. In a child that was forked inside
    the block, leaving does nothing, and everything else raises RuntimeError.

    **Entering again.** With an idempotency key whose run was admitted before, entering renews the
    lease of that run and goes on with it. It raises AlreadyEnded where the run is over, and Refused
    where it may not go on; the run is then settled by whoever holds it, or by the end of its lease.

    **Stopping.** A background thread renews the lease. When the service says that the run may not
    go on, `stopped` becomes true, and every `checkpoint()` and `extend()` in the work raises
    StopRun. That is enough for work made of steps. With `interrupt=True` StopRun is also raised
    asynchronously in the thread that entered the run, between two bytecodes of whatever it does:
    it can surface anywhere, inside a `finally` too, it does not end a call that is blocked in C
    (a socket read, `time.sleep`) before that returns, and only CPython has it. In the very instant
    of leaving it can keep the run from being settled here; its lease is not renewed any more, so
    the service settles it at the reservation. So it is opt-in, and for the main thread only.
    """

    def __init__(
        self, client: "Tollgate", ask: Ask, *, key: str, interrupt: bool, raises: bool
    ) -> None:
        self.ask = ask
        self.settlement: Settlement | None = None
        self._client = client
        self._key = key
        self._interrupt = interrupt
        self._raises = raises
        self._admission: Admission | None = None
        self._reserved = Decimal(0)
        self._cost: Decimal | Usage | None = None
        self._cancelled = False
        self._lock = threading.Lock()
        self._stop: StopRun | None = None
        self._left = False
        self._thrown = False
        self._owner = 0
        self._process = 0
        self._keeper: LeaseKeeper | None = None

    def __repr__(self) -> str:
        state = self._admission.run_id if self._admission else "not started"
        return f"Run({self.ask.work_order_id!r}, {state})"

    def __reduce__(self) -> Any:
        raise TypeError("a run belongs to the process that entered it: pass its id to another one")

    @property
    def admission(self) -> Admission:
        """The service's answer. Raises RuntimeError before the run was entered."""
        if self._admission is None:
            raise RuntimeError("the run was not started: use it in a with statement")
        return self._admission

    @property
    def started(self) -> bool:
        """Whether the service admitted it."""
        return self._admission is not None

    @property
    def id(self) -> str:
        return self.admission.run_id

    @property
    def reserved_usd(self) -> Decimal:
        """What the run may spend: the first reservation and all extensions."""
        return self._reserved

    @property
    def stopped(self) -> bool:
        """Whether the work has to stop. Cheap: reads a variable."""
        self._check_process()
        return self._stop is not None

    def settle(self, *, cost_usd: Money | None = None, usage: Usage | None = None) -> None:
        """Say what the run cost so far, in dollars or in tokens. It is sent on leaving.

        The last call counts, so that long work can say it step by step. Raises ValueError unless
        exactly one of the two is given.
        """
        if (cost_usd is None) == (usage is None):
            raise ValueError("settle takes either cost_usd or usage")
        self._check_process()
        self._cost = usage if cost_usd is None else usd(cost_usd)

    def cancel(self) -> None:
        """Say that nothing was spent: on leaving, the whole reservation is given back."""
        self._check_process()
        self._cancelled = True

    def checkpoint(self) -> None:
        """Raise StopRun if the work has to stop. Call it between steps that cost money."""
        self._check_process()
        if self._stop is not None:
            raise self._stop

    def extend(
        self, additional_usd: Money | None = None, *, lease_seconds: int | None = None
    ) -> Extension:
        """Reserve more before spending more. Raises Refused (the run goes on with what it has),
        StopRun (it does not), or Unavailable (unknown: do not spend more)."""
        self.checkpoint()
        try:
            extension, _ = self._client.extend(
                self.id, additional_usd=additional_usd, lease_seconds=lease_seconds
            )
        except (Refused, InvalidRequest) as error:
            if must_stop(error):
                self._told_to_stop(stop_reason(error), error.error, throw=False)
                self.checkpoint()
            raise
        self._reserved = extension.reserved_usd
        return extension

    def __enter__(self) -> Self:
        if self._admission is not None:
            raise RuntimeError("a run is entered once; ask for another one")
        refuse_event_loop()
        if self._interrupt and threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "interrupt=True works in the main thread only: use run.checkpoint() in this one"
            )
        admission, seconds = self._client.start(self.ask, key=self._key)
        if admission.replayed:
            admission, seconds = self._take_up(admission)
        self._admission = admission
        self._reserved = admission.reserved_usd
        self._owner = threading.get_ident()
        self._process = os.getpid()
        self._client.hold(self.id)
        self._keeper = LeaseKeeper(
            name=f"tollgate-lease-{self.id}",
            seconds=seconds,
            renew=self._renew,
            stop=self._told_to_stop,
        )
        self._keeper.start()
        return self

    def _take_up(self, replay: Admission) -> tuple[Admission, float]:
        """Go on with a run that was admitted before: only where it is running now."""
        if replay.status != "running":
            raise AlreadyEnded.of(replay)
        waiting = self._client.undelivered(replay.run_id)
        if waiting is not None:  # the work is done, and its settlement on its way
            cost = waiting.body.get("costUsd")
            raise AlreadyEnded(
                run_id=replay.run_id,
                status=str(waiting.body.get("status")),
                cost_usd=None if cost is None else usd(cost),
            )
        try:
            extension, seconds = self._client.extend(
                replay.run_id, lease_seconds=self.ask.lease_seconds
            )
        except (Refused, InvalidRequest) as error:
            if error.status in (404, 409) and stop_reason(error) == "finished":
                now, _ = self._client.start(self.ask, key=self._key)
                raise AlreadyEnded.of(now) from error
            error.add_note(
                f"Run {replay.run_id} of this idempotency key is open, and may not go on. Whoever "
                "holds it settles it, or the end of its lease does."
            )
            raise
        admission = replace(
            replay,
            reserved_usd=extension.reserved_usd,
            lease_expires_at=extension.lease_expires_at,
        )
        return admission, seconds

    def _check_process(self) -> None:
        if self._process not in (0, os.getpid()):
            raise belongs_to(self._process, self.id)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process != os.getpid():  # before anything that a thread of the parent may hold
            log.info("run %s is settled by process %d, which entered it", self.id, self._process)
            return
        try:
            self._leave()
        except StopRun:  # Thrown in the last moment; there is never a second one.
            self._leave()
        status, cost = self._outcome(failed=error is not None)
        try:
            self._settle(status, cost)
        except TollgateError as trouble:
            amount = f"${usd_text(cost)}" if isinstance(cost, Decimal) else f"{cost}"
            late = isinstance(trouble, Unavailable)
            log.log(
                logging.WARNING if late else logging.ERROR,
                "run %s (%s) is not settled at %s%s: %s",
                *(self.id, status, amount, " yet" if late else "", trouble),
            )
            if error is not None:
                error.add_note(f"Tollgate run {self.id} is not settled at {amount}: {trouble}")
            elif self._raises:
                raise
        finally:
            self._client.release(self.id)

    def _outcome(self, *, failed: bool) -> tuple[str, Decimal | Usage]:
        if self._cancelled:
            return "cancelled", Decimal(0)
        if self._cost is None:
            log.warning("run %s reported no cost and is settled at its reservation", self.id)
        return "error" if failed else "success", (
            self._reserved if self._cost is None else self._cost
        )

    def _settle(self, status: str, cost: Decimal | Usage) -> None:
        def arrived(settlement: Settlement) -> None:
            self.settlement = settlement

        self._client.deliver(
            self.id,
            status=status,
            cost=cost,
            lease=self._keeper.left if self._keeper else 0.0,
            wait=0.0 if in_event_loop() else None,  # leaving must not stop a loop, nor fail
            arrived=arrived,
        )

    def _renew(self, within: float) -> float:
        _, seconds = self._client.extend(
            self.id, lease_seconds=self.ask.lease_seconds, within=within
        )
        return seconds

    def _told_to_stop(self, reason: str, error: str, throw: bool = True) -> None:
        with self._lock:
            if self._stop is None:
                self._stop = StopRun(reason, error)
            if throw and self._interrupt and not self._left and not self._thrown:
                self._thrown = _throw(self._owner, _interruption(reason, error))

    def _leave(self) -> None:
        """No StopRun is thrown from here on; one that is on its way is taken back."""
        with self._lock:
            self._left = True
            if self._thrown:
                _throw(self._owner, None)
        if self._keeper:
            self._keeper.end()


def _interruption(reason: str, error: str) -> type[StopRun]:
    """CPython throws a class and makes the instance itself, so the class carries the reason."""

    class Interrupted(StopRun):
        def __init__(self) -> None:
            super().__init__(reason, error)

    Interrupted.__name__ = Interrupted.__qualname__ = "StopRun"
    return Interrupted


def _throw(thread: int, kind: type[StopRun] | None) -> bool:
    """Raise in another thread, or (None) take back what was not raised yet."""
    thrown = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(kind) if kind else None
    )
    return bool(thrown)
