"""A paid piece of work as a context manager."""

import ctypes
import logging
import threading
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .asks import Ask
from .errors import InvalidRequest, Refused, StopRun, TollgateError
from .lease import LeaseKeeper, must_stop, stop_reason
from .values import Admission, Extension, Money, Settlement, Usage, usd

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
    | normally | `success` | as told, else the reservation (with a warning in the log) |
    | with an exception | `error` | as told, else the reservation: it may have been spent |
    | after `cancel()` | `cancelled` | nothing was spent |

    A settlement that fails is raised where the block ended normally (a start is never undone by
    that: the lease runs out and the reservation is settled); with an exception under way it only
    adds a note to that one.

    **Stopping.** A background thread renews the lease. When the service says that the run may not
    go on, `stopped` becomes true, and every `checkpoint()` and `extend()` in the work raises
    StopRun. That is enough for work made of steps. With `interrupt=True` StopRun is also raised
    asynchronously in the thread that entered the run, between two bytecodes of whatever it does:
    it can surface anywhere, inside a `finally` too, it does not end a call that is blocked in C
    (a socket read, `time.sleep`) before that returns, and only CPython has it. In the very instant
    of leaving it can keep the run from being settled here; its lease is not renewed any more, so
    the service settles it at the reservation. So it is opt-in.
    """

    def __init__(self, client: "Tollgate", ask: Ask, *, key: str, interrupt: bool) -> None:
        self.ask = ask
        self.settlement: Settlement | None = None
        self._client = client
        self._key = key
        self._interrupt = interrupt
        self._admission: Admission | None = None
        self._reserved = Decimal(0)
        self._cost: Decimal | Usage | None = None
        self._cancelled = False
        self._lock = threading.Lock()
        self._stop: StopRun | None = None
        self._left = False
        self._thrown = False
        self._owner = 0
        self._keeper: LeaseKeeper | None = None

    def __repr__(self) -> str:
        state = self._admission.run_id if self._admission else "not started"
        return f"Run({self.ask.work_order_id!r}, {state})"

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
        return self._stop is not None

    def settle(self, *, cost_usd: Money | None = None, usage: Usage | None = None) -> None:
        """Say what the run cost so far, in dollars or in tokens. It is sent on leaving.

        The last call counts, so that long work can say it step by step. Raises ValueError unless
        exactly one of the two is given.
        """
        if (cost_usd is None) == (usage is None):
            raise ValueError("settle takes either cost_usd or usage")
        self._cost = usage if cost_usd is None else usd(cost_usd)

    def cancel(self) -> None:
        """Say that nothing was spent: on leaving, the whole reservation is given back."""
        self._cancelled = True

    def checkpoint(self) -> None:
        """Raise StopRun if the work has to stop. Call it between steps that cost money."""
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
        self._admission, seconds = self._client.start(self.ask, key=self._key)
        self._reserved = self._admission.reserved_usd
        self._owner = threading.get_ident()
        self._keeper = LeaseKeeper(
            name=f"tollgate-lease-{self.id}",
            seconds=seconds,
            renew=self._renew,
            stop=self._told_to_stop,
        )
        self._keeper.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._leave()
        except StopRun:  # Thrown in the last moment; there is never a second one.
            self._leave()
        try:
            self.settlement = self._finish(failed=error is not None)
        except TollgateError as trouble:
            if error is None and self._stop is None:
                raise
            log.warning("run %s was not settled: %s", self.id, trouble)
            if error is not None:
                error.add_note(f"Tollgate run {self.id} was not settled: {trouble}")

    def _finish(self, *, failed: bool) -> Settlement:
        if self._cancelled:
            return self._client.finish(self.id, status="cancelled", cost_usd=0)
        status = "error" if failed else "success"
        if isinstance(self._cost, Usage):
            return self._client.finish(self.id, status=status, usage=self._cost)
        if self._cost is None:
            log.warning("run %s told no cost and is settled at its reservation", self.id)
        cost = self._reserved if self._cost is None else self._cost
        return self._client.finish(self.id, status=status, cost_usd=cost)

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
