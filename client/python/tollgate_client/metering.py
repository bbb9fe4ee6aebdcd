"""Metering model calls where they leave the program: at the HTTP transport of an SDK.

One transport sees chat, responses, messages, embeddings, streams and the retries of the SDK itself,
whatever framework is on top. Hooks of frameworks do not carry money: they do not fire when a call
fails. Nothing is sent to the service for a call.
"""

import copy
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal, TypeVar

import httpx2

from .base_run import BaseRun
from .context import current_run
from .ledger import Call
from .model_calls import Answered, Asked, is_model_call
from .sending import NOT_SENT

C = TypeVar("C")
Outside = Literal["refuse", "allow"]
NO_RUN = "no Tollgate run here: make this call within `with tollgate.run(...)`"
STOPPED = "Tollgate stopped this run"


class _Attempt:
    """One HTTP attempt of a model call, in a run."""

    def __init__(self, run: BaseRun, request: httpx2.Request, content: bytes) -> None:
        self._run = run
        self._asked = Asked.parse(request.url.path, content)
        self._retry = request.headers.get("x-stainless-retry-count", "0") not in ("", "0")
        self._begun = time.monotonic()
        self._number = run.ledger.begin(self._asked.estimate)
        self._answered: Answered | None = None
        self._status = 0
        changed = self._asked.with_usage()
        self.added_usage = changed is not None
        self.request = _changed(request, content if changed is None else changed)

    def answered(self, status: int, headers: httpx2.Headers) -> Answered | None:
        """The head of the answer; None where it is a refusal, which costs nothing."""
        self._status = status
        if status >= 400:
            self._end(used=False)
            return None
        kind = headers.get("content-type", "").partition(";")[0].strip()
        self._answered = Answered(
            self._asked,
            encoding=headers.get("content-encoding", "").strip().lower(),
            is_events=kind == "text/event-stream",
            added_usage=self.added_usage and kind == "text/event-stream",
        )
        return self._answered

    def failed(self, error: BaseException) -> None:
        """No answer. What was sent may have been paid for."""
        self._end(used=not isinstance(error, NOT_SENT))

    def over(self) -> None:
        """The answer is complete, or was left."""
        self._end(used=True)

    def _end(self, *, used: bool) -> None:
        answered = self._answered
        usage = answered.usage if answered else None
        known = usage is not None or not used
        if used and usage is None:
            usage = answered.at_most if answered else self._asked.estimate
        self._run.ledger.end(
            self._number,
            Call(
                model=answered.model if answered else self._asked.estimate.model,
                asked_model=self._asked.estimate.model,
                usage=usage,
                success=200 <= self._status < 400 and known,
                status=self._status,
                estimated=not known,
                trigger="retry" if self._retry else "user_request",
                seconds=time.monotonic() - self._begun,
            ),
        )


def _changed(request: httpx2.Request, content: bytes) -> httpx2.Request:
    """The request, to be answered without a compression that would hide the usage."""
    headers = request.headers.copy()
    headers["accept-encoding"] = "identity"
    headers["content-length"] = str(len(content))
    headers.pop("transfer-encoding", None)
    return httpx2.Request(
        request.method,
        request.url,
        headers=headers,
        content=content,
        extensions=request.extensions,
    )


def _refusal(request: httpx2.Request, outside: Outside) -> tuple[BaseRun | None, Any]:
    """The run of a model call, and the answer where it must not be made.

    SDKs retry an exception of their transport, and report a connection error in its place. So the
    answer is a local 403 that is not to be retried.
    """
    if not is_model_call(request.method, request.url.path):
        return None, None
    run = current_run()
    if run is None:
        return None, None if outside == "allow" else _local(request, "tollgate_no_run", NO_RUN)
    stop = run.stop_before_call()
    if stop is not None:
        return run, _local(request, "tollgate_stop", f"{STOPPED}: {stop}")
    return run, None


def _local(request: httpx2.Request, kind: str, text: str) -> httpx2.Response:
    error = {"type": kind, "message": text, "code": kind}
    return httpx2.Response(
        403,
        headers={"content-type": "application/json", "x-should-retry": "false"},
        content=json.dumps({"type": "error", "error": error}).encode(),
        request=request,
    )


class _Stream(httpx2.SyncByteStream):
    def __init__(self, inner: Any, attempt: _Attempt, answered: Answered) -> None:
        self._inner = inner
        self._attempt = attempt
        self._answered = answered

    def __iter__(self) -> Iterator[bytes]:
        for part in self._inner:
            if shown := self._answered.feed(part):
                yield shown
        rest = self._answered.end()
        self._attempt.over()
        if rest:
            yield rest

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._attempt.over()


class _AsyncStream(httpx2.AsyncByteStream):
    def __init__(self, inner: Any, attempt: _Attempt, answered: Answered) -> None:
        self._inner = inner
        self._attempt = attempt
        self._answered = answered

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._inner:
            if shown := self._answered.feed(part):
                yield shown
        rest = self._answered.end()
        self._attempt.over()
        if rest:
            yield rest

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._attempt.over()


class MeteredTransport(httpx2.BaseTransport):
    """In front of the transports of `client`, which it keeps alive, and closes where it owns it."""

    def __init__(self, client: httpx2.Client, *, outside: Outside, owns: bool) -> None:
        self._client = client
        self._owns = owns
        self._outside = outside

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        inner = self._client._transport_for_url(request.url)
        run, refusal = _refusal(request, self._outside)
        if refusal is not None:
            return refusal  # type: ignore[no-any-return]
        if run is None:
            return inner.handle_request(request)
        attempt = _Attempt(run, request, request.read())
        try:
            response = inner.handle_request(attempt.request)
        except BaseException as error:
            attempt.failed(error)
            raise
        answered = attempt.answered(response.status_code, response.headers)
        if answered is None:
            return response
        return _metered(response, _Stream(response.stream, attempt, answered), attempt)

    def close(self) -> None:
        if self._owns:
            self._client.close()


class AsyncMeteredTransport(httpx2.AsyncBaseTransport):
    """As `MeteredTransport`."""

    def __init__(self, client: httpx2.AsyncClient, *, outside: Outside, owns: bool) -> None:
        self._client = client
        self._owns = owns
        self._outside = outside

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        inner = self._client._transport_for_url(request.url)
        run, refusal = _refusal(request, self._outside)
        if refusal is not None:
            return refusal  # type: ignore[no-any-return]
        if run is None:
            return await inner.handle_async_request(request)
        attempt = _Attempt(run, request, await request.aread())
        try:
            response = await inner.handle_async_request(attempt.request)
        except BaseException as error:
            attempt.failed(error)
            raise
        answered = attempt.answered(response.status_code, response.headers)
        if answered is None:
            return response
        return _metered(response, _AsyncStream(response.stream, attempt, answered), attempt)

    async def aclose(self) -> None:
        if self._owns:
            await self._client.aclose()


def _metered(response: httpx2.Response, stream: Any, attempt: _Attempt) -> httpx2.Response:
    headers = response.headers.copy()
    if attempt.added_usage:
        headers.pop("content-length", None)  # an event less may be shown
    return httpx2.Response(
        response.status_code, headers=headers, stream=stream, extensions=response.extensions
    )


def metered_http(client: C, *, outside: Outside, owns: bool) -> C:
    """A copy of an `httpx2.Client` or `httpx2.AsyncClient` that meters. `owns`: nobody else uses
    the client, which is closed with its copy."""
    metered: Any = copy.copy(client)
    if isinstance(client, httpx2.Client):
        metered._transport = MeteredTransport(client, outside=outside, owns=owns)
    elif isinstance(client, httpx2.AsyncClient):
        metered._transport = AsyncMeteredTransport(client, outside=outside, owns=owns)
    else:
        raise TypeError(f"not a client of httpx2: {type(client).__name__}")
    metered._mounts = {}
    return metered  # type: ignore[no-any-return]


def metered(client: C, *, outside: Outside) -> C:
    """A copy of an SDK's client, of the same type, that meters."""
    if isinstance(client, httpx2.Client | httpx2.AsyncClient):
        return metered_http(client, outside=outside, owns=False)
    http, again = getattr(client, "_client", None), getattr(client, "copy", None)
    if again is None or not isinstance(http, httpx2.Client | httpx2.AsyncClient):
        raise TypeError(
            f"cannot meter a {type(client).__name__}: pass a client of the SDKs of OpenAI or "
            "Anthropic, or give your library tollgate.http_client() as its HTTP client"
        )
    return again(http_client=metered_http(http, outside=outside, owns=False))  # type: ignore[no-any-return]
