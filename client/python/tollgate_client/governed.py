"""A function as a governed piece of work."""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .async_runs import AsyncRun
from .base_run import BaseRun, Plan
from .context import Entered, within
from .runs import Run

if TYPE_CHECKING:
    from .base import BaseClient

F = TypeVar("F", bound=Callable[..., Any])


def governed(client: "BaseClient", work_order: Any, options: dict[str, Any]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        return cast("F", _wrapped(client, work_order, options, function))

    return decorate


def _wrapped(
    client: "BaseClient", work_order: Any, options: dict[str, Any], function: Callable[..., Any]
) -> Callable[..., Any]:
    def plan(args: tuple[Any, ...], kwargs: dict[str, Any], *, current: bool = True) -> Plan:
        """Options that are callables get the arguments of the call."""

        def of(value: Any) -> Any:
            return value(*args, **kwargs) if callable(value) else value

        given: Any = {name: of(value) for name, value in options.items()}
        return client.plan(of(work_order), given, journal=True, current=current)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            async with AsyncRun(client, plan(args, kwargs)):
                return await function(*args, **kwargs)

        return coroutine
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def async_generator(*args: Any, **kwargs: Any) -> Any:
            async with AsyncRun(client, plan(args, kwargs, current=False)) as run:
                steps = _AsyncSteps(run, function(*args, **kwargs))
                sent: Any = None
                thrown: BaseException | None = None
                try:
                    while True:
                        each = await steps.next(sent, thrown)
                        sent = thrown = None
                        try:
                            sent = yield each
                        except GeneratorExit:
                            raise
                        except BaseException as error:
                            thrown = error
                except StopAsyncIteration:
                    return
                finally:
                    await steps.close()

        return async_generator
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            with Run(client, plan(args, kwargs, current=False)) as run:
                return (yield from _Steps(run, function(*args, **kwargs)))

        return generator

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with Run(client, plan(args, kwargs)) as run:
            result = function(*args, **kwargs)
            if inspect.iscoroutine(result):  # it would work after the run
                result.close()
                run.cancel()
                raise TypeError(
                    f"{function!r} returns a coroutine: decorate the `async def` itself"
                )
            return result

    return plain


class _Steps(Generator[Any, Any, Any]):
    """A generator whose run is the current one while it works, and not while it waits: what it
    yields to is another piece of work."""

    def __init__(self, run: BaseRun, inner: Generator[Any, Any, Any]) -> None:
        self._run = run
        self._inner = inner

    def send(self, value: Any) -> Any:
        return within(self._run, lambda: self._inner.send(value))

    def throw(self, *error: Any) -> Any:
        return within(self._run, lambda: self._inner.throw(*error))

    def close(self) -> None:
        within(self._run, self._inner.close)


class _AsyncSteps:
    """As `_Steps`."""

    def __init__(self, run: BaseRun, inner: AsyncGenerator[Any, Any]) -> None:
        self._run = run
        self._inner = inner

    async def next(self, sent: Any, thrown: BaseException | None) -> Any:
        entered = Entered(self._run)
        try:
            if thrown is not None:
                return await self._inner.athrow(thrown)
            return await self._inner.asend(sent)
        finally:
            entered.leave()

    async def close(self) -> None:
        entered = Entered(self._run)
        try:
            await self._inner.aclose()
        finally:
            entered.leave()
