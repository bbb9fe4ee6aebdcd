"""The run that the current code works in."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .errors import NoRun

if TYPE_CHECKING:
    from .base_run import BaseRun

P = ParamSpec("P")
T = TypeVar("T")

_current: "ContextVar[BaseRun | None]" = ContextVar("tollgate_run", default=None)


def current_run() -> "BaseRun | None":
    """The innermost run that was entered in this context. Tasks of asyncio inherit it, threads do
    not: see `run.bind`."""
    run = _current.get()
    while run is not None and run.is_left:  # in another context, which cannot say so in this one
        run = run.outer
    return run


def require_run() -> "BaseRun":
    """As `current_run`; raises NoRun where there is none."""
    run = current_run()
    if run is None:
        raise NoRun("no run here: enter one with `with tollgate.run(...)`")
    return run


def within(run: "BaseRun | None", call: Callable[[], T]) -> T:
    """What the call returns, made with that run as the current one."""
    token = _current.set(run)
    try:
        return call()
    finally:
        _current.reset(token)


class Entered:
    """Makes a run the current one for a block, which may end in another context than it began in
    (a generator that is closed elsewhere)."""

    def __init__(self, run: "BaseRun") -> None:
        self._token = _current.set(run)

    def leave(self) -> None:
        try:
            _current.reset(self._token)
        except ValueError:  # of another context, whose variable is not ours to change
            return
