"""The client: turns calls into requests, and answers into values or exceptions."""

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit

from .answers import Answer, body_of, failure, seconds_until, service_now
from .asks import Ask, RefusalMemory, with_lease
from .errors import Refused, Unavailable
from .journal import Entry, Journal, default_folder
from .processes import belongs_to, register
from .retrying import RetryPolicy
from .runs import DEFAULT_LEASE_SECONDS, Run
from .sending import Answered, Sender, refuse_event_loop
from .settling import Delivery, Settler
from .values import Admission, Decision, Extension, Money, Settlement, Usage, usd, usd_text

T = TypeVar("T")
LONGEST_LEASE_SECONDS = 86400.0
START = "/api/work-orders/start"


class Tollgate:
    """One service, one token. Safe to share between threads, and to inherit over a fork: the child
    gets connections of its own. Close it, or use it in a `with`.

    `url` and `token` default to TOLLGATE_URL and TOLLGATE_TOKEN. `timeout` (seconds) is for one
    attempt. `remember_refusals=False` asks the service again even where a refusal by a cap is
    known to be in force; `recheck_refusals_after` (seconds) says after how long it is in any case.

    `settle_wait` (seconds) is how long leaving a run, and the end of the program, wait for a
    settlement to arrive before the background goes on; 0 waits for nothing. `journal` is a folder
    for settlements that have not arrived (None: $XDG_STATE_HOME/tollgate, False: none): the next
    client with that folder and URL sends them, in whatever process.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 10.0,
        retry: RetryPolicy | None = None,
        remember_refusals: bool = True,
        recheck_refusals_after: float = 60.0,
        max_connections: int = 100,
        settle_wait: float = 30.0,
        journal: Path | str | Literal[False] | None = False,
    ) -> None:
        self.url = _checked_url(url or os.environ.get("TOLLGATE_URL", ""))
        token = _checked_token(token or os.environ.get("TOLLGATE_TOKEN", ""))
        self._retry = retry or RetryPolicy()
        self._memory = (
            RefusalMemory(recheck_after=recheck_refusals_after) if remember_refusals else None
        )
        self._sender = Sender(
            self.url, token, timeout=timeout, retry=self._retry, max_connections=max_connections
        )
        self._token_mark = hashlib.sha256(token.encode()).hexdigest()[:16]
        self._holders: dict[str, int] = {}
        self._settler = Settler(
            self._sender,
            retry=self._retry,
            wait=settle_wait,
            journal=_journal(journal, self.url),
            token=self._token_mark,
            ended=self._run_ended,
        )
        register(self)
        self._settler.resume()

    def __repr__(self) -> str:
        return f"Tollgate({self.url!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a Tollgate holds connections and a token: make one in each process")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def renew_after_fork(self) -> None:
        if self._memory:
            self._memory.renew_after_fork()

    def close(self) -> None:
        """End waiting retries (they raise Unavailable), flush settlements, close connections."""
        self._sender.end_waits()
        self._settler.close()
        self._sender.close()

    def flush(self, within: float | None = None) -> int:
        """Wait for settlements in the background, `within` seconds at most (None: `settle_wait`).

        Returns how many have not arrived. The end of the program does this as well.
        """
        return self._settler.flush(within)

    def run(
        self,
        work_order_id: str,
        *,
        agent: str,
        estimated_cost_usd: Money | None = None,
        model: str | None = None,
        estimated_input_tokens: int | None = None,
        estimated_output_tokens: int | None = None,
        lease_seconds: int | None = None,
        user_id: str | None = None,
        surface: str | None = None,
        feature: str | None = None,
        confirm: bool = False,
        idempotency_key: str | None = None,
        interrupt: bool = False,
        on_settle_error: Literal["journal", "raise"] = "journal",
    ) -> Run:
        """A run to be entered with `with`: entering asks, leaving settles.

        Give `idempotency_key` where the *program* may be started again for the same piece of work:
        it then goes on with the same run, or gets AlreadyEnded where that is over; else every run
        has a fresh one. `interrupt=True` raises StopRun in the middle of the work, and
        `on_settle_error="raise"` raises where the settlement of a block that ended normally has
        not arrived, see `Run`. Entering raises Refused, AlreadyEnded, Unavailable or
        InvalidRequest.
        """
        ask = Ask(
            work_order_id=work_order_id,
            agent=agent,
            estimated_cost_usd=None if estimated_cost_usd is None else usd(estimated_cost_usd),
            model=model,
            estimated_input_tokens=estimated_input_tokens,
            estimated_output_tokens=estimated_output_tokens,
            lease_seconds=lease_seconds,
            user_id=user_id,
            surface=surface,
            feature=feature,
            confirm=confirm,
        )
        ask = with_lease(ask, DEFAULT_LEASE_SECONDS)
        return Run(
            self,
            ask,
            key=idempotency_key or "",
            interrupt=interrupt,
            raises=on_settle_error == "raise",
        )

    def start(self, ask: Ask, *, key: str = "") -> tuple[Admission, float]:
        """Ask (`Run` does this on entering): the admission, and the lease in seconds.

        Where an earlier request with `key` was admitted, the answer says what that run is now
        (`replayed`, `status`); without one this request gets a fresh key.
        """
        refuse_event_loop()
        self._settler.resume()
        if self._memory and (known := self._memory.recall(ask, key=key)):
            raise known
        try:
            answer = self._sender.send(START, ask.body(), key=key or str(uuid.uuid4()))
        except Answered as answered:
            error = failure(answered.answer)
            if self._memory and isinstance(error, Refused):
                seconds = seconds_until(error.reset_at, answered.answer)
                self._memory.remember(ask, error, seconds=seconds, key=key)
            raise error from None
        replayed = answer.header("Idempotent-Replayed") == "true"
        admission = _parsed(lambda data: Admission.parse(data, replayed=replayed), answer)
        return admission, _lease_seconds(ask.lease_seconds, admission.lease_expires_at, answer)

    def dry_run(self, work_order_id: str, *, agent: str, **estimate: Any) -> Decision:
        """What a start would be told now; `estimate` as for `run`. Nothing is written."""
        ask = self.run(work_order_id, agent=agent, **estimate).ask
        body = {name: value for name, value in ask.body().items() if name != "leaseSeconds"}
        return _parsed(Decision.parse, self._answer(START, body | {"dryRun": True}))

    def extend(
        self,
        run_id: str,
        *,
        additional_usd: Money | None = None,
        lease_seconds: int | None = None,
        within: float | None = None,
    ) -> tuple[Extension, float]:
        """More money or more time for a run; retried for `within` seconds at most."""
        self._check_holder(run_id)
        body: dict[str, Any] = {}
        if additional_usd is not None:
            body["additionalUsd"] = usd_text(additional_usd)
        if lease_seconds is not None:
            body["leaseSeconds"] = lease_seconds
        path = f"/api/work-orders/runs/{quote(run_id, safe='')}/extend"
        answer = self._answer(path, body, key=str(uuid.uuid4()), within=within)
        extension = _parsed(Extension.parse, answer)
        return extension, _lease_seconds(lease_seconds, extension.lease_expires_at, answer)

    def finish(
        self,
        run_id: str,
        *,
        status: str,
        cost_usd: Money | None = None,
        usage: Usage | None = None,
        within: float | None = None,
    ) -> Settlement:
        """Settle a run. Sending the same again is safe: the service gives the same answer.

        Sent until it arrives, for `within` seconds at most (None: `RetryPolicy.total`); raises
        Unavailable where it has not by then, Refused or InvalidRequest where it is not taken, and
        RuntimeError where another process entered this run.
        """
        refuse_event_loop()
        self._check_holder(run_id)
        entry = self._entry(run_id, status=status, cost_usd=cost_usd, usage=usage)
        wait = self._retry.total if within is None else within
        delivery = Delivery(entry, time.monotonic() + wait, lambda settlement: None)
        return self._settler.settle(delivery, wait=wait, keep=False)

    def deliver(
        self,
        run_id: str,
        *,
        status: str,
        cost: Decimal | Usage,
        lease: float,
        wait: float | None,
        arrived: Callable[[Settlement], None],
    ) -> Settlement:
        """Settle a run that is being left (`Run` does this), now or in the background. `lease`:
        seconds left of its lease."""
        told: dict[str, Any] = {"usage" if isinstance(cost, Usage) else "cost_usd": cost}
        entry = self._entry(run_id, status=status, **told)
        until = time.monotonic() + max(lease, self._retry.total)
        return self._settler.settle(Delivery(entry, until, arrived), wait=wait)

    def undelivered(self, run_id: str) -> Entry | None:
        """The settlement of that run which waits to be sent, here or in the journal."""
        return self._settler.waiting(run_id)

    def hold(self, run_id: str) -> None:
        """Note that this process has entered the run (`Run` does this): no other may settle it."""
        self._holders[run_id] = os.getpid()

    def release(self, run_id: str) -> None:
        self._holders.pop(run_id, None)

    def _check_holder(self, run_id: str) -> None:
        holder = self._holders.get(run_id)
        if holder is not None and holder != os.getpid():
            raise belongs_to(holder, run_id)

    def _entry(
        self,
        run_id: str,
        *,
        status: str,
        cost_usd: Money | None = None,
        usage: Usage | None = None,
    ) -> Entry:
        body: dict[str, Any] = {"status": status}
        if usage is not None:
            body["usage"] = usage.body()
        elif cost_usd is not None:
            body["costUsd"] = usd_text(cost_usd)
        return Entry(self.url, run_id, body, self._token_mark, time.time())

    def _run_ended(self, settlement: Settlement) -> None:
        if self._memory and settlement.cost_usd < settlement.reserved_usd:
            self._memory.give_back()

    def work_orders(self) -> Iterator[Mapping[str, Any]]:
        """All work orders the token may see (scope `read`), as the service tells them."""
        return self._pages("/api/work-orders?limit=200")

    def runs(self, work_order_id: str) -> Iterator[Mapping[str, Any]]:
        """The runs of a work order, newest first (scope `read`), read page by page."""
        return self._pages(f"/api/work-orders/{quote(work_order_id, safe='')}/runs?limit=200")

    def _pages(self, path: str) -> Iterator[Mapping[str, Any]]:
        following, seen = path, set[str]()
        while following:
            seen.add(following)
            results, following = _parsed(_page, self._answer(following))
            if following in seen:
                raise Unavailable("a list that begins again")
            yield from results

    def forget_refusals(self, work_order_id: str | None = None) -> None:
        """Ask the service again, e.g. because somebody raised the cap."""
        if self._memory:
            self._memory.forget(work_order_id)

    def _answer(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        within: float | None = None,
    ) -> Answer:
        try:
            return self._sender.send(path, body, key=key, within=within)
        except Answered as answered:
            raise failure(answered.answer) from None


def _page(data: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], str]:
    results = data["results"]
    if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
        raise TypeError("a list was expected")
    # A proxy may have another name for the service than we have: path and query only.
    parts = urlsplit(str(data.get("next") or ""))
    return results, f"{parts.path}?{parts.query}" if parts.path else ""


def _journal(folder: Path | str | Literal[False] | None, url: str) -> Journal | None:
    if folder is False:
        return None
    return Journal(default_folder() if folder is None else Path(folder), url=url)


def _parsed(parse: Callable[[Mapping[str, Any]], T], answer: Answer) -> T:
    try:
        return parse(body_of(answer))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"an answer that is not the contract's: {error!r}") from error


def _lease_seconds(asked: int | None, expires_at: datetime, answer: Answer) -> float:
    """How long the lease holds from now: as asked, or shorter where the service says so."""
    if not answer.header("Date"):
        return float(asked or DEFAULT_LEASE_SECONDS)
    told = (expires_at - service_now(answer)).total_seconds()
    return min(max(1.0, told if asked is None else min(float(asked), told)), LONGEST_LEASE_SECONDS)


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
