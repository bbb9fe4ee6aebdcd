"""A Tollgate for programs made of tasks."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import quote

from .asks import Ask
from .async_runs import AsyncRun
from .base import BaseClient, RunOptions, finish_cost
from .core import Pages
from .settling import Delivery
from .values import Admission, Decision, Extension, Money, Settlement


class AsyncTollgate(BaseClient):
    __doc__ = f"""{BaseClient.__doc__}
    For event loops of asyncio: nothing here blocks one. Safe to share between tasks; each loop has
    connections of its own. What has not arrived when a loop ends is sent by a background thread.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End waiting retries (they raise Unavailable), flush settlements, close connections."""
        self._end_waits()
        await self.async_sender.close()
        await asyncio.to_thread(self.settler.close)
        self.sender.close()

    async def aflush(self, within: float | None = None) -> int:
        """As `flush`, which would block the loop."""
        return await asyncio.to_thread(self.flush, within)

    def run(self, work_order_id: str, **options: Unpack[RunOptions]) -> AsyncRun:
        """A run to be entered with `async with`: entering asks, leaving settles. See `RunOptions`.

        Entering raises Refused, AlreadyEnded, Unavailable or InvalidRequest.
        """
        return AsyncRun(self, self.plan(work_order_id, options))

    async def start(self, ask: Ask, *, key: str = "") -> tuple[Admission, float]:
        """As `Tollgate.start`."""
        return await self.do_async(self.core.start(ask, key=key))

    async def dry_run(self, work_order_id: str, **options: Unpack[RunOptions]) -> Decision:
        """What a start would be answered now. Nothing is written."""
        return await self.do_async(self.core.dry_run(self.plan(work_order_id, options).ask))

    async def extend(
        self,
        run_id: str,
        *,
        additional_usd: Money | None = None,
        lease_seconds: int | None = None,
        within: float | None = None,
    ) -> tuple[Extension, float]:
        """More money or more time for a run; retried for `within` seconds at most."""
        self.check_holder(run_id)
        return await self.do_async(
            self.core.extend(
                run_id, additional_usd=additional_usd, lease_seconds=lease_seconds, within=within
            )
        )

    async def finish(
        self,
        run_id: str,
        *,
        status: str,
        cost_usd: Money | None = None,
        usage: Any = None,
        within: float | None = None,
    ) -> Settlement:
        """As `Tollgate.finish`."""
        self.check_holder(run_id)
        wait = self._retry.total if within is None else within
        entry = self.entry(run_id, status=status, cost=finish_cost(cost_usd, usage))
        delivery = Delivery(entry, time.monotonic() + wait, lambda settlement: None, kept=False)
        return await self.do_async(self.settler.settling(delivery, wait=wait))

    def work_orders(self) -> AsyncIterator[Mapping[str, Any]]:
        """All work orders the token may see (scope `read`), as the service has them."""
        return self._pages("/api/work-orders?limit=200")

    def runs(self, work_order_id: str) -> AsyncIterator[Mapping[str, Any]]:
        """The runs of a work order, newest first (scope `read`), read page by page."""
        return self._pages(f"/api/work-orders/{quote(work_order_id, safe='')}/runs?limit=200")

    async def _pages(self, path: str) -> AsyncIterator[Mapping[str, Any]]:
        pages = Pages(path)
        while pages.following:
            for each in await self.do_async(self.core.page(pages)):
                yield each
