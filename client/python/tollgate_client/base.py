"""What `Tollgate` and `AsyncTollgate` have in common: everything but the waiting."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypedDict
from urllib.parse import urlsplit

import httpx2

from .asks import Ask, RefusalMemory, with_lease
from .async_sending import AsyncSender
from .base_run import BaseRun, Plan
from .core import DEFAULT_LEASE_SECONDS, Core
from .errors import TERMINATED, StopRun
from .governed import F, governed
from .journal import Entry, Journal, default_folder
from .metering import C, Outside, metered, metered_http
from .processes import belongs_to, register
from .retrying import RetryPolicy
from .room import Room
from .sending import Sender, in_event_loop, refuse_event_loop
from .settling import Delivery, Settler, Withdrawal
from .signals import CANCELLED_WAIT_SECONDS, terminations
from .steps import Steps, T
from .usage import usage_of
from .values import Admission, Money, Usage, usd, usd_text


class RunOptions(TypedDict, total=False):
    """What a run may be asked for with; what is left out is the service's, or the client's, to say.

    `agent`: TOLLGATE_AGENT by default. `estimated_cost_usd`, or `model` and tokens: what it may
    cost; by default what such runs have cost. `idempotency_key`: for work that may be started again
    by another process; the run is then gone on with, or AlreadyEnded is raised. `patience`: seconds
    to wait where a limit of concurrent runs or of requests is full (None: the client's, 0: not at
    all). `on_settle_error="raise"`: raise where the settlement of a block that ended normally has
    not arrived. `interrupt`: raise StopRun in the middle of the work, too.
    """

    agent: str | None
    estimated_cost_usd: Money | None
    model: str | None
    estimated_input_tokens: int | None
    estimated_output_tokens: int | None
    lease_seconds: int | None
    user_id: str | None
    surface: str | None
    feature: str | None
    confirm: bool
    idempotency_key: str | None
    patience: float | None
    interrupt: bool
    on_settle_error: Literal["journal", "raise"]


class BaseClient:
    """One service, one token. Close it, or use it in a `with` (`async with`).

    `url`, `token` and `agent` default to TOLLGATE_URL, TOLLGATE_TOKEN and TOLLGATE_AGENT. `timeout`
    (seconds) is for one attempt. `remember_refusals=False` asks the service again even where a
    refusal by a cap is known to be in force; `recheck_refusals_after` (seconds) says after how long
    it is in any case. `patience` (seconds) is how long a start waits for room under a limit of
    concurrent runs, or of requests, while nothing moves; 0 raises Refused at once.

    `settle_wait` (seconds) is how long leaving a run, and the end of the program, wait for a
    settlement to arrive before the background goes on; 0 waits for nothing. `journal` is a folder
    for settlements that have not arrived: the next client with that folder and URL sends them, in
    whatever process. With a folder (True: $XDG_STATE_HOME/tollgate) each is written before it is
    sent; None writes to the usual folder what could not be delivered, and what `governed` functions
    spend; False never writes. `exit_signals=False` leaves SIGTERM alone.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        agent: str | None = None,
        timeout: float = 5.0,
        retry: RetryPolicy | None = None,
        remember_refusals: bool = True,
        recheck_refusals_after: float = 60.0,
        patience: float = 60.0,
        max_connections: int = 100,
        settle_wait: float = 5.0,
        journal: Path | str | bool | None = None,
        exit_signals: bool = True,
    ) -> None:
        self.url = _checked_url(url or os.environ.get("TOLLGATE_URL", ""))
        token = _checked_token(token or os.environ.get("TOLLGATE_TOKEN", ""))
        self._agent = agent or os.environ.get("TOLLGATE_AGENT", "")
        self._retry = retry or RetryPolicy()
        memory = RefusalMemory(recheck_after=recheck_refusals_after) if remember_refusals else None
        self.core = Core(
            self.url,
            retry=self._retry,
            memory=memory,
            room=Room(rng=self._retry.rng),
            patience=patience,
        )
        self.sender = Sender(self.url, token, timeout=timeout, max_connections=max_connections)
        self.async_sender = AsyncSender(
            self.url, token, timeout=timeout, max_connections=max_connections
        )
        self._token_mark = hashlib.sha256(token.encode()).hexdigest()[:16]
        self._start_anew()
        self.settler = Settler(
            self.sender,
            retry=self._retry,
            wait=settle_wait,
            journal=_journal(journal, self.url),
            journal_first=bool(journal),
            token=self._token_mark,
            ended=self.core.run_ended,
        )
        register(self)
        if exit_signals:
            terminations.listen(self)
        if not in_event_loop():
            self.settler.resume()

    def _start_anew(self) -> None:
        self._holders: dict[str, int] = {}
        self._open: set[BaseRun] = set()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a Tollgate holds connections and a token: make one in each process")

    def renew_after_fork(self) -> None:
        if self.core.memory:
            self.core.memory.renew_after_fork()
        self.core.room.renew_after_fork()
        self._open = set()

    def flush(self, within: float | None = None) -> int:
        """Wait for settlements in the background, `within` seconds at most (None: `settle_wait`).

        Returns how many have not arrived. The end of the program does this as well. It does not
        wait in the thread of an event loop.
        """
        return self.settler.flush(0.0 if in_event_loop() else within)

    def forget_refusals(self, work_order_id: str | None = None) -> None:
        """Ask the service again, e.g. because somebody raised the cap."""
        if self.core.memory:
            self.core.memory.forget(work_order_id)

    def undelivered(self, run_id: str) -> Entry | None:
        """The settlement of that run which waits to be sent, here or in the journal."""
        return self.settler.waiting(run_id)

    def plan(
        self,
        work_order_id: str,
        options: RunOptions,
        *,
        journal: bool = False,
        current: bool = True,
    ) -> Plan:
        """Raises ValueError and TypeError for what no run can be asked for with."""
        given: dict[str, Any] = dict(options)
        plan = {
            "key": given.pop("idempotency_key", None) or "",
            "interrupt": given.pop("interrupt", False),
            "raises": given.pop("on_settle_error", "journal") == "raise",
            "patience": given.pop("patience", None),
        }
        agent = given.pop("agent", None) or self._agent
        if not agent:
            raise ValueError("a run needs an agent: agent=, Tollgate(agent=...) or TOLLGATE_AGENT")
        cost = given.pop("estimated_cost_usd", None)
        ask = Ask(
            work_order_id=work_order_id,
            agent=agent,
            estimated_cost_usd=None if cost is None else usd(cost),
            **given,
        )
        ask = with_lease(ask, DEFAULT_LEASE_SECONDS)
        return Plan(ask=ask, journal=journal, current=current, **plan)

    def governed(self, work_order_id: str | Callable[..., str], **options: Any) -> Callable[[F], F]:
        """Make each call of a function, a coroutine function, a generator or an asynchronous
        generator a run of its own: `@tollgate.governed("nightly-digest", model="gpt-4o")`.

        The options are those of `run`; each may be a callable, which gets the arguments of the
        call. Inside, `current_run()` is the run. A generator's run lasts until it is exhausted or
        closed. Its settlement is on disk before it is sent. Raises TypeError for an option that
        `run` does not have.
        """
        if unknown := sorted(options.keys() - RunOptions.__annotations__.keys()):
            raise TypeError(f"no options of a run: {', '.join(unknown)}")
        return governed(self, work_order_id, options)

    def meter(self, client: C, *, outside: Outside = "refuse") -> C:
        """A copy of a client of OpenAI's or Anthropic's SDK, or of `httpx2`, whose model calls are
        recorded in the current run: `client = tollgate.meter(OpenAI())`.

        A call outside of any run is answered with 403 and not sent, unless `outside="allow"`; a
        call of a run that has to stop always is. Raises TypeError for another client.
        """
        return metered(client, outside=outside)

    def http_client(self, *, outside: Outside = "refuse", **options: Any) -> httpx2.Client:
        """An HTTP client that meters, for a library that takes one; `options` are those of
        `httpx2.Client`."""
        return metered_http(httpx2.Client(**options), outside=outside, owns=True)

    def async_http_client(
        self, *, outside: Outside = "refuse", **options: Any
    ) -> httpx2.AsyncClient:
        """As `http_client`, for `httpx2.AsyncClient`."""
        return metered_http(httpx2.AsyncClient(**options), outside=outside, owns=True)

    def begin(self, run: BaseRun) -> None:
        """Note that the run is being entered: SIGTERM ends that."""
        self._open.add(run)

    def hold(self, run: BaseRun) -> None:
        """Note that this process has entered the run: no other may settle it.

        Raises StopRun where the program got SIGTERM since it was asked for."""
        self._holders[run.id] = os.getpid()
        if self.core.terminating:
            raise StopRun(*TERMINATED)

    def release(self, run: BaseRun) -> None:
        if run.started:
            self._holders.pop(run.id, None)
        self._open.discard(run)

    def terminate(self) -> bool:
        """SIGTERM: no new run is entered, and those in other threads stop at their next step.

        Returns `is_busy`, as it was before.
        """
        # In this order: a run that another thread enters meanwhile is in `_open`, or sees this.
        self.core.terminating = True
        busy = self.is_busy
        for run in list(self._open):
            run.stop(*TERMINATED)
        self.core.room.wake_all()
        return busy

    @property
    def is_busy(self) -> bool:
        """Whether a run is open or is being entered, or a settlement is on its way."""
        return bool(self._open) or self.settler.is_busy

    def check_holder(self, run_id: str) -> None:
        """Raises RuntimeError where another process entered this run."""
        holder = self._holders.get(run_id)
        if holder is not None and holder != os.getpid():
            raise belongs_to(holder, run_id)

    def entry(self, run_id: str, *, status: str, cost: Decimal | Usage | None = None) -> Entry:
        body: dict[str, Any] = {"status": status}
        if isinstance(cost, Usage):
            body["usage"] = cost.body()
        elif cost is not None:
            body["costUsd"] = usd_text(cost)
        return Entry(self.url, run_id, body, self._token_mark, time.time())

    def delivery(
        self, run: BaseRun, status: str, cost: Decimal | Usage, *, lease: float
    ) -> Delivery:
        """The settlement of a run that is being left; `lease`: seconds left of its lease."""
        return Delivery(
            self.entry(run.id, status=status, cost=cost),
            time.monotonic() + max(lease, self._retry.total),
            run.arrived,
            fallback=run.reserved_usd,
        )

    def wait_of(self, error: BaseException | None, status: str) -> float | None:
        """How long leaving waits for the settlement; None: as the client has it."""
        told_to_end = error is not None and status == "cancelled"
        return min(self.settler.wait, CANCELLED_WAIT_SECONDS) if told_to_end else None

    def withdraw(self, ask: Ask, *, key: str) -> None:
        """Have the background cancel the run that this start may have got."""
        self.settler.hand_over(
            Withdrawal(
                ask.body(),
                key,
                time.monotonic() + float(ask.lease_seconds or DEFAULT_LEASE_SECONDS),
                lambda run_id: self.entry(run_id, status="cancelled", cost=Decimal(0)),
            )
        )

    def give_back(self, admission: Admission) -> None:
        """Have the background cancel a run that nobody works in."""
        entry = self.entry(admission.run_id, status="cancelled", cost=Decimal(0))
        until = time.monotonic() + self._retry.total
        self.settler.hand_over(Delivery(entry, until, lambda settlement: None))

    def do(self, steps: Steps[T]) -> T:
        """The result of steps, waited for in this thread. Raises RuntimeError inside a running
        event loop, which it would bring to a halt."""
        refuse_event_loop()
        self.settler.resume()
        return self.sender.run(steps)

    async def do_async(self, steps: Steps[T]) -> T:
        """The result of steps, awaited."""
        if not self.settler.has_looked:
            await asyncio.to_thread(self.settler.resume)
        return await self.async_sender.run(steps)

    def _end_waits(self) -> None:
        self.core.closed = True
        self.sender.end_waits()
        for run in list(self._open):
            run.end_waits()
        self.core.room.wake_all()


def finish_cost(cost_usd: Money | None, usage: Any) -> Decimal | Usage | None:
    """Raises ValueError for usage without a model (see `usage_of`)."""
    if usage is not None:
        return usage_of(usage)
    return None if cost_usd is None else usd(cost_usd)


def _journal(folder: Path | str | bool | None, url: str) -> Journal | None:
    if folder is False:
        return None
    if folder is None or folder is True:
        return Journal(default_folder(), url=url, make=folder is True)
    return Journal(Path(folder), url=url)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("Tollgate needs a URL such as http://127.0.0.1:8000 (TOLLGATE_URL)")
    if parts.username or parts.password:
        raise ValueError("a URL with a user or a password in it would end up in logs")
    return url.rstrip("/")


def _checked_token(token: str) -> str:
    if not token:
        raise ValueError("Tollgate needs a service token (TOLLGATE_TOKEN)")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("the service token has characters that no token has")
    return token
