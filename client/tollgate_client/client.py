"""The client: sends, retries what is safe, and turns answers into values or exceptions."""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx2

from .answers import body_of, denial_of, failure, retry_after, seconds_until, service_now
from .asks import Ask, RefusalMemory, with_lease
from .errors import Refused, Unavailable
from .retrying import RETRIED_STATUSES, RetryPolicy
from .runs import DEFAULT_LEASE_SECONDS, Run
from .values import Admission, Decision, Extension, Money, Settlement, Usage, usd, usd_text

log = logging.getLogger("tollgate_client")

T = TypeVar("T")
START = "/api/work-orders/start"


class Tollgate:
    """One service, one token. Safe to share between threads; close it, or use it in a `with`.

    `url` and `token` default to TOLLGATE_URL and TOLLGATE_TOKEN. `timeout` (seconds) is for one
    attempt. `remember_refusals=False` asks the service again even where a refusal by a cap is
    known to be in force; `recheck_refusals_after` (seconds) does so after a while only.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 10.0,
        retry: RetryPolicy | None = None,
        remember_refusals: bool = True,
        recheck_refusals_after: float | None = None,
        max_connections: int = 100,
    ) -> None:
        self.url = _checked_url(url or os.environ.get("TOLLGATE_URL", ""))
        self._retry = retry or RetryPolicy()
        self._closing = threading.Event()
        self._memory = (
            RefusalMemory(recheck_after=recheck_refusals_after) if remember_refusals else None
        )
        self._http = httpx2.Client(
            base_url=self.url,
            headers={
                "Authorization": _bearer(token or os.environ.get("TOLLGATE_TOKEN", "")),
                "User-Agent": "tollgate-client/0.1.0",
            },
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 3.0)),
            limits=httpx2.Limits(
                max_connections=max_connections, max_keepalive_connections=max_connections
            ),
        )

    def __repr__(self) -> str:
        return f"Tollgate({self.url!r})"

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
        """End waiting retries (they raise Unavailable) and close the connections."""
        self._closing.set()
        self._http.close()

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
    ) -> Run:
        """A run to be entered with `with`: entering asks, leaving settles.

        Give `idempotency_key` where the *program* may be started again for the same piece of work
        (the answer of the first start is then given again); else every run has a fresh one.
        `interrupt=True` raises StopRun in the middle of the work, see `Run`. Entering raises
        Refused, Unavailable or InvalidRequest.
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
        return Run(self, ask, key=idempotency_key or str(uuid.uuid4()), interrupt=interrupt)

    def start(self, ask: Ask, *, key: str) -> tuple[Admission, float]:
        """Ask (`Run` does this on entering): the admission, and the lease in seconds."""
        if self._memory and (known := self._memory.recall(ask)):
            raise known
        try:
            response = self._send(START, ask.body(), key=key)
        except _Answered as answered:
            error = failure(answered.response)
            if self._memory and isinstance(error, Refused):
                seconds = seconds_until(error.reset_at, answered.response)
                self._memory.remember(ask, error, seconds=seconds)
            raise error from None
        replayed = response.headers.get("Idempotent-Replayed") == "true"
        admission = _parsed(lambda data: Admission.parse(data, replayed=replayed), response)
        return admission, _lease_seconds(ask.lease_seconds, admission.lease_expires_at, response)

    def dry_run(self, work_order_id: str, *, agent: str, **estimate: Any) -> Decision:
        """What a start would be told now; `estimate` as for `run`. Nothing is written."""
        ask = self.run(work_order_id, agent=agent, **estimate).ask
        body = {name: value for name, value in ask.body().items() if name != "leaseSeconds"}
        try:
            response = self._send(START, body | {"dryRun": True})
        except _Answered as answered:
            raise failure(answered.response) from None
        return _parsed(Decision.parse, response)

    def extend(
        self,
        run_id: str,
        *,
        additional_usd: Money | None = None,
        lease_seconds: int | None = None,
        within: float | None = None,
    ) -> tuple[Extension, float]:
        """More money or more time for a run; retried for `within` seconds at most."""
        body: dict[str, Any] = {}
        if additional_usd is not None:
            body["additionalUsd"] = usd_text(additional_usd)
        if lease_seconds is not None:
            body["leaseSeconds"] = lease_seconds
        path = f"/api/work-orders/runs/{quote(run_id, safe='')}/extend"
        try:
            response = self._send(path, body, key=str(uuid.uuid4()), within=within)
        except _Answered as answered:
            raise failure(answered.response) from None
        extension = _parsed(Extension.parse, response)
        return extension, _lease_seconds(lease_seconds, extension.lease_expires_at, response)

    def finish(
        self,
        run_id: str,
        *,
        status: str,
        cost_usd: Money | None = None,
        usage: Usage | None = None,
    ) -> Settlement:
        """Settle a run. Sending the same again is safe: the service gives the same answer."""
        body: dict[str, Any] = {"status": status}
        if usage is not None:
            body["usage"] = usage.body()
        elif cost_usd is not None:
            body["costUsd"] = usd_text(cost_usd)
        path = f"/api/work-orders/runs/{quote(run_id, safe='')}/finish"
        try:
            response = self._send(path, body)
        except _Answered as answered:
            raise failure(answered.response) from None
        return _parsed(Settlement.parse, response)

    def work_orders(self) -> Iterator[Mapping[str, Any]]:
        """All work orders the token may see (scope `read`), as the service tells them."""
        return self._pages("/api/work-orders?limit=200")

    def runs(self, work_order_id: str) -> Iterator[Mapping[str, Any]]:
        """The runs of a work order, newest first (scope `read`), read page by page."""
        return self._pages(f"/api/work-orders/{quote(work_order_id, safe='')}/runs?limit=200")

    def _pages(self, path: str) -> Iterator[Mapping[str, Any]]:
        following: str | None = path
        while following:
            try:
                page = body_of(self._send(following))
            except _Answered as answered:
                raise failure(answered.response) from None
            yield from page["results"]
            # A proxy may have another name for the service than we have: path and query only.
            parts = urlsplit(page.get("next") or "")
            following = f"{parts.path}?{parts.query}" if parts.path else None

    def forget_refusals(self, work_order_id: str | None = None) -> None:
        """Ask the service again, e.g. because somebody raised the cap."""
        if self._memory:
            self._memory.forget(work_order_id)

    def _send(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        within: float | None = None,
    ) -> httpx2.Response:
        """POST (GET without a body) until there is an answer that no retry would change.

        Raises _Answered for one that is no success, Unavailable where there is none.
        """
        headers = {"Idempotency-Key": key} if key else {}
        begun = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            response: httpx2.Response | None = None
            wait_hint, denial, trouble = None, "", ""
            if self._closing.is_set():
                raise Unavailable("the client is closed")
            try:
                response = self._http.request(
                    "GET" if body is None else "POST", path, json=body, headers=headers
                )
            except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as error:
                raise Unavailable(f"cannot be sent: {error}") from error
            except RuntimeError as error:  # closed by another thread in this very moment
                if not self._closing.is_set():
                    raise
                raise Unavailable("the client is closed") from error
            except httpx2.TransportError as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    return response
                if response.status_code not in RETRIED_STATUSES:
                    raise _Answered(response)
                wait_hint, denial = retry_after(response), denial_of(response)
                trouble = denial or f"status {response.status_code}"
            elapsed = time.monotonic() - begun
            seconds = self._retry.wait(
                attempt=attempt, elapsed=elapsed, retry_after=wait_hint, denial=denial
            )
            if seconds is None or (within is not None and elapsed + seconds > within):
                if response is not None:
                    raise _Answered(response)
                raise Unavailable(f"{self.url}: {trouble}, {attempt} attempts")
            log.info("%s: %s, again in %.2f s", path, trouble, seconds)
            self._closing.wait(seconds)


class _Answered(Exception):
    """An answer that is no success; `failure` says what it means."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def _parsed(parse: Callable[[Mapping[str, Any]], T], response: httpx2.Response) -> T:
    try:
        return parse(body_of(response))
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"an answer that is not the contract's: {error!r}") from error


def _lease_seconds(asked: int | None, expires_at: datetime, response: httpx2.Response) -> float:
    """How long the lease holds from now: as asked, or shorter where the service says so."""
    if "Date" not in response.headers:
        return float(asked or DEFAULT_LEASE_SECONDS)
    told = (expires_at - service_now(response)).total_seconds()
    return max(1.0, told if asked is None else min(float(asked), told))


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("Tollgate needs a URL such as http://127.0.0.1:8000 (TOLLGATE_URL)")
    if parts.username or parts.password:
        raise ValueError("a URL with a user or a password in it would end up in logs")
    return url.rstrip("/")


def _bearer(token: str) -> str:
    if not token:
        raise ValueError("Tollgate needs a service token (TOLLGATE_TOKEN)")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("the service token has characters that no token has")
    return f"Bearer {token}"
