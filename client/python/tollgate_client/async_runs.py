"""A paid piece of work as an asynchronous context manager."""

import asyncio
import logging
import os
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .base_run import BaseRun, Plan, Status
from .errors import TollgateError
from .lease import Lease
from .settling import Delivery
from .values import Admission, Extension, Money, Usage

if TYPE_CHECKING:
    from .base import BaseClient

log = logging.getLogger("tollgate_client")

Entry = tuple[Admission, float]


class AsyncRun(BaseRun):
    """As `Run`, for a task: `async with tollgate.run(...) as run:`.

    The lease is renewed by a task. Where the caller is cancelled while it enters, the run that it
    may get is cancelled at no cost, and no lease is kept. Where it is cancelled inside the block,
    leaving settles what was spent with the status `cancelled`, and then the cancellation goes on;
    if that takes more than five seconds, or the loop ends, a background thread has it.

    With `interrupt=True` a stop cancels the task that entered the run, wherever it waits, and
    leaving the block turns that cancellation into StopRun, as `asyncio.timeout` does.
    """

    def __init__(self, client: "BaseClient", plan: Plan) -> None:
        super().__init__(client, plan)
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._interrupted = False
        self._cancelling = 0
        self._given_back = False

    async def extend(
        self, additional_usd: Money | None = None, *, lease_seconds: int | None = None
    ) -> Extension:
        """Reserve more before spending more. Raises Refused (the run goes on with what it has),
        StopRun (it does not), or Unavailable (unknown: do not spend more)."""
        return await self._client.do_async(self._extending(additional_usd, lease_seconds))

    async def __aenter__(self) -> Self:
        if self._admission is not None:
            raise RuntimeError("a run is entered once; ask for another one")
        self._client.begin(self)
        asked = asyncio.ensure_future(self._ask())
        try:
            admission, seconds = await asyncio.shield(asked)
            self._enter_with(admission)
        except BaseException:
            if not self._plan.key:
                asked.cancel()  # the background asks what became of it, if anything did
            asked.add_done_callback(self._not_entered)
            if asked.done():
                self._not_entered(asked)
            raise
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0
        self._lease = Lease(seconds=seconds, renew=self._renew, stop=self.stop)
        self._keeper = asyncio.ensure_future(self._client.async_sender.run(self._lease.keep()))
        return self

    async def _ask(self) -> Entry:
        client = self._client
        try:
            return await client.do_async(self._asking())
        except BaseException as error:  # nobody waits for it any more, or its answer was lost
            if self._may_be_open(error):
                client.withdraw(self.ask, key=self._sent_key)
            raise

    def _not_entered(self, asked: "asyncio.Future[Entry]") -> None:
        """The caller is gone, and the answer is there."""
        if not asked.cancelled() and asked.exception() is None and not self._given_back:
            self._given_back = True
            self._give_back(asked.result()[0])
        self._client.release(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process != os.getpid():
            log.info("run %s is settled by process %d, which entered it", self.id, self._process)
            return
        self._leave()
        interrupted = False
        if self._interrupted and self._task is not None:
            is_ours = self._task.uncancel() <= self._cancelling
            interrupted = is_ours and isinstance(error, asyncio.CancelledError)
        left = asyncio.ensure_future(self._settle(error, interrupted=interrupted))
        try:
            try:
                await asyncio.shield(left)
            except asyncio.CancelledError:
                # An interruption that the block did not see any more (Python 3.11 and 3.12).
                if left.cancelled() or not self._interrupted or interrupted:
                    raise
                await asyncio.shield(left)
        finally:
            if left.done():
                self._client.release(self)
            else:  # cancelled once more: it goes on by itself
                left.add_done_callback(self._settled_late)
        stop = self._new_stop() if interrupted else self._stop_to_raise(error)
        if stop is not None:
            raise stop from error

    async def _settle(self, error: BaseException | None, *, interrupted: bool) -> None:
        client = self._client
        cause = self._new_stop() if interrupted else error
        try:
            status, cost = await client.async_sender.run(self._outcome(cause, may_ask=True))
        except asyncio.CancelledError:  # the loop ends while prices are asked for
            status, cost = client.sender.run(self._outcome(cause, may_ask=False))
            client.settler.hand_over(self._delivery(status, cost))
            raise
        try:
            await client.async_sender.run(
                client.settler.settling(
                    self._delivery(status, cost),
                    wait=client.wait_of(error, status),
                    journal_first=self._plan.journal,
                )
            )
        except TollgateError as trouble:
            if self._not_settled(trouble, status, cost, error):
                raise

    def _delivery(self, status: Status, cost: Decimal | Usage) -> Delivery:
        lease = self._lease.left if self._lease else 0.0
        return self._client.delivery(self, status, cost, lease=lease)

    def _settled_late(self, left: "asyncio.Future[None]") -> None:
        self._client.release(self)
        if not left.cancelled() and (trouble := left.exception()) is not None:
            log.error("run %s: %s", self.id, trouble)

    def stop(self, reason: str, error: str) -> None:
        super().stop(reason, error)
        if self._plan.interrupt and self._loop is not None:
            self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        if self._task is not None and not self._left and not self._interrupted:
            self._interrupted = True
            self._task.cancel()

    def _leave(self) -> None:
        self._left = True
        self._leave_context()
        if self._keeper is not None:
            self._keeper.cancel()
