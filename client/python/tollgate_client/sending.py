"""Sending a request until there is an answer that no retry would change."""

import asyncio

# Every connection looks this codec up. Were a process forked while the first one imports it, the
# child would wait for that import for ever.
import encodings.idna  # noqa: F401
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from .answers import Answer, denial_of, retry_after
from .errors import Unavailable
from .processes import register
from .retrying import RETRIED_STATUSES, RetryPolicy

log = logging.getLogger("tollgate_client")

# Far above any answer of the service; a proxy may send what it likes.
LARGEST_ANSWER_BYTES = 16 * 1024 * 1024


class Answered(Exception):
    """An answer that is no success; `failure` says what it means."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Trouble(Exception):
    """No answer; sending again may bring one."""


class Sender:
    """The connections to one service, of this process alone."""

    def __init__(
        self, url: str, token: str, *, timeout: float, retry: RetryPolicy, max_connections: int
    ) -> None:
        self._url = url
        self._headers = {
            "Authorization": f"Bearer {token}",
            "User-Agent": "tollgate-client/0.1.0",
        }
        self._timeout = timeout
        self._retry = retry
        self._limits = httpx2.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections
        )
        self._closing = threading.Event()
        self._http = self._connections()
        self._closed = False
        register(self)

    def __repr__(self) -> str:
        return f"Sender({self._url!r})"

    def _connections(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=self._url,
            headers=self._headers,
            timeout=self._timeouts(self._timeout),
            limits=self._limits,
        )

    @staticmethod
    def _timeouts(seconds: float) -> httpx2.Timeout:
        return httpx2.Timeout(seconds, connect=min(seconds, 3.0))

    def renew_after_fork(self) -> None:
        """Sockets of the parent are left alone: an answer to it could be read here."""
        closing = self._closing.is_set()
        self._closing = threading.Event()
        if closing:
            self._closing.set()
        self._http = self._connections()

    def end_waits(self) -> None:
        """Let requests that wait for another attempt raise Unavailable at once."""
        self._closing.set()

    def close(self) -> None:
        self.end_waits()
        self._closed = True
        self._http.close()

    def send(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        within: float | None = None,
    ) -> Answer:
        """POST (GET without a body), retried as the policy says, for `within` seconds at most.

        Raises Answered for an answer that is no success, Unavailable where there is none, and
        RuntimeError inside a running event loop, which it would bring to a halt.
        """
        refuse_event_loop()
        begun = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            answer: Answer | None = None
            hint, denial = None, ""
            if self._closing.is_set():
                raise Unavailable("the client is closed")
            try:
                answer = self.attempt(path, body, key=key)
            except Trouble as error:
                trouble = str(error)
            else:
                if answer.is_success:
                    return answer
                if answer.status not in RETRIED_STATUSES:
                    raise Answered(answer)
                hint, denial = retry_after(answer), denial_of(answer)
                trouble = denial or f"status {answer.status}"
            elapsed = time.monotonic() - begun
            seconds = self._retry.wait(
                attempt=attempt, elapsed=elapsed, retry_after=hint, denial=denial
            )
            if seconds is None or (within is not None and elapsed + seconds > within):
                if answer is not None:
                    raise Answered(answer)
                raise Unavailable(f"{self._url}: {trouble}, {attempt} attempts")
            log.info("%s: %s, again in %.2f s", path, trouble, seconds)
            self._closing.wait(seconds)

    def attempt(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        seconds: float | None = None,
    ) -> Answer:
        """One attempt, of `seconds` at most. Raises Trouble where another may fare better, and
        Unavailable where none will.

        A closed client makes a connection for it: a run may be left after that, and has to be
        settled.
        """
        if not self._closed:
            return self._attempt(self._http, path, body, key=key, seconds=seconds)
        with self._connections() as http:
            return self._attempt(http, path, body, key=key, seconds=seconds)

    def _attempt(
        self,
        http: httpx2.Client,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        key: str | None,
        seconds: float | None,
    ) -> Answer:
        limit = self._timeout if seconds is None else min(self._timeout, seconds)
        ends = time.monotonic() + limit
        content = bytearray()
        try:
            with http.stream(
                "GET" if body is None else "POST",
                path,
                json=body,
                headers={"Idempotency-Key": key} if key else {},
                timeout=self._timeouts(limit),
            ) as response:
                for part in response.iter_bytes():
                    content += part
                    if len(content) > LARGEST_ANSWER_BYTES:
                        raise Trouble("the answer is too large")
                    if time.monotonic() > ends:  # a body that drips keeps within each read's limit
                        raise Trouble("the answer took too long")
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, headers, bytes(content))
        except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
            raise Unavailable(f"cannot be sent: {error}") from error
        except RuntimeError as error:  # closed by another thread in this very moment
            if not self._closed:
                raise
            raise Trouble("the client is closed") from error
        except httpx2.RequestError as error:
            raise Trouble(f"{type(error).__name__}: {error}") from error


def in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def refuse_event_loop() -> None:
    if in_event_loop():
        raise RuntimeError(
            "this client waits for its answers, and would stop the event loop that runs in this "
            "thread: call the function that uses it with `await asyncio.to_thread(function)`"
        )
