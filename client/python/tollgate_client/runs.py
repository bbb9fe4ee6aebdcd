"""A paid piece of work as a context manager."""

import ctypes
import logging
import os
import threading
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .base_run import BaseRun, Plan
from .errors import StopRun, TollgateError
from .lease import Lease
from .sending import in_event_loop, refuse_event_loop
from .values import Admission, Extension, Money, Usage

if TYPE_CHECKING:
    from .base import BaseClient

log = logging.getLogger("tollgate_client")


class Run(BaseRun):
    """One run, from its admission to its settlement.

    Entering asks the service. Inside, `spent` adds what each call cost, `extend` asks for more,
    `checkpoint` raises StopRun once the work has to stop. Leaving settles:

    | how the block ends | status | cost |
    |---|---|---|
    | normally | `success` | as reported, else the reservation (with a warning in the log) |
    | with an exception | `error` | as reported, else the reservation: it may have been spent |
    | cancelled, interrupted, terminated | `cancelled` | the same |
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

    **Stopping.** The lease is renewed in the background. When the service says that the run may not
    go on, `stopped` becomes true, and every `checkpoint()` and `extend()` in the work raises
    StopRun; leaving raises it again where something swallowed it. That is enough for work made of
    steps. With `interrupt=True` StopRun is also raised asynchronously in the thread that entered
    the run, between two bytecodes of whatever it does: it can surface anywhere, inside a `finally`
    too, it does not end a call that is blocked in C (a socket read, `time.sleep`) before that
    returns, and only CPython has it. In the very instant of leaving it can keep the run from being
    settled here; its lease is not renewed any more, so the service settles it at the reservation.
    So it is opt-in, and for the main thread only.
    """

    def __init__(self, client: "BaseClient", plan: Plan) -> None:
        super().__init__(client, plan)
        self._thrown = False
        self._owner = 0
        self._done = threading.Event()

    def extend(
        self, additional_usd: Money | None = None, *, lease_seconds: int | None = None
    ) -> Extension:
        """Reserve more before spending more. Raises Refused (the run goes on with what it has),
        StopRun (it does not), or Unavailable (unknown: do not spend more)."""
        return self._client.do(self._extending(additional_usd, lease_seconds))

    def __enter__(self) -> Self:
        if self._admission is not None:
            raise RuntimeError("a run is entered once; ask for another one")
        refuse_event_loop()
        if self._plan.interrupt and threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "interrupt=True works in the main thread only: use run.checkpoint() in this one"
            )
        self._client.begin(self)
        admission: Admission | None = None
        try:
            admission, seconds = self._client.do(self._asking())
            self._begin(admission, seconds)
        except BaseException as error:  # nobody leaves what was not entered
            if admission is not None:
                self._leave()
                self._give_back(admission)
            elif self._may_be_open(error):
                self._client.withdraw(self.ask, key=self._sent_key)
            self._client.release(self)
            raise
        return self

    def _begin(self, admission: Admission, seconds: float) -> None:
        self._enter_with(admission)
        self._owner = threading.get_ident()
        self._lease = lease = Lease(seconds=seconds, renew=self._renew, stop=self.stop)

        def keep() -> None:
            self._client.sender.run(lease.keep(), pause=self._done.wait)

        threading.Thread(target=keep, name=f"tollgate-lease-{self.id}", daemon=True).start()

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
        in_loop = in_event_loop()  # leaving must not stop a loop, nor fail
        try:
            steps = self._outcome(error, may_ask=not in_loop)
            status, cost = self._client.sender.run(steps)
            try:
                self._settle(status, cost, wait=0.0 if in_loop else None, error=error)
            except TollgateError as trouble:
                if self._not_settled(trouble, status, cost, error):
                    raise
        finally:
            self._client.release(self)
        stop = self._stop_to_raise(error)
        if stop is not None:
            raise stop from error

    def _settle(
        self, status: str, cost: Decimal | Usage, *, wait: float | None, error: BaseException | None
    ) -> None:
        client = self._client
        lease = self._lease.left if self._lease else 0.0
        client.sender.run(
            client.settler.settling(
                client.delivery(self, status, cost, lease=lease),
                wait=client.wait_of(error, status) if wait is None else wait,
                journal_first=self._plan.journal,
            )
        )

    def stop(self, reason: str, error: str) -> None:
        super().stop(reason, error)
        with self._lock:
            interrupts = self._plan.interrupt and reason != "terminated"  # that has SystemExit
            if interrupts and not self._left and not self._thrown:
                self._thrown = _throw(self._owner, _interruption(reason, error))

    def _leave(self) -> None:
        """No StopRun is thrown from here on; one that is on its way is taken back."""
        with self._lock:
            self._left = True
            if self._thrown:
                _throw(self._owner, None)
        self._leave_context()
        self._done.set()


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
