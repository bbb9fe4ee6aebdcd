"""A Tollgate for programs made of threads."""

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import quote

from .asks import Ask
from .base import BaseClient, RunOptions, finish_cost
from .core import Pages
from .runs import Run
from .sending import in_event_loop
from .settling import Delivery
from .values import Admission, Decision, Extension, Money, Settlement


class Tollgate(BaseClient):
    __doc__ = f"""{BaseClient.__doc__}
    Safe to share between threads, and to inherit over a fork: the child gets connections of its
    own. It waits for its answers, so it is not for the thread of an event loop: `AsyncTollgate` is.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End waiting retries (they raise Unavailable), flush settlements, close connections."""
        self._end_waits()
        self.settler.close(wait=not in_event_loop())
        self.sender.close()

    def run(self, work_order_id: str, **options: Unpack[RunOptions]) -> Run:
        """A run to be entered with `with`: entering asks, leaving settles. See `RunOptions`.

        Entering raises Refused, AlreadyEnded, Unavailable or InvalidRequest.
        """
        return Run(self, self.plan(work_order_id, options))

    def start(self, ask: Ask, *, key: str = "") -> tuple[Admission, float]:
        """Ask, without a run to enter: the admission, and the lease in seconds. Refusals are raised
        at once.

        Where an earlier request with `key` was admitted, the answer says what that run is now
        (`replayed`, `status`); without one this request gets a fresh key.
        """
        return self.do(self.core.start(ask, key=key))

    def dry_run(self, work_order_id: str, **options: Unpack[RunOptions]) -> Decision:
        """What a start would be answered now. Nothing is written."""
        return self.do(self.core.dry_run(self.plan(work_order_id, options).ask))

    def extend(
        self,
        run_id: str,
        *,
        additional_usd: Money | None = None,
        lease_seconds: int | None = None,
        within: float | None = None,
    ) -> tuple[Extension, float]:
        """More money or more time for a run; retried for `within` seconds at most."""
        self.check_holder(run_id)
        return self.do(
            self.core.extend(
                run_id, additional_usd=additional_usd, lease_seconds=lease_seconds, within=within
            )
        )

    def finish(
        self,
        run_id: str,
        *,
        status: str,
        cost_usd: Money | None = None,
        usage: Any = None,
        within: float | None = None,
    ) -> Settlement:
        """Settle a run. Sending the same again is safe: the service gives the same answer.

        Sent until it arrives, for `within` seconds at most (None: `RetryPolicy.total`); raises
        Unavailable where it has not by then, Refused or InvalidRequest where it is not taken, and
        RuntimeError where another process entered this run.
        """
        self.check_holder(run_id)
        wait = self._retry.total if within is None else within
        entry = self.entry(run_id, status=status, cost=finish_cost(cost_usd, usage))
        delivery = Delivery(entry, time.monotonic() + wait, lambda settlement: None, kept=False)
        return self.do(self.settler.settling(delivery, wait=wait))

    def work_orders(self) -> Iterator[Mapping[str, Any]]:
        """All work orders the token may see (scope `read`), as the service has them."""
        return self._pages("/api/work-orders?limit=200")

    def runs(self, work_order_id: str) -> Iterator[Mapping[str, Any]]:
        """The runs of a work order, newest first (scope `read`), read page by page."""
        return self._pages(f"/api/work-orders/{quote(work_order_id, safe='')}/runs?limit=200")

    def _pages(self, path: str) -> Iterator[Mapping[str, Any]]:
        pages = Pages(path)
        while pages.following:
            yield from self.do(self.core.page(pages))
