"""Doing the steps of `steps` on an event loop, which waits for none of them."""

import asyncio
import contextlib
import weakref
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2

from .answers import Answer
from .processes import register
from .sending import LOCAL, Reading, headers, request_of, timeouts, trouble
from .steps import Disk, Pause, Send, Stand, Step, Steps, Trouble

T = TypeVar("T")


@dataclass(slots=True)
class _Here:
    """What belongs to one event loop."""

    http: httpx2.AsyncClient
    closing: asyncio.Event = field(default_factory=asyncio.Event)


class AsyncSender:
    """Connections to one service: each event loop of this process has its own."""

    def __init__(self, url: str, token: str, *, timeout: float, max_connections: int) -> None:
        self._url = url
        self._headers = headers(token)
        self._timeout = timeout
        self._limits = httpx2.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections
        )
        self._closed = False
        self.renew_after_fork()
        register(self)

    def __repr__(self) -> str:
        return f"AsyncSender({self._url!r})"

    def renew_after_fork(self) -> None:
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Here]
        self._loops = weakref.WeakKeyDictionary()

    def _connections(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=self._url,
            headers=self._headers,
            timeout=timeouts(self._timeout),
            limits=self._limits,
            transport=LOCAL.get(self._url),
        )

    def _here(self) -> _Here:
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            here = self._loops[loop] = _Here(self._connections())
        return here

    async def close(self) -> None:
        self._closed = True
        here = self._loops.pop(asyncio.get_running_loop(), None)
        if here is not None:
            here.closing.set()
            await here.http.aclose()

    async def run(self, steps: Steps[T]) -> T:
        """The result of the steps, done in this task. Cancelling the task ends them all."""
        try:
            step = next(steps)
            while True:
                try:
                    result = await self._do(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def _do(self, step: Step) -> Any:
        match step:
            case Send():
                return await self._attempt(step)
            case Pause():
                return await _set_within(self._here().closing, step.seconds)
            case Stand():
                return await self._stand(step)
            case Disk():
                return await asyncio.to_thread(step.call)

    @staticmethod
    async def _stand(step: Stand) -> bool:
        loop, turn = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(turn.set)

        step.waiter.when_woken(wake)
        return await _set_within(turn, step.seconds)

    async def _attempt(self, step: Send) -> Answer:
        if not self._closed:
            return await self._send(self._here().http, step)
        async with self._connections() as http:  # a run is left after its client was closed
            return await self._send(http, step)

    async def _send(self, http: httpx2.AsyncClient, step: Send) -> Answer:
        limit = self._timeout if step.seconds is None else min(self._timeout, step.seconds)
        reading = Reading(limit)
        try:
            async with (
                asyncio.timeout(limit),  # of the whole; those of the connection are for each read
                http.stream(**request_of(step, limit)) as response,
            ):
                async for part in response.aiter_bytes():
                    reading.take(part)
                return reading.answer(response)
        except TimeoutError as error:
            raise Trouble(f"no answer within {limit} s") from error
        except RuntimeError as error:  # closed by another task in this very moment
            if not self._closed:
                raise
            raise Trouble("the client is closed") from error
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise trouble(error) from error


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return False
    return True
